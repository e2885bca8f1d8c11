"""Several encoders in one page: what is scored already is not scored again, and the page stands alone."""

import json
import re
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from hybridtune.callbacks import phase
from hybridtune.cli.main import cli
from hybridtune.data.readers.benchmarks import read_benchmark
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import benchmark_of_rows, rank_vectors
from hybridtune.metrics.metrics import per_query, score
from hybridtune.metrics.per_query import FILE
from hybridtune.model.folder import parameter_count
from hybridtune.report.leaderboard_page import Contender, Leaderboard, leaderboard_page, standings_table
from hybridtune.report.several import Row, Standing
from hybridtune.study import leaderboard as module
from hybridtune.study.evaluate_model import SCORES
from hybridtune.study.folder import write_json
from hybridtune.study.leaderboard import Clock, evaluate_several
from hybridtune.terminal.screen import Screen

BENCHMARK = "newsroom:dev"
PART = ("benchmark.languages=[en, de, sw]", "benchmark.documents=[0, 12]")
NOISE = {"good": 0.3, "bad": 3.0, "worse": 6.0}  # beside each passage, of its query's vector


@pytest.fixture(scope="module")
def models(tiny, tmp_path_factory):
    """Three encoder folders with weights of their own."""
    root = tmp_path_factory.mktemp("models")
    for number, name in enumerate(NOISE):
        folder = shutil.copytree(tiny[0], root / name)
        weights = load_file(folder / "model.safetensors")
        save_file({key: value + np.float32(number) for key, value in weights.items()}, folder / "model.safetensors")
    return [str(root / name) for name in NOISE]


@pytest.fixture
def scored(monkeypatch):
    """The models that were scored; vectors are drawn about those of the questions, in place of an encoder's."""
    calls = []

    def evaluate(options, out, callback, *, mteb=None):
        calls.append(options.shown.rpartition("/")[2])
        rows = read_benchmark(options.benchmark)
        benchmark = benchmark_of_rows(rows)
        random = np.random.default_rng(1)
        known = benchmark.relevance
        of_topic = random.normal(size=(len(benchmark.queries), 16)).astype(np.float32)
        queries = of_topic.copy()
        passages = random.normal(size=(len(benchmark.passages), 16)).astype(np.float32)
        passages[known.passage_index] = NOISE[calls[-1]] * passages[known.passage_index] + queries[known.query_index]
        ranked = rank_vectors(benchmark, queries, passages)
        columns = per_query(ranked, options.measures)
        known.write_per_query(out / FILE, columns, model=options.shown)
        scores = {**score(ranked, columns).__dict__, "digest": known.digest, "model": options.shown}
        write_json(scores, out / SCORES)
        with phase(callback, "encoding", "texts") as progress:
            for done in (0, 10, 30):
                progress(done, 30)

    monkeypatch.setattr(module, "evaluate", evaluate)
    return calls


def board(models, out, **more):
    return evaluate_several(models, BENCHMARK, out, Screen(to_stderr=True), overrides=PART, **more)


def test_each_is_scored_once_and_the_page_holds_them_best_first(models, scored, tmp_path):
    out = tmp_path / "board"
    result = board([models[1], models[0]], out)
    assert scored == ["bad", "good"]
    assert [one["model"] for one in result["encoders"]] == models[:2]
    assert json.loads((out / "leaderboard.json").read_text()) == json.loads(json.dumps(result))
    assert {row["metric"] for row in result["rows"]} == {
        *(f"{setting}/{measure}" for setting in ("mono", "cross", "multi") for measure in ("AP", "nDCG@10")),
        "multi/rank_distance",
    }
    by_metric = {row["metric"]: row["standings"] for row in result["rows"]}
    assert list(by_metric["multi/AP"][0]["ahead_of"]) == [1]
    assert by_metric["multi/AP"][0]["value"] == pytest.approx(result["encoders"][0]["metrics"]["multi/AP"])
    assert all(one["parameters"] > 1000 for one in result["encoders"])
    board(models, out)
    assert scored == ["bad", "good", "worse"]
    weights = load_file(f"{models[2]}/model.safetensors")
    try:
        save_file({key: value * 2 for key, value in weights.items()}, f"{models[2]}/model.safetensors")
        board(models, out)
    finally:
        save_file(weights, f"{models[2]}/model.safetensors")
    assert scored == ["bad", "good", "worse", "worse"]
    board(models[:2], out, measures=["AP", "R@5"])  # another question: they are scored anew
    assert scored[4:] == ["good", "bad"]


