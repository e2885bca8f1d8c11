"""Plain texts: which files are such, and what can be said of their vectors without a ranking."""

import json

import numpy as np
import pytest

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import DataSet, Encoder
from hybridtune.data.readers.plain import read_plain_texts
from hybridtune.errors import InputError
from hybridtune.evaluate.blocks import write_block
from hybridtune.study import debias_texts as debiasing
from hybridtune.terminal.debias import debias_tables
from hybridtune.terminal.screen import Screen

NAMES = ("de", "en", "sw")


@pytest.fixture
def file(tmp_path):
    def write(rows, name="texts.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return DataSet(path=str(path))

    return write


def test_texts_with_their_language_are_read_and_nothing_else(file):
    texts = read_plain_texts(file([{"text": "Guten Tag.", "lang": "de"}, {"text": "Habari.", "lang": "sw"}]))
    assert [(text.language, text.text) for text in texts] == [("de", "Guten Tag."), ("sw", "Habari.")]
    pairs = [{"query": "Who?", "text": "He.", "language": "en"}]
    groups = [{"group_id": "g", "queries": {"en": "Who?"}, "passages": {"en": "He."}}]
    for rows in (pairs, groups, [{"text": "Of no language."}]):
        assert read_plain_texts(file(rows)) is None
    named = file([{"text": "Hello."}]).model_copy(update={"language": "en"})
    assert [text.language for text in read_plain_texts(named)] == ["en"]
    for row in ({"text": " ", "language": "en"}, {"text": "Hello.", "language": None}):
        with pytest.raises(InputError, match=r"texts\.jsonl:2: a row has a text"):
            read_plain_texts(file([{"text": "Hello.", "language": "en"}, row]))


def test_what_a_language_adds_shrinks_and_no_ranking_is_promised(file, tmp_path, monkeypatch, capsys):
    random = np.random.default_rng(0)
    spoken = [NAMES[i % 3] for i in range(240)]
    parts = dict(zip(NAMES, random.normal(size=(3, 8)), strict=True))
    vectors = random.normal(size=(240, 8)) + np.array([parts[name] for name in spoken])
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    texts = read_plain_texts(file([{"text": f"Text {n}.", "language": name} for n, name in enumerate(spoken)]))

    def encoded(parts, count, encoder, resources, out, callback):
        write_block(out / "passages", "0", "de", [text.text_id for text in texts], unit)
        return out

    monkeypatch.setattr(debiasing, "encoded_texts", encoded)
    monkeypatch.setattr(debiasing, "vectors_digest", lambda encoder: "abc")
    options = type("Options", (), {"encoder": Encoder(name="e"), "resources": None})()
    said = type("Said", (StudyCallback,), {"on_message": lambda self, text: print(text)})()
    result, fitted = debiasing.debias_texts(options, "texts", texts, tmp_path, said, None, False)
    assert "all there is" in capsys.readouterr().out
    rows = {row["name"]: row for row in result["rows"]}
    assert rows["together"]["mean_distance"] < rows["start"]["mean_distance"] / 2
    assert rows["together"]["probe_accuracy"] < rows["start"]["probe_accuracy"]
    assert (result["chosen"], fitted.method, fitted.encoder) == ("together", "together", "abc")
    assert fitted.texts == {"passages": dict.fromkeys(NAMES, 80)}
    debias_tables({**result, "file": None, "lines": "import faiss"}, Screen(to_stderr=False))
    assert "directions-10" in capsys.readouterr().out
    with pytest.raises(InputError, match="--method apart: needs queries and answers"):
        debiasing.debias_texts(options, "texts", texts, tmp_path, said, "apart", False)
    with pytest.raises(InputError, match="all texts are in one language"):
        debiasing.debias_texts(options, "texts", texts[:1], tmp_path, said, None, False)
