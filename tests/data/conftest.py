"""What the tests of the corpus and of the stream share."""

import pytest

from hybridtune.data.corpus import CorpusBuilder, read_texts


@pytest.fixture(scope="session")
def numbered(tmp_path_factory):
    """Number groups: the corpus, and (is_query, text) by text number."""

    def number(groups, limits=None, sources=None):
        builder = CorpusBuilder(limits or {}, tmp_path_factory.mktemp("texts"))
        for row, group in enumerate(groups):
            builder.add(group, sources[row] if sources else 0)
        corpus = builder.finish()
        return corpus, list(read_texts(builder.parts))

    return number
