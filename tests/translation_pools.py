"""Pools of engines in the process of a test, in place of Ray's; what they were asked for is noted."""

import contextlib

from hybridtune.translate.batches import translate_window
from hybridtune.translate.engine import Translation


def here(calls=None, on_batch=lambda done: None):
    """A pool of one engine here; ``calls`` gets (direction, text) of every text that the engine translated."""

    @contextlib.contextmanager
    def start(recipe, workers, batch_tokens):
        engine = recipe.open()

        def run(pending):
            for window, wanted in pending:
                for done in translate_window(engine, window, wanted, batch_tokens, recipe.decoding.max_tokens):
                    if calls is not None:
                        calls.extend((str(window.direction), window.texts[n]) for n in done.rows)
                    yield done
                    on_batch(done)

        yield run

    return start


class Words:
    """An engine that is no model: texts by a function of (text, target), tokens are words."""

    def __init__(self, translate):
        self.tokenizer, self._translate = self, translate

    def encode(self, texts, source, target):
        return [text.split(" ") for text in texts]

    def translate(self, rows, target):
        return [Translation(self._translate(" ".join(row), target), True) for row in rows]


def of(translate, calls=None):
    """A pool of an engine that is no model; ``calls`` gets (direction, text) of every text that it translated."""

    @contextlib.contextmanager
    def start(recipe, workers, batch_tokens):
        def run(pending):
            for window, wanted in pending:
                for done in translate_window(Words(translate), window, wanted, batch_tokens, 1000):
                    if calls is not None:
                        calls.extend((str(window.direction), window.texts[n]) for n in done.rows)
                    yield done

        yield run

    return start
