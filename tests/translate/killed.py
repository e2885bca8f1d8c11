"""A translation in a process of its own, which tells what it does and waits after each step: it can be killed there."""

import contextlib
from pathlib import Path

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import DataSet
from hybridtune.translate import run
from hybridtune.translate.batches import translate_window
from hybridtune.translate.checks import Checks
from hybridtune.translate.wanted import parse_wanted


def translate(model, data, folder, pipe):
    """Translate `data`; tell ("begun", texts), ("translated", texts), ("stored", texts), and ("done", report)."""

    def tell(what, said):
        pipe.send((what, said))
        pipe.recv()

    waiting = []

    class Stored(StudyCallback):
        def on_phase_progress(self, phase, done, total):
            if waiting:
                tell("stored", waiting.pop())

    run.mistaken = lambda texts, languages: [None] * len(texts)  # the model is random: it knows no language
    options = run.TranslateOptions(
        model=str(model),
        wanted=parse_wanted("both", "sw,ha", "en", None),
        out=str(Path(folder) / "out.jsonl"),
        max_tokens=48,
        batch_tokens=80,
        cache=Path(folder) / "cache",
        checks=Checks(ratio=100.0, repeats=50),
    )
    report = run.translate([DataSet(path=str(data))], options, Stored(), lambda *given: _pool(*given, tell, waiting))
    tell("done", report)


@contextlib.contextmanager
def _pool(recipe, workers, batch_tokens, tell, waiting):
    engine = recipe.open()

    def translated(pending):
        for window, wanted in pending:
            for done in translate_window(Told(engine, tell), window, wanted, batch_tokens, recipe.decoding.max_tokens):
                texts = [(str(window.direction), window.texts[n]) for n in done.rows]
                tell("translated", texts)
                waiting.append(texts)
                yield done

    yield translated


class Told:
    """An engine that tells when a batch begins."""

    def __init__(self, engine, tell):
        self.tokenizer, self._engine, self._tell = engine.tokenizer, engine, tell

    def translate(self, rows, target):
        self._tell("begun", len(rows))
        return self._engine.translate(rows, target)
