"""The interface of an engine: rows of tokens in, translations out. `ctranslate` and `seq2seq` implement it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from hybridtune.translate.families import FamilyTokenizer

EngineName = Literal["ctranslate2", "transformers"]


class Translation(NamedTuple):
    """The text that a model returned; it is not finished where it ran into the most tokens that it may have."""

    text: str
    finished: bool


TOO_LONG = Translation("", False)  # of a text that is longer than the model is given


class Engine(Protocol):
    """Runs a translation model; a batch is one call of `translate`."""

    tokenizer: FamilyTokenizer

    def translate(self, rows: Sequence[Sequence[str]], target: str) -> list[Translation]:
        """Translate rows of source tokens, as `FamilyTokenizer.encode` returns them, in one batch."""


@dataclass(frozen=True)
class Decoding:
    """The settings a model is run with: all that its translations depend on beside its files and the texts."""

    engine: EngineName
    compute_type: str  # int8, int8_float16, float16, bfloat16, float32: of the weights and their products
    beam_size: int = 2  # 1: greedy
    max_tokens: int = 256  # of a source text, and of its translation
