"""Texts to token ids. A `Tokenizer` is a string and a number, so it travels to any process and has a digest."""

import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tokenizers

from hybridtune.errors import InputError, model_not_loaded

_CACHED_WORDS = 1 << 17  # of a Unigram or BPE model; its own 10,000 are full after a few hundred texts
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Tokenizer:
    """A fast tokenizer as data.

    Attributes:
        definition: the text of its ``tokenizer.json``.
        pad_id: the id that fills short rows.
    """

    definition: str
    pad_id: int

    @property
    def digest(self) -> str:
        """Equal for equal tokenizers."""
        return hashlib.sha256(f"{self.pad_id}\0{self.definition}".encode()).hexdigest()

    def encode(self, texts: Sequence[str], prefix: str, max_length: int) -> list[list[int]]:
        """Token ids of each text behind the prefix, special tokens included, cut to ``max_length`` tokens."""
        backend = _backend(self.definition)
        backend.enable_truncation(max_length)
        return [row.ids for row in backend.encode_batch_fast([prefix + text for text in texts])]

    def encode_flat(
        self, texts: Sequence[str], prefix: str, max_length: int
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """The same ids, one text behind the other: [T] ids, and [n] the tokens of each text."""
        rows = self.encode(texts, prefix, max_length)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum())), lengths


@functools.lru_cache(maxsize=8)
def _backend(definition: str) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer.from_str(definition)
    backend.no_padding()
    if hasattr(backend.model, "_resize_cache"):
        backend.model._resize_cache(_CACHED_WORDS)
    return backend


def pretrained_tokenizer(name: str, trust_remote_code: bool = False) -> Tokenizer:
    """The tokenizer of a model folder or hub name.

    Raises:
        InputError: it cannot be found or fetched, or it has no fast version.
    """
    if _is_path(name) and not Path(name).is_dir():
        raise model_not_loaded("tokenizer", name, "no such folder")
    import transformers

    try:
        loaded = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise model_not_loaded("tokenizer", name, error) from None
    if not loaded.is_fast:
        raise InputError(f"encoder.name {name}: its tokenizer has no tokenizer.json (a fast version), which is needed")
    if loaded.pad_token_id is None:
        raise InputError(f"encoder.name {name}: its tokenizer has no padding token")
    return Tokenizer(loaded.backend_tokenizer.to_str(), int(loaded.pad_token_id))


def _is_path(name: str) -> bool:
    """Whether a name can only mean a folder: asking a hub for it would only cost time."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A WordPiece tokenizer of the study's own texts, for the `tiny` encoder.

    Args:
        texts: what to learn the pieces from.
        vocab_size: most pieces to keep.
    """
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
