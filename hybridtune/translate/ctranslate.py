"""The engine of CTranslate2."""

from collections.abc import Sequence
from pathlib import Path

import ctranslate2

from hybridtune.translate.engine import Decoding, Translation
from hybridtune.translate.families import FamilyTokenizer


class CTranslateEngine:
    """Runs a converted model; its threads are those of one translation at a time."""

    def __init__(
        self, weights: Path, decoding: Decoding, device: str, threads: int, tokenizer: FamilyTokenizer
    ) -> None:
        self.tokenizer, self._decoding = tokenizer, decoding
        self._translator = ctranslate2.Translator(
            str(weights),
            device=device,
            compute_type=decoding.compute_type,
            inter_threads=1,
            intra_threads=threads,
        )

    def translate(self, rows: Sequence[Sequence[str]], target: str) -> list[Translation]:
        """Translate rows of source tokens, in one batch."""
        first = self.tokenizer.first(target)
        results = self._translator.translate_batch(
            [list(row) for row in rows],
            target_prefix=[[first]] * len(rows) if first else None,
            beam_size=self._decoding.beam_size,
            max_decoding_length=self._decoding.max_tokens,
            max_input_length=0,
            return_end_token=True,
        )
        found = [result.hypotheses[0] for result in results]
        end = self.tokenizer.tokenizer.eos_token
        texts = self.tokenizer.decode(found)
        return [Translation(text, row[-1:] == [end]) for text, row in zip(texts, found, strict=True)]
