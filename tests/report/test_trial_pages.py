"""The page of a trial in the report: what it holds, where it leads, and how large it gets."""

import json
import shutil

import pytest
from chart_records import plan_of, record_of, trial_of
from made_study import LANGUAGES

from hybridtune.metrics.per_query import read_per_query
from hybridtune.report import tables
from hybridtune.report.page import page
from hybridtune.report.record import read_record
from hybridtune.report.trial_pages import MOST_ROWS, trial_pages


@pytest.fixture(scope="module")
def pages(finished_study):
    return {one.key: one for one in trial_pages(read_record(finished_study))}


def table(page, name):
    return next(table for table in page.tables if table.title.endswith(f": {name}"))


def test_each_row_of_the_trials_leads_to_a_page_of_its_own(finished_study, pages):
    record = read_record(finished_study)
    links = [row[0].link for row in tables.all_trials(record).rows]
    assert links == [*pages] == [f"trial-{trial.id}" for trial in record.trials]
    text = page(record)
    for key in links:
        assert text.count(f'<section class="trial" id="{key}"') == 1
        assert text.count(f'<a href="#{key}">') == 1


def test_it_has_the_values_the_seed_and_every_score(finished_study, pages):
    trial = read_record(finished_study).trials[3]
    shown = pages["trial-0003"]
    facts = dict(shown.facts)
    assert facts["state"] == "done"
    assert facts["seed"] == "0"
    assert facts["balanced/AP"] == f"{trial.metrics['balanced/AP']:.4f}"
    assert {row[0]: row[1] for row in table(shown, "values").rows} == trial.values
    scores = table(shown, "scores by step")
    assert [row[0] for row in scores.rows] == [10, 20, 30]
    at = scores.columns.index("multi/AP")
    assert [row[at] for row in scores.rows] == [round(entry["multi/AP"], 4) for entry in trial.history]
    loss, goal = shown.figure["data"]
    assert loss["x"] == goal["x"] == [10, 20, 30]
    assert goal["y"] == pytest.approx([entry["balanced/AP"] for entry in trial.history], rel=1e-4)


def test_its_batches_add_up_to_what_the_plan_drew(finished_study, pages):
    plan = json.loads((finished_study / "trials" / "0003" / "plan.json").read_text(encoding="utf-8"))
    drawn = table(pages["trial-0003"], "batches drawn")
    assert drawn.note.endswith(f"requested, {plan['realised_ratio']:.4g} drawn.")
    at = drawn.columns.index("pairs drawn")
    assert sum(row[at] for row in drawn.rows) == sum(row["pairs"] for row in plan["table"])
    assert {row[0] for row in drawn.rows} == {f"{x}-{y}" for x in LANGUAGES for y in LANGUAGES}


def test_its_worst_queries_are_those_of_the_lowest_average_precision(finished_study, pages):
    values = read_per_query(read_record(finished_study).trials[3].per_query)
    multi = values.setting == "multi"
    lowest = sorted(zip(values.measures["AP"][multi], values.query_id[multi], strict=True))
    rows = table(pages["trial-0003"], "worst queries").rows
    assert [row[3] for row in rows] == [round(float(value), 4) for value, _ in lowest[:10]]
    best_of = dict(zip(values.query_id[multi], values.measures["RR"][multi], strict=True))
    for query, _, pool, _, rank, above in rows:
        assert pool == "all"
        assert rank == round(1 / best_of[query]) == above + 1


def test_what_is_gone_is_named(finished_study, tmp_path):
    folder = shutil.copytree(finished_study, tmp_path / "study")
    for home in (folder / "trials").iterdir():
        shutil.rmtree(home)
    shown = trial_pages(read_record(folder))[0]
    assert shown.figure is None
    assert [one.title for one in shown.tables] == ["Mono-only 0: values"]
    assert shown.missing == (
        "This trial has no score; no plan of its batches; no values by query: its checkpoint is gone, or not on this "
        "machine."
    )


def test_a_failed_trial_says_why(finished_study):
    record = read_record(finished_study)
    record.trials[-1].reason = "OutOfMemoryError: <b>"
    assert trial_pages(record)[-1].reason == "It failed: OutOfMemoryError: <b>"
    assert "It failed: OutOfMemoryError: &lt;b&gt;" in page(record)


def test_long_tables_are_cut_and_say_so():
    trial = trial_of(1, 0.5, balanced_AP=0.5)
    trial.history = [{"step": step, "loss": float("nan"), "balanced/AP": 0.5} for step in range(1, 101)]
    names = [f"l{i:02}" for i in range(30)]
    trial.plan = {"batch_size": 8} | plan_of(0.5, 0.5, [("cross", f"{a}-{b}", 4, 3) for a in names for b in names])
    (shown,) = trial_pages(record_of([trial]))
    scores, drawn = table(shown, "scores by step"), table(shown, "batches drawn")
    assert [row[0] for row in scores.rows] == list(range(5, 101, 5))
    assert scores.note == "20 of 100 scores; all are in its metrics.jsonl."
    assert len(drawn.rows) == MOST_ROWS + 1
    assert drawn.rows[-1][:2] == ["880 others", "cross"]
    assert sum(row[3] for row in drawn.rows) == 4 * 900
    json.dumps(shown.figure, allow_nan=False)
    assert len(shown.figure["data"][1]["x"]) == 100
