"""Texts to token ids, without torch: a model's own tokenizer as its folder says, or one trained on a study's texts.

A `Tokenizer` is a string and a number, so it travels to any process and has a digest. Its rows go to `encoder`.
"""

import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import tokenizers

from hybridtune.errors import InputError, model_not_loaded, short_repr
from hybridtune.metrics.arrays import Int32, Int64
from hybridtune.model.published import Published, read_published

_CACHED_WORDS = 1 << 17  # of a Unigram or BPE model; its own 10,000 are full after a few hundred texts
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Tokenizer:
    """A fast tokenizer as data."""

    definition: str  # the text of its tokenizer.json; texts are cut on the side that its truncation names
    pad_id: int
    pools_prompts: bool = True  # with the text's tokens; if not, each token of a prefix is given as ~id, below 0

    @property
    def digest(self) -> str:
        """A digest, equal for equal tokenizers."""
        text = self.definition if self.pools_prompts else f"prompts left out\0{self.definition}"
        return hashlib.sha256(f"{self.pad_id}\0{text}".encode()).hexdigest()

    @property
    def largest_id(self) -> int:
        """The largest token id that a text can get."""
        backend, _ = _backend(self.definition)
        return max(backend.get_vocab(with_added_tokens=True).values())

    def encode(self, texts: Sequence[str], prefix: str, max_length: int) -> list[list[int]]:
        """Return token ids of each text after the prefix, special tokens included, cut to ``max_length`` tokens."""
        backend, side = _backend(self.definition)
        backend.enable_truncation(max_length, direction=side)
        rows = [row.ids for row in backend.encode_batch_fast([prefix + text for text in texts])]
        if self.pools_prompts or not prefix:
            return rows
        count = _tokens_of_prompt(self.definition, prefix)
        return [[~token for token in row[:count]] + row[count:] for row in rows]

    def encode_flat(self, texts: Sequence[str], prefix: str, max_length: int) -> tuple[Int32, Int64]:
        """Return the ids of `encode`, one text after the other: [T] ids, and [n] the tokens of each text."""
        rows = self.encode(texts, prefix, max_length)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum())), lengths


@functools.lru_cache(maxsize=64)
def _tokens_of_prompt(definition: str, prompt: str) -> int:
    """Count the tokens of a prompt by itself, without a special token at its end, as sentence-transformers does."""
    backend, _ = _backend(definition)
    backend.no_truncation()
    alone = backend.encode(prompt)
    return len(alone.ids) - int(bool(alone.special_tokens_mask) and alone.special_tokens_mask[-1] == 1)


@functools.lru_cache(maxsize=8)
def _backend(definition: str) -> tuple[tokenizers.Tokenizer, str]:
    """Return the tokenizer, and the side on which it cuts texts."""
    backend = tokenizers.Tokenizer.from_str(definition)
    side = (backend.truncation or {}).get("direction", "right")
    backend.no_padding()
    if hasattr(backend.model, "_resize_cache"):
        backend.model._resize_cache(_CACHED_WORDS)
    return backend, side


def pretrained_tokenizer(name: str, trust_remote_code: bool = False) -> Tokenizer:
    """Read the tokenizer of a model folder or hub name.

    Raises:
        InputError: it cannot be found or fetched, or it has no fast version.
    """
    published = read_published(name)
    loaded = load_tokenizer(published, trust_remote_code)
    if loaded.pad_token_id is None:
        raise InputError(f"encoder.name {name}: its tokenizer has no padding token")
    backend = loaded.backend_tokenizer
    if loaded.truncation_side == "left":
        backend.enable_truncation(1, direction="left")  # the length is given anew at every use
    else:
        backend.no_truncation()
    return Tokenizer(backend.to_str(), int(loaded.pad_token_id), published.include_prompt)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train a WordPiece tokenizer of at most ``vocab_size`` pieces on a study's own texts, for the `tiny` encoder."""
    backend = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = tokenizers.normalizers.BertNormalizer(strip_accents=False, lowercase=True)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    # Without the usual "##" before pieces inside a word: the trainer numbers those in the order of a hash map that
    # is seeded anew in every process, and two trainings on the same texts would give two tokenizers.
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=list(_SPECIAL), show_progress=False, continuing_subword_prefix=""
    )
    backend.train_from_iterator(texts, trainer)
    special = [(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    return Tokenizer(backend.to_str(), _SPECIAL.index("[PAD]"))


def load_tokenizer(published: Published, trust_remote_code: bool) -> Any:
    """Return the fast tokenizer of a model, lowering texts and cutting them on the side that the model says.

    Raises:
        InputError: it cannot be found or fetched, or it has no fast version.
    """
    import transformers

    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    sides = {"padding_side": published.padding_side, "truncation_side": published.truncation_side}
    options |= {key: side for key, side in sides.items() if side is not None}
    try:
        loaded = transformers.AutoTokenizer.from_pretrained(**published.source, **options)  # nosec B615 # pinned there
    except Exception as error:  # of whatever its reader came upon in the files
        if published.adapter_of is None:
            raise model_not_loaded("tokenizer", published.name, error) from None
        return load_tokenizer(Published(published.adapter_of), trust_remote_code)  # adapters alone have none
    if not loaded.is_fast:
        raise InputError(
            f"encoder.name {published.name}: its tokenizer has no tokenizer.json (a fast version), which is needed"
        )
    if not isinstance(loaded.model_max_length, int | float) or not loaded.model_max_length >= 1:
        raise InputError(
            f"encoder.name {published.name}: tokenizer_config.json: model_max_length must be a number of tokens "
            f"(got {short_repr(loaded.model_max_length)})"
        )
    if published.lower_case:
        _lower(loaded.backend_tokenizer)
    return loaded


def _lower(backend: Any) -> None:
    """Lower texts before all else that the tokenizer does to them, unless it does so already."""
    from tokenizers import normalizers

    own: Any = backend.normalizer
    parts: list[Any] = [own] * (own is not None)
    if isinstance(own, normalizers.Sequence):
        parts = [own[index] for index in range(len(own))]
    if not any(isinstance(part, normalizers.Lowercase) for part in parts):
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *parts])
