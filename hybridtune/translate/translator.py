"""A run's translator: what the cache does not hold goes to a pool of engines, and from there into the cache."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.fields import Resources
from hybridtune.translate.batches import Done
from hybridtune.translate.cache import Cache, untranslated
from hybridtune.translate.engine import Translation
from hybridtune.translate.recipe import EngineRecipe
from hybridtune.translate.wanted import Window

Pending = Sequence[tuple[Window, Collection[int]]]
Pool = Callable[[Pending], Iterator[Done]]
# Starts a pool of so many engines, with batches of so many tokens at most, for as long as a block runs.
StartPool = Callable[[EngineRecipe, int, int], contextlib.AbstractContextManager[Pool]]


@contextlib.contextmanager
def ray_pool(recipe: EngineRecipe, workers: int, batch_tokens: int) -> Iterator[Pool]:
    """Start Ray on this machine, and a pool of engines in it."""
    from hybridtune.runtime.local import capacity, local_cluster
    from hybridtune.translate.pool import RayPool

    with local_cluster(capacity(Resources(evaluators=workers)), dashboard=False):
        yield RayPool(recipe, workers, batch_tokens)


@dataclass
class Translator:
    """Translates windows; Ray starts with the first that the cache does not hold, and ends with the block."""

    cache: Cache
    recipe: EngineRecipe
    workers: int
    batch_tokens: int
    callback: StudyCallback
    start_pool: StartPool = ray_pool
    translated: int = 0  # texts that no earlier run had translated
    cached: int = 0  # texts that were in the cache
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _pool: Pool | None = None

    def __enter__(self) -> "Translator":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def translate(self, windows: Sequence[Window], what: str) -> None:
        """Have all texts of some windows in the cache; ``what`` names the phase."""
        pending = [(window, untranslated(self.cache, window.direction, window.texts)) for window in windows]
        pending = [(window, wanted) for window, wanted in pending if wanted]
        total, left = sum(len(window.texts) for window in windows), sum(len(wanted) for _, wanted in pending)
        self.cached += total - left
        if not left:
            return
        if self._pool is None:
            self.callback.on_message(f"starting {self.workers} engine{'s' * (self.workers > 1)} on this machine")
            self._pool = self._stack.enter_context(self.start_pool(self.recipe, self.workers, self.batch_tokens))
        by_number = {window.number: window for window, _ in pending}
        done = total - left
        with phase(self.callback, what, "texts") as progress:
            progress(done, total)
            for batch in self._pool(pending):
                window = by_number[batch.window]
                self.cache.add(window.direction, [window.texts[n] for n in batch.rows], batch.translations)
                self.translated += len(batch.rows)
                done += len(batch.rows)
                progress(done, total)

    def of(self, window: Window) -> list[Translation]:
        """Return the translations of a window that `translate` was called with."""
        found = [self.cache.get(window.direction, text) for text in window.texts]
        assert all(found), f"window {window.number} is not translated"
        return [translation for translation in found if translation is not None]
