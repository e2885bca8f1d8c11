"""A Ray Data pool of engines, each in a process of its own: windows of texts in, translations out as they are made."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray

from hybridtune.errors import FitError
from hybridtune.translate.batches import Done, translate_window
from hybridtune.translate.cache import Direction
from hybridtune.translate.engine import Translation
from hybridtune.translate.recipe import EngineRecipe
from hybridtune.translate.wanted import Window

_WORKER_CPUS = 0.25  # logical: the engine's threads are the cores


@dataclass(frozen=True)
class RayPool:
    """Engines on this machine, as many as ``workers``, each with a GPU if they run on GPUs."""

    recipe: EngineRecipe
    workers: int
    batch_tokens: int

    def __call__(self, windows: Sequence[tuple[Window, Collection[int]]]) -> Iterator[Done]:
        """Translate the wanted texts of windows; Ray must be running.

        Raises:
            FitError: an engine failed.
        """
        rows = [
            {"number": window.number, "direction": [*window.direction], "texts": window.texts, "wanted": sorted(wanted)}
            for window, wanted in windows
        ]
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        data.context.enable_progress_bars = False
        data.context.target_max_block_size = 1  # byte: a batch goes on, to be kept, as soon as it is there
        data = data.map_batches(
            _Worker,
            fn_constructor_args=(self.recipe, self.batch_tokens),
            compute=ray.data.ActorPoolStrategy(size=min(self.workers, len(rows)), max_tasks_in_flight_per_actor=2),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=_WORKER_CPUS,
            num_gpus=1 if self.recipe.device == "cuda" else None,
        )
        for row in data.iter_rows():
            if row["problem"]:
                raise FitError(row["problem"])
            translations = [Translation(*pair) for pair in zip(row["texts"], row["finished"], strict=True)]
            yield Done(row["number"], list(row["rows"]), translations)


class _Worker:
    """A Ray Data actor: a window in, its batches out, translated."""

    def __init__(self, recipe: EngineRecipe, batch_tokens: int) -> None:
        self.batch_tokens, self.most_tokens = batch_tokens, recipe.decoding.max_tokens
        self.problem, self.engine = "", None
        try:
            self.engine = recipe.open()
        except Exception as error:  # Ray would start the actor again, and say where in its own code it failed
            self.problem = _one_line("the model cannot be loaded", error)

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for item in batch.to_pylist():
            window = Window(item["number"], Direction(*item["direction"]), item["texts"])
            if self.engine is None:
                yield _table(Done(window.number, [], []), self.problem)
                return
            wanted = frozenset(item["wanted"])
            try:
                for done in translate_window(self.engine, window, wanted, self.batch_tokens, self.most_tokens):
                    yield _table(done)
            except RuntimeError as error:  # of the engine, most often its memory
                problem = _one_line("the engine failed on a batch", error)
                yield _table(Done(window.number, [], []), f"{problem}; where memory ran out, lower --batch-tokens")


def _one_line(what: str, error: Exception) -> str:
    return f"{what}: {' '.join(str(error).split())[:300]}"


def _table(done: Done, problem: str = "") -> pa.Table:
    row: dict[str, Any] = {
        "number": done.window,
        "rows": done.rows,
        "texts": [translation.text for translation in done.translations],
        "finished": [translation.finished for translation in done.translations],
        "problem": problem,
    }
    schema = pa.schema(
        {
            "number": pa.int64(),
            "rows": pa.list_(pa.int64()),
            "texts": pa.list_(pa.string()),
            "finished": pa.list_(pa.bool_()),
            "problem": pa.string(),
        }
    )
    return pa.Table.from_pylist([row], schema)