def test_the_page_stands_alone_and_shows_names_as_they_are(models, scored, tmp_path):
    out = tmp_path / "board"
    board(models, out)
    page = (out / "leaderboard.html").read_text(encoding="utf-8")
    assert 'http-equiv="Content-Security-Policy" content="default-src \'none\'' in page
    outside = re.sub(r"(?s)<script>.*?</script>", "", page)
    assert not re.search(r"(?:src|href)=\"(?!#)", outside)
    assert page.count('class="plot"') == 1 + 3
    figures = json.loads(re.search(r'(?s)id="figures">(.*?)</script>', page)[1])
    assert figures.keys() == {"settings", "pairs-0", "pairs-1", "pairs-2"}
    nasty = Contender("</script><b>x", None, None, {"pooling": "mean"}, CONTENDER)
    alone = Row("multi/AP", [Standing(0.5, None, None, ())], ())
    about = {"by": "multi/AP", "unit": "topic", "units": 3, "notes": ["<u>"]}
    shown = leaderboard_page(Leaderboard("a <i>benchmark</i>", [nasty], [alone], about))
    assert "<b>x" not in shown.replace("<b>${", "")
    assert "a &lt;i&gt;benchmark" in shown
    assert '<p class="note">&lt;u&gt;</p>' in shown


CONTENDER = {"counts": {"passages_per_language": {}, "queries": {"mono": 1}, "passages": 1}, "per_pair": {}}


def test_marks_tell_the_best_and_what_is_significantly_behind(models, scored, tmp_path):
    result = board(models, tmp_path / "board")
    rows = [module_row(row) for row in result["rows"]]
    contenders = [Contender(one["model"], 1_500_000, 12.3, {}, CONTENDER) for one in result["encoders"]]
    table = standings_table(Leaderboard("b", contenders, rows, {"unit": "document"}))
    assert table.columns[-2:] == ["parameters", "texts/s"]
    at = table.columns.index("multi/AP")
    assert [row[at].mark for row in table.rows] == ["best", "*", "*"]
    assert [row[-2].text for row in table.rows] == ["1.5 M"] * 3
    distance = table.columns.index("multi/rank_distance")
    assert table.rows[0][distance].mark == "best"  # the less the better


def module_row(row):
    return Row(row["metric"], [Standing(**{**of, "ahead_of": tuple(of["ahead_of"])}) for of in row["standings"]], ())


def test_the_rate_leaves_out_what_comes_before_the_first_texts(monkeypatch):
    clock, times = Clock(), iter([0.0, 100.0, 101.0, 104.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(times))
    for done in (50, 60, 80, 140):  # 50 were encoded before
        clock.on_phase_progress("encoding", done, 140)
    clock.on_phase_progress("ranking", 1, 2)
    assert clock.texts_per_second == (140 - 60) / 4
    assert Clock().texts_per_second is None


def test_folders_are_the_shortest_ends_of_paths_that_differ():
    assert module._folders(["a/x", "b/y"]) == ["x", "y"]
    assert module._folders(["org/x", "other/x", "z"]) == ["org-x", "other-x", "z"]
    assert module._folders(["s3://b/x", "x"]) == ["b-x", "x"]


def test_parameters_are_those_of_transformer_and_dense_layers(tiny, dense):
    from safetensors import safe_open

    with safe_open(tiny[0] / "model.safetensors", "np") as file:
        own = sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118
    pooler = 16 * 16 + 16
    assert parameter_count(tiny[1]) in (own, own + pooler)
    assert parameter_count(dense[1]) == parameter_count(tiny[1]) + 12 * 16 + 12


def test_wrong_calls_are_a_line_and_write_nothing(models, scored, tmp_path):
    out = tmp_path / "board"
    with pytest.raises(InputError, match="is given twice; a leaderboard has each encoder once"):
        board([models[0], models[0]], out)
    with pytest.raises(InputError, match="tiny is built by a study"):
        board([models[0], "tiny"], out)
    for words, line in (
        ([*models[:2]], "2 models make a leaderboard, which needs a folder: give --out DIR"),
        ([*models[:2], "--out", str(out), "--centre", models[0]], "--centre is for one MODEL; 2 are given"),
        (
            [models[0], "--mteb-task", "X"],
            "--mteb-task names the task of the files that --mteb DIR writes; give it too",
        ),
    ):
        ran = CliRunner().invoke(cli, ["evaluate", *words, "--benchmark", BENCHMARK])
        assert str(ran.exception) == line
    assert not out.exists()
    assert scored == []


def test_the_command_prints_the_standings(models, scored, tmp_path):
    words = ["evaluate", *models, "--benchmark", BENCHMARK, "--out", str(tmp_path / "b")]
    ran = CliRunner().invoke(cli, [*words, *(part for one in PART for part in ("--set", one))])
    assert ran.exit_code == 0, ran.output
    assert "significantly behind the best of the column" in ran.output
    assert f"page: {tmp_path / 'b' / 'leaderboard.html'}" in ran.output.replace("\n", "")
