"""The engine of plain transformers: any folder that AutoModelForSeq2SeqLM loads, as it is published."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from hybridtune.errors import InputError
from hybridtune.translate.engine import Decoding, Translation
from hybridtune.translate.families import FamilyTokenizer


class Seq2SeqEngine:
    """Runs a model by transformers' own generation."""

    def __init__(
        self, weights: Path, decoding: Decoding, device: str, threads: int, tokenizer: FamilyTokenizer
    ) -> None:
        self.tokenizer, self._decoding, self._device = tokenizer, decoding, device
        torch.set_num_threads(threads)
        dtype = getattr(torch, decoding.compute_type)
        try:
            model = transformers.AutoModelForSeq2SeqLM.from_pretrained(  # nosec B615 # a folder
                str(weights), dtype=dtype, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"--model {tokenizer.name}: its weights cannot be loaded: {reason}") from None
        self._model: Any = model.to(device).eval()

    def translate(self, rows: Sequence[Sequence[str]], target: str) -> list[Translation]:
        """Translate rows of source tokens, in one batch."""
        tokenizer = self.tokenizer.tokenizer
        ids = [tokenizer.convert_tokens_to_ids(list(row)) for row in rows]
        width = max(map(len, ids))
        padded = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in ids])
        held = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
        first = self.tokenizer.first(target)
        forced = {"forced_bos_token_id": tokenizer.convert_tokens_to_ids(first)} if first else {}
        config = self._model.generation_config
        with torch.inference_mode():
            found = self._model.generate(
                input_ids=padded.to(self._device),
                attention_mask=held.to(self._device),
                num_beams=self._decoding.beam_size,
                do_sample=False,
                max_new_tokens=self._decoding.max_tokens,
                forced_eos_token_id=None,  # Marian's would end a text that is not finished
                **forced,
            )
        start = config.decoder_start_token_id
        end = tokenizer.eos_token_id
        outputs = [row[1:] if row[0] == start else row for row in found.tolist()]
        finished = [end in row for row in outputs]
        outputs = [row[: row.index(end)] if end in row else row for row in outputs]
        texts = self.tokenizer.decode([tokenizer.convert_ids_to_tokens(row) for row in outputs])
        return [Translation(text, done) for text, done in zip(texts, finished, strict=True)]
