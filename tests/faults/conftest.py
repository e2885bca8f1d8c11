"""One undisturbed study to compare with, and the table of what became of the others."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
from fault_runs import TRIALS, Place


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.faults)
            item.add_marker(pytest.mark.timeout(900))  # ten starts of Ray, beside those of another study


@pytest.fixture(scope="session")
def fault_cache(tmp_path_factory):
    """A token store is built once, by the undisturbed study."""
    return tmp_path_factory.mktemp("fault_cache")


@pytest.fixture(scope="session")
def undisturbed(fault_cache, tmp_path_factory):
    """The study that nothing befell."""
    place = Place(tmp_path_factory.mktemp("faults") / "undisturbed", fault_cache)
    run = place.finish()
    assert run.code == 0, run.text
    return place


@pytest.fixture(scope="session")
def cut_off(undisturbed, fault_cache, tmp_path_factory):
    """A study whose third trial was under way, with a checkpoint of step 4, when its command was killed."""
    place = Place(tmp_path_factory.mktemp("cut_off") / "study", fault_cache)
    place.cut_off(30)
    return place


@pytest.fixture
def copied(cut_off, fault_cache, tmp_path):
    """A copy of it, with a cache of its own."""
    place = Place(tmp_path / "hurt", shutil.copytree(fault_cache, tmp_path / "cache"))
    shutil.copytree(cut_off.out, place.out)
    yield place
    place.close()


@pytest.fixture
def place(undisturbed, fault_cache, tmp_path):
    """A place for a study that is hurt; another cache or other sections by `Place`."""
    place = Place(tmp_path / "hurt", fault_cache)
    yield place
    place.close()


@pytest.fixture
def judge(undisturbed, record):
    """Compares a study that has ended with the undisturbed one, adds its row to the table, and says what is wrong."""

    def judge(kind, injected, place, told, since, code=0, may_differ=False):
        from fault_runs import Fault

        missing = TRIALS - len(place.rows())
        equal = place.figures() == undisturbed.figures()
        told = told.replace(str(place.out), "STUDY").replace(str(place.cache), "CACHE")
        fault = Fault(kind, injected, code == 0, bool(told), told, equal, place.repeated(), missing, None)
        record(dataclasses.replace(fault, seconds=place.seconds_after(since)))
        assert (code, missing, equal or may_differ) == (0, 0, True), told
        assert told, "the cause was not named"

    return judge


@pytest.fixture(scope="session")
def record():
    """Adds rows to the file that HYBRIDTUNE_FAULTS names, of which `benchmarks/reliability.py` makes the table."""
    file = os.environ.get("HYBRIDTUNE_FAULTS")

    def add(fault):
        if file:
            with Path(file).open("a", encoding="utf-8") as rows:
                rows.write(json.dumps(dataclasses.asdict(fault)) + "\n")

    return add
