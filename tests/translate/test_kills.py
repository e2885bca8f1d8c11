"""A translation that is killed ten times at moments that a seed draws, beside one that nobody disturbs."""

import json
import multiprocessing
import random
import signal

import killed
import pytest
import translators

KILLS = 10


@pytest.fixture(scope="module")
def processes():
    """Processes that start with all heavy modules imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed", "ctranslate2", "transformers", "torch"])
    return context


def follow(processes, model, data, folder, steps=None):
    """Run until so many steps were told and kill it there; return (exit code, what was told)."""
    here, there = processes.Pipe()
    process = processes.Process(target=killed.translate, args=(model, data, folder, there))
    process.start()
    there.close()
    told = []
    while steps is None or len(told) < steps:
        try:
            told.append(here.recv())
        except EOFError:
            break
        if len(told) == steps:
            process.kill()
        else:
            here.send(None)
    process.join()
    return process.exitcode, told


@pytest.mark.slow
def test_ten_kills_translate_no_text_twice_and_lose_none(processes, taught, tmp_path, groups_file):
    texts = translators.texts(120)
    pairs = zip(texts[::2], texts[1::2], strict=True)
    data = groups_file(
        [{"group_id": f"g{n}", "queries": {"en": q}, "passages": {"en": p}} for n, (q, p) in enumerate(pairs)]
    )
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
    code, told = follow(processes, taught, data, tmp_path / "undisturbed")
    assert code == 0
    assert told[-1][0] == "done"
    steps = len(told) - 1
    assert steps > 6 * KILLS

    draw = random.Random(14)
    stored, unstored, begun_again = set(), 0, 0
    at = []
    for _ in range(KILLS):
        code, told = follow(processes, taught, data, tmp_path / "killed", draw.randint(1, steps // KILLS))
        assert code == -signal.SIGKILL
        at.append(told[-1][0])
        for what, said in told:
            if what == "translated":
                assert not stored.intersection(said)  # nothing that is kept is translated again
            elif what == "stored":
                stored.update(said)
        unstored += len(told[-1][1]) if at[-1] == "translated" else 0
        begun_again += told[-1][1] if at[-1] == "begun" else 0
    assert {"begun", "translated", "stored"} == set(at)  # kills in an engine, before and after writing
    code, told = follow(processes, taught, data, tmp_path / "killed")
    assert code == 0
    report = told[-1][1]
    assert report["from_cache"] == len(stored)  # nothing is lost
    for what, said in told[:-1]:
        if what == "translated":
            assert not stored.intersection(said)
            stored.update(said)
    assert len(stored) == report["distinct"] == 240
    whole, pieces = ((tmp_path / name / "out.jsonl").read_bytes() for name in ("undisturbed", "killed"))
    assert pieces == whole
    assert whole.count(b'"translated"') > 30  # there is something to compare
    reports = [json.loads((tmp_path / n / "out.jsonl.report.json").read_text()) for n in ("undisturbed", "killed")]
    assert [report["dropped"] for report in reports] == [reports[0]["dropped"]] * 2
    print(f"{KILLS} kills at {at}: kept and translated again 0, lost 0; in work when killed {begun_again + unstored}")
