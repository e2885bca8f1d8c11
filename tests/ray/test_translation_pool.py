"""A pool of engines in Ray: what they translate is what one engine in this process translates."""

import contextlib
import dataclasses

import pytest
import translators

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import DataSet
from hybridtune.errors import FitError
from hybridtune.translate import run
from hybridtune.translate.pool import RayPool
from hybridtune.translate.wanted import parse_wanted

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return translators.taught(tmp_path_factory.mktemp("model") / "opus-mt")


class Progress(StudyCallback):
    def __init__(self):
        self.seen = []

    def on_phase_progress(self, phase, done, total):
        self.seen.append((phase, done, total))


def test_a_pool_translates_every_text_once_and_goes_on(ray_here, model, groups_file, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "mistaken", lambda texts, languages: [None] * len(texts))
    texts = translators.texts(80)
    rows = [{"group_id": f"g{n}", "queries": {}, "passages": {"en": text}} for n, text in enumerate(texts)]
    options = run.TranslateOptions(
        model=str(model),
        wanted=parse_wanted("passages", "sw,ha", "en", None),
        out=str(tmp_path / "out.jsonl"),
        max_tokens=48,
        batch_tokens=40,
        workers=2,
        cache=tmp_path / "cache",
        checks=run.Checks(ratio=100.0, repeats=50),
    )

    def pool(recipe, workers, batch_tokens):
        assert workers == 2
        return contextlib.nullcontext(RayPool(recipe, workers, batch_tokens))

    half = Progress()
    run.translate([DataSet(path=str(groups_file(rows[:40], "half.jsonl")))], options, half, pool)
    assert ("translating", 80, 80) in half.seen
    assert sum(phase == "translating" for phase, _, _ in half.seen) > 10  # a batch at a time
    whole = Progress()
    data = [DataSet(path=str(groups_file(rows, "all.jsonl")))]
    report = run.translate(data, options, whole, pool)
    assert (report["from_cache"], report["translated"], report["distinct"]) == (80, 80, 160)
    assert report["added"]["passages"] > 100
    written = (tmp_path / "out.jsonl").read_bytes()
    assert [line.split(b'"')[3] for line in written.splitlines()] == [f"g{n}".encode() for n in range(80)]
    assert run.translate(data, options, Progress(), pool)["translated"] == 0
    assert (tmp_path / "out.jsonl").read_bytes() == written


def test_an_engine_that_fails_ends_the_run_in_one_line(ray_here, model, groups_file, tmp_path):
    rows = [{"group_id": "1", "queries": {}, "passages": {"en": "The mayor opened the bridge."}}]
    options = run.TranslateOptions(
        model=str(model),
        wanted=parse_wanted("passages", "sw", "en", None),
        out=str(tmp_path / "out.jsonl"),
        cache=tmp_path / "cache",
    )

    def pool(recipe, workers, batch_tokens):
        return contextlib.nullcontext(RayPool(dataclasses.replace(recipe, weights=tmp_path), 1, batch_tokens))

    with pytest.raises(FitError, match="the model cannot be loaded: ") as failed:
        run.translate([DataSet(path=str(groups_file(rows)))], options, StudyCallback(), pool)
    assert "\n" not in str(failed.value)
    assert not (tmp_path / "out.jsonl").exists()
