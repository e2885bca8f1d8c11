"""The recipe by which a process opens an engine, and the default engine and settings."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hybridtune.errors import InputError
from hybridtune.runtime.local import gpus
from hybridtune.translate.engine import Decoding, Engine, EngineName
from hybridtune.translate.families import Family, FamilyTokenizer


@dataclass(frozen=True)
class EngineRecipe:
    """All that a process needs to open an engine; it travels to workers."""

    family: Family
    name: str  # of the model
    tokenizer: Path  # folder
    weights: Path  # folder
    decoding: Decoding
    device: Literal["cpu", "cuda"]
    threads: int

    def open(self) -> Engine:
        """Load the model."""
        tokenizer = FamilyTokenizer(self.family, self.tokenizer, self.name)
        if self.decoding.engine == "ctranslate2":
            from hybridtune.translate.ctranslate import CTranslateEngine

            return CTranslateEngine(self.weights, self.decoding, self.device, self.threads, tokenizer)
        from hybridtune.translate.seq2seq import Seq2SeqEngine

        return Seq2SeqEngine(self.weights, self.decoding, self.device, self.threads, tokenizer)


def choose_engine(engine: EngineName | None, is_converted: bool) -> EngineName:
    """Return the engine that runs a model's folder: CTranslate2 where it is installed, if none is named.

    Raises:
        InputError: the engine is not installed, or cannot run the folder.
    """
    installed = importlib.util.find_spec("ctranslate2") is not None
    engine = engine or ("ctranslate2" if installed or is_converted else "transformers")
    if engine == "ctranslate2" and not installed:
        raise InputError(
            "--engine ctranslate2: it is not installed: pip install 'hybridtune[translate]', or give --engine "
            "transformers and the folder of a model that is not converted"
        )
    if engine == "transformers" and is_converted:
        raise InputError(
            "--engine transformers: the model's folder is one of CTranslate2; give the folder that it was converted "
            "from, or --engine ctranslate2"
        )
    return engine


def usable_gpus(engine: EngineName) -> int:
    """Return the GPUs of this machine that an engine can use."""
    if engine == "ctranslate2":
        import ctranslate2

        return min(gpus(), int(ctranslate2.get_cuda_device_count()))
    return gpus()


def choose_compute_type(engine: EngineName, compute_type: str | None, on_gpu: bool) -> str:
    """Return how weights and products are held: int8 on a CPU by CTranslate2, if nothing is named.

    Raises:
        InputError: the engine has no such compute type here.
    """
    known = _compute_types(engine, on_gpu)
    if compute_type is not None and compute_type not in known:
        place = "GPU" if on_gpu else "CPU"
        raise InputError(
            f"--compute-type {compute_type}: {engine} has it not on this {place}; it has {', '.join(sorted(known))}"
        )
    chosen = ("int8_float16" if on_gpu else "int8") if engine == "ctranslate2" else "float16" if on_gpu else "float32"
    return compute_type or (chosen if chosen in known else "float32")


def _compute_types(engine: EngineName, on_gpu: bool) -> set[str]:
    if engine == "transformers":
        return {"float32", "bfloat16", "float16"} if on_gpu else {"float32", "bfloat16"}
    import ctranslate2

    return set(ctranslate2.get_supported_compute_types("cuda" if on_gpu else "cpu"))
