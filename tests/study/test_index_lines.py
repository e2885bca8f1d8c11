"""The lines for an index, run as they are written, give what language vectors and standardised scores give."""

from dataclasses import replace

import faiss
import numpy as np
import pytest

from hybridtune.evaluate.debias import CANDIDATES, START
from hybridtune.metrics.ranks import ranks
from hybridtune.metrics.standard import Moments, standard_of
from hybridtune.model.language_vectors import FILE, LanguageVectors, fit_language_vectors
from hybridtune.study.index_lines import index_lines

NAMES = ("de", "en", "sw")


def texts(seed, size=90, width=6):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(size, width)) + 1
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), [*NAMES] * (size // 3)


@pytest.mark.parametrize("candidate", [one for one in CANDIDATES if one != START], ids=lambda one: one.name)
def test_the_lines_move_and_find_as_hybridtune_does(candidate, tmp_path, monkeypatch):
    known = {"queries": texts(0), "passages": texts(1)}
    fitted = LanguageVectors("none", {}, standardised=True)
    if candidate.method is not None:
        fitted = replace(fit_language_vectors(candidate.method, known), standardised=candidate.standardised)
    (tmp_path / FILE).write_bytes(fitted.to_bytes())
    monkeypatch.chdir(tmp_path)
    queries, passages = texts(2)[0], texts(3)[0]
    # A language without fitted texts is among them.
    asked, answered = ["yo", "en", "de"] * 30, ["yo", "en", "de"] * 30
    names = {"queries": queries, "passages": passages, "query_languages": asked, "passage_languages": answered}
    exec(compile(index_lines(fitted), "index_lines.py", "exec"), names)
    moved = fitted.move("queries", queries, asked), fitted.move("passages", passages, answered)
    np.testing.assert_allclose(names["move"]("queries", queries, asked), moved[0], atol=1e-5)
    np.testing.assert_allclose(names["move"]("passages", passages, answered), moved[1], atol=1e-5)
    if not candidate.standardised:
        exact = faiss.IndexFlatIP(moved[1].shape[1])
        exact.add(moved[1])
        np.testing.assert_allclose(names["scores"], exact.search(moved[0], 10)[0], atol=1e-5)
        return
    spoken = np.array(answered)
    standard = standard_of(moved[0], [Moments.of(moved[1][spoken == code]) for code in ("de", "en", "yo")])
    column = np.array([["de", "en", "yo"].index(code) for code in answered])
    expected = (moved[0][0] @ moved[1].T - standard.mean[0][column]) / standard.deviation[0][column]
    found = names["search"](moved[0][0], 10)
    assert [row for _, row in found] == np.argsort(-expected)[:10].tolist()
    assert ranks(moved[0][:1], moved[1], [(0, found[0][1])], [str(n) for n in range(90)], answered).own[0] == 1
