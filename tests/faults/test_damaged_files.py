"""Files of a study that a disk or a copy has damaged: told, made again from what is whole, and the same figures."""

import shutil

import pytest
from damaging import WAYS
from fault_runs import Place

DAMAGE = ("truncate", "flip", "delete")


def half_of_the_last_line(file):
    file.write_text(file.read_text(encoding="utf-8")[:-40], encoding="utf-8")


RECORDS = {
    "truncate": ("trials.jsonl", half_of_the_last_line, r"trials\.jsonl: line \d+ was cut off.*trains its trial again"),
    "flip": ("optuna.db", WAYS["truncate"], r"optuna\.db is damaged.*it is built again from trials\.jsonl"),
    "delete": ("running.json", WAYS["truncate"], r"running\.json.*it is left out"),
}


@pytest.mark.parametrize("way", DAMAGE)
def test_a_checkpoint_the_token_store_and_a_record(copied, judge, way):
    place = copied
    (checkpoint,) = place.out.glob("trials/0002/fit/checkpoint_*")
    (tokens,) = place.cache.glob("*/tokens.npy")
    record, hurt, words = RECORDS[way]
    for file in (checkpoint / "optimizer.safetensors", tokens):
        WAYS[way](file)
    hurt(place.out / record)
    run = place.finish()
    told = {
        f"checkpoint: {way}": (
            checkpoint,
            r"its checkpoint of step 4 is damaged \(optimizer\.safetensors .*starting again",
        ),
        f"token store: {way}": (tokens, r"token store \S+ is damaged \(tokens\.npy .*it is built again"),
        f"{record}: {hurt.__name__}": (place.out / record, words),
    }
    for kind, (file, line) in told.items():
        judge(kind, f"{file.name} before the study goes on", place, run.line(line), place.began, run.code)


@pytest.fixture
def ended(undisturbed, fault_cache, tmp_path):
    """A copy of the study that has ended."""
    place = Place(tmp_path / "hurt", fault_cache)
    shutil.copytree(undisturbed.out, place.out)
    return place


def test_the_exported_model(ended, judge):
    place = ended
    WAYS["flip"](place.out / "best" / "model.safetensors")
    refused = [
        place.call("evaluate", place.out / "best", "--benchmark", "newsroom:dev"),
        place.call("merge", place.out / "best", place.out / "best", "--out", place.folder / "merged"),
    ]
    for run in refused:
        assert run.code == 2, run.text
        assert run.line(r"^hybridtune: \S+best is damaged: model\.safetensors holds other bytes than were written"), (
            run.text
        )
    again = place.finish()
    told = again.line(
        r"best is damaged \(model\.safetensors holds other bytes than were written\): it is written again"
    )
    judge("exported model: flip", "one byte of best/model.safetensors", place, told, place.began, again.code)


def test_the_result(ended, judge):
    place = ended
    WAYS["truncate"](place.out / "result.json")
    again = place.finish()
    told = again.line(r"result\.json.*derives it again")
    judge("result.json: truncate", "half of it", place, told, place.began, again.code)
