"""Agreement of a translation with its source: by translating it back, or by an encoder of both languages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from hybridtune.config.fields import Encoder
from hybridtune.errors import InputError
from hybridtune.translate.cache import Direction

AgreementName = Literal["back", "similarity"]
Measure = Callable[[Sequence[str], Sequence[str]], Sequence[float]]
_QUANTILES = (0.05, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Thresholds:
    """The least agreement that is kept, in general and of single directions; none: it is only measured."""

    general: float | None = None
    of: Mapping[str, float] = field(default_factory=dict)  # by direction, like en-sw

    def least(self, direction: Direction) -> float | None:
        """Return the threshold of a direction."""
        return self.of.get(str(direction), self.general)


def parse_thresholds(text: str | None) -> Thresholds:
    """Return the thresholds that ``--threshold`` gives.

    Example:
        >>> parse_thresholds("30,en-sw=25")
        Thresholds(general=30.0, of={'en-sw': 25.0})
    """
    general, of = None, {}
    for part in (text or "").split(","):
        name, equals, value = part.strip().rpartition("=")
        if not part.strip():
            continue
        try:
            number = float(value)
        except ValueError:
            raise InputError(f"--threshold {text}: {value!r} is no number; give 30, or 30,en-sw=25") from None
        if equals:
            of[name] = number
        else:
            general = number
    return Thresholds(general, of)


def back_measure() -> Measure:
    """Return the chrF of texts that were translated back, against their sources, from 0 to 100, as a function."""
    try:
        from sacrebleu.metrics import CHRF
    except ImportError:
        raise InputError("--check back: sacrebleu is not installed: pip install 'hybridtune[translate]'") from None
    metric = CHRF()

    def chrf(sources: Sequence[str], backs: Sequence[str]) -> list[float]:
        return [metric.sentence_score(back, [source]).score for source, back in zip(sources, backs, strict=True)]

    return chrf


class Similarity:
    """The cosines of the vectors of sources and translations, by an encoder that knows both languages."""

    def __init__(self, encoder: Encoder) -> None:
        import torch

        from hybridtune.model.encoder import load_encoder
        from hybridtune.model.folder import check_fit
        from hybridtune.model.tokenizer import pretrained_tokenizer

        self._encoder = encoder
        self._tokenizer = pretrained_tokenizer(encoder.name, encoder.trust_remote_code)
        check_fit(encoder, self._tokenizer.largest_id)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = load_encoder(encoder.name, encoder, self._tokenizer.pad_id).to(device).eval()

    def __call__(self, sources: Sequence[str], translations: Sequence[str]) -> list[float]:
        """Return the cosine of each pair, from -1 to 1."""
        one, other = self._vectors(sources), self._vectors(translations)
        return [float(value) for value in (one * other).sum(axis=1)]

    def _vectors(self, texts: Sequence[str]) -> Any:
        settings = self._encoder
        return self._model.embed_by_length(
            self._tokenizer.encode(list(texts), settings.passage_prefix, settings.passage_length)
        )


def describe(values: Mapping[Direction, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Return by direction the number of texts that were measured and quantiles of their agreement."""
    return {
        str(direction): {"texts": len(found)}
        | {f"{quantile:.0%}": round(float(np.quantile(found, quantile)), 3) for quantile in _QUANTILES}
        for direction, found in sorted(values.items())
        if found
    }
