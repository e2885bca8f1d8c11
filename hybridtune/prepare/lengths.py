"""The lengths of the texts of training data, in tokens of an encoder."""

from collections.abc import Mapping

import numpy as np

from hybridtune.config.fields import Encoder
from hybridtune.data.text_sample import TextSample
from hybridtune.metrics.arrays import Int64
from hybridtune.model.tokenizer import Tokenizer

_NO_LIMIT = 1 << 20  # tokens


def token_lengths(sample: TextSample, tokenizer: Tokenizer, encoder: Encoder) -> Mapping[tuple[str, str], Int64]:
    """Return by (side, language) the tokens of each text of a sample, with its prefix and special tokens, uncut."""
    prefixes = {"queries": encoder.query_prefix, "passages": encoder.passage_prefix}
    found = {}
    for side, language in sorted(sample.counts):
        rows = tokenizer.encode(sample.texts(side, language), prefixes[side], _NO_LIMIT)
        found[side, language] = np.array([len(row) for row in rows], np.int64)
    return found
