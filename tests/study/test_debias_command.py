"""`debias` but for the encoder: what it finds, chooses and keeps, from vectors that are made here."""

import contextlib
import json
from types import SimpleNamespace

import numpy as np
import pytest

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import BenchmarkSource, DataSet, Encoder
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import load_benchmark, score_vectors
from hybridtune.evaluate.blocks import write_block
from hybridtune.evaluate.debias import CANDIDATES
from hybridtune.model.language_vectors import FILE, load_language_vectors
from hybridtune.study import debias as debiasing
from hybridtune.terminal.debias import debias_tables
from hybridtune.terminal.screen import Screen

NEWS = "newsroom:dev"
LANGUAGES = ["en", "de", "sw"]


@pytest.fixture(scope="module")
def benchmark():
    return load_benchmark(NEWS, languages=LANGUAGES)


@pytest.fixture
def encode(benchmark, tmp_path, monkeypatch):
    """Stands in for the encoder: meanings, each language's part times ``lean``, noise."""

    def made(lean):
        random = np.random.default_rng(0)
        known = benchmark.relevance
        meaning = np.zeros(len(benchmark.passages), np.int64)
        meaning[known.passage_index] = known.query_index
        first = np.array(
            [meaning[known.passage_index[known.query_index == q]].min() for q in range(len(known.query_ids))]
        )
        of_passage = np.zeros(len(benchmark.passages), np.int64)
        of_passage[known.passage_index] = first[known.query_index]
        means = random.normal(size=(len(first), 24))
        parts = {code: lean * random.normal(size=24) for code in known.languages}
        for side, numbers, texts in (
            ("queries", first, benchmark.queries),
            ("passages", of_passage, benchmark.passages),
        ):
            noise = 1.0 if lean else 0.0  # without either every answer stands first, and nothing can gain
            vectors = means[numbers] + noise * random.normal(size=(len(texts), 24))
            vectors += np.array([parts[code] for code in texts.languages])
            unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
            ids = [str(n) for n in range(len(texts))] if side == "queries" else texts.ids
            write_block(tmp_path / f"encoded{lean}" / side, "0", "en", ids, unit)
        encoded = contextlib.nullcontext(SimpleNamespace(folder=tmp_path / f"encoded{lean}"))
        monkeypatch.setattr(debiasing, "encoded", lambda *given: encoded)
        return SimpleNamespace(
            encoder=Encoder(name="e"), benchmark=BenchmarkSource(path=NEWS, languages=LANGUAGES), resources=None
        )

    monkeypatch.setattr(debiasing, "check_evaluation", lambda *given: None)
    monkeypatch.setattr(debiasing, "vectors_digest", lambda encoder: "abc")
    return made


DATA = DataSet(path=NEWS)


def test_the_best_way_is_written_and_scores_as_it_says(encode, benchmark, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    result = debiasing.debias(encode(2.0), DATA, out, StudyCallback())
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == [one.name for one in CANDIDATES]
    assert result["helps"]
    assert result["chosen"] == result["best"]
    best = rows[result["best"]]
    assert best["gain"]["balanced/AP"]["low"] > 0
    assert best["metrics"]["balanced/AP"]["value"] == max(
        row["metrics"]["balanced/AP"]["value"] for row in rows.values()
    )
    for name in ("mono/AP", "cross/AP"):  # standardised scores leave the order inside a language
        assert rows["standardised"]["metrics"][name]["value"] == rows["start"]["metrics"][name]["value"]
    for row in result["rows"]:
        for one in row["metrics"].values():
            assert one["low"] <= one["value"] <= one["high"]
    # What is written gives the figures of the second table.
    fitted = load_language_vectors(out)
    assert (fitted.encoder, result["file"]) == ("abc", str(out / FILE))
    folder = tmp_path / "encoded2.0"
    moved = [
        fitted.move("queries", debiasing.query_vectors(folder, len(benchmark.queries)), benchmark.queries.languages),
        fitted.move(
            "passages", debiasing.passage_vectors(folder, benchmark.passages.ids), benchmark.passages.languages
        ),
    ]
    scores = score_vectors(benchmark, *moved, ["AP"], standardised=fitted.standardised)
    assert best["in_place"].items() <= scores.metrics.items()
    assert json.loads((out / debiasing.RESULT).read_text(encoding="utf-8")) == result
    assert (out / debiasing.LINES).read_text(encoding="utf-8") == result["lines"]
    debias_tables(result, Screen(to_stderr=False))
    shown = capsys.readouterr().out
    assert all(name in shown for name in rows)
    assert result["lines"].splitlines()[0] in shown

    before = {path: path.stat().st_mtime_ns for path in (out / "methods").rglob("*.*")}
    assert debiasing.debias(encode(2.0), DATA, out, StudyCallback()) == result  # and nothing is ranked again
    assert {path: path.stat().st_mtime_ns for path in (out / "methods").rglob("*.*")} == before


def test_where_nothing_helps_nothing_is_written_unless_asked(encode, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    result = debiasing.debias(encode(0.0), DATA, out, StudyCallback())
    assert (result["helps"], result["chosen"], result["file"], result["lines"]) == (False, None, None, None)
    debias_tables(result, Screen(to_stderr=False))
    assert "Nothing helps here, and nothing is written" in capsys.readouterr().out
    asked = debiasing.debias(encode(0.0), DATA, out, StudyCallback(), method="apart-standardised")
    assert asked["chosen"] == "apart-standardised"
    assert load_language_vectors(out).standardised
    debias_tables(asked, Screen(to_stderr=False))
    again = debiasing.debias(encode(0.0), DATA, out, StudyCallback())
    assert again["chosen"] is None
    assert not (out / FILE).exists()  # what an earlier call wrote is not taken for this one's


def test_what_cannot_be_is_refused_before_anything_is_written(encode, tmp_path):
    options = encode(1.0)
    with pytest.raises(InputError, match="--method centred: is unknown; known: standardised, together"):
        debiasing.debias(options, DATA, tmp_path / "out", StudyCallback(), method="centred")
    options.benchmark = BenchmarkSource(path=NEWS, languages=["en"])
    for dry_run in (False, True):
        with pytest.raises(InputError, match="all texts are in one language"):
            debiasing.debias(options, DATA, tmp_path / "out", StudyCallback(), dry_run=dry_run)
    assert not (tmp_path / "out").exists()
