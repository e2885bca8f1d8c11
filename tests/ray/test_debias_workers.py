"""`debias` on a model folder: what it finds, what it keeps, and that `evaluate --centre` gives what it promised."""

import json

import pytest

from hybridtune.config.fields import DataSet
from hybridtune.data.newsroom import generate
from hybridtune.errors import InputError
from hybridtune.model.folder import build_tiny
from hybridtune.model.language_vectors import FILE, load_language_vectors
from hybridtune.study.debias import LINES, RESULT, debias
from hybridtune.study.evaluate_model import evaluate, evaluation_options
from hybridtune.terminal.debias import debias_tables
from hybridtune.terminal.screen import Screen

pytestmark = [pytest.mark.ray, pytest.mark.timeout(280)]
SHORT = ("encoder.query_length=16", "encoder.passage_length=24", "resources.evaluators=1")


@pytest.fixture(scope="module")
def screen():
    return Screen(to_stderr=True)


@pytest.fixture(scope="module")
def model(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    build_tiny(tiny[2].definition, tiny[1], 0, folder)
    return folder


def news(languages, count=60):
    for group in list(generate("dev"))[:count]:
        sides = {side: {code: group[side][code] for code in languages} for side in ("queries", "passages")}
        yield {**group, **sides}


@pytest.fixture
def asked(model, groups_file):
    def ask(*languages):
        path = groups_file(news(languages))
        return evaluation_options(str(model), str(path), SHORT), DataSet(path=str(path))

    return ask


def test_what_is_chosen_scores_as_it_says(shared_ray, asked, screen, tmp_path, capsys):
    options, data = asked("en", "de", "sw")
    out = tmp_path / "out"
    result = debias(options, data, out, screen, method="apart-standardised")
    rows = {row["name"]: row for row in result["rows"]}
    assert {"start", "together", "apart-standardised", "csls", "coral"} <= rows.keys()
    assert result["chosen"] == "apart-standardised"
    assert rows["start"]["gain"] == {}
    for name in ("mono/AP", "cross/AP"):  # standardised scores leave the order inside a language
        assert rows["standardised"]["metrics"][name]["value"] == rows["start"]["metrics"][name]["value"]
    assert load_language_vectors(out).standardised
    centred = evaluate(options.model_copy(update={"centre": out}), out, screen)
    for name, value in rows["apart-standardised"]["in_place"].items():
        assert centred["metrics"][name] == pytest.approx(value, abs=1e-12), name
    assert json.loads((out / RESULT).read_text(encoding="utf-8")) == result
    assert (out / LINES).read_text(encoding="utf-8") == result["lines"]
    debias_tables(result, Screen(to_stderr=False))
    shown = capsys.readouterr().out
    assert all(name in shown for name in rows)

    before = {path: path.stat().st_mtime_ns for path in (out / "methods").rglob("*.*")}
    again = debias(options, data, out, screen)  # nothing is ranked again; the best is written, or nothing
    assert {path: path.stat().st_mtime_ns for path in (out / "methods").rglob("*.*")} == before
    assert again["rows"] == result["rows"]
    assert again["chosen"] == (again["best"] if again["helps"] else None)
    assert (out / FILE).is_file() == (again["chosen"] is not None)


def test_what_cannot_be_is_refused_before_anything_is_written(shared_ray, asked, screen, tmp_path):
    options, data = asked("en")
    for dry_run in (False, True):
        with pytest.raises(InputError, match="all texts are in one language"):
            debias(options, data, tmp_path / "out", screen, dry_run=dry_run)
    with pytest.raises(InputError, match="--method centred: is unknown; known: standardised, together"):
        debias(options, data, tmp_path / "out", screen, method="centred")
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_would_be_measured(shared_ray, asked, screen, capsys):
    result = debias(*asked("en", "sw"), None, screen, dry_run=True)
    assert result["queries"] == result["passages"] == 120
    assert "together, together-standardised" in result["methods"]
    debias_tables(result, Screen(to_stderr=False))
    assert "would measure" in capsys.readouterr().out
