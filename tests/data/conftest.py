"""What the tests of the corpus and of the stream share."""

import tempfile
from pathlib import Path

import pytest

from hybridtune.data.corpus import Corpus
from hybridtune.data.numbering import Numbering, read_texts


@pytest.fixture(scope="session")
def numbered():
    """Surveys groups: the corpus, and (is_query, text) by text number."""

    def number(groups, limits=None, sources=None):
        with tempfile.TemporaryDirectory() as folder:
            numbering = Numbering(Path(folder), limits or {}, keep_texts=True)
            for row, group in enumerate(groups):
                numbering.add(group, sources[row] if sources else 0)
            numbering.finish()
            texts = list(read_texts(numbering.parts))
            assert len(texts) == numbering.texts
            return Corpus.open(Path(folder)), texts

    return number
