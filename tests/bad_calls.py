"""Calls of the command line with bad input, in the process of a test, and the rules that every answer keeps."""

import contextlib
import io
import re
import shutil
import sys
import time
import traceback
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from hybridtune.cli.main import main

LONGEST_LINE = 1500  # characters; a message may show the nearest names, and a path
MOST_LINES = 60
_FULL = 100  # examples of the profile in which a property draws as many as its test says
# What is Python's and nobody else's: names of exceptions, and values as only Python writes them.
PYTHONS = re.compile(
    r"Traceback|\b[A-Z]\w*(?:Error|Exception|Warning)\b|\[Errno|<class |<function | object at 0x|\(os error|"
    r"errors\.pydantic|^\s+File \"|\bdict\b object|not subscriptable|unhashable"
)


@dataclass(frozen=True)
class Case:
    """A command line, and the files that it finds in the current folder.

    Attributes:
        words: behind ``hybridtune``.
        files: content by name; None is a folder, and a Path what a link leads to.
    """

    words: tuple[str, ...]
    files: dict[str, bytes | Path | None]

    def write(self, folder):
        """Write the files into an empty folder."""
        for name, content in self.files.items():
            place = folder / name
            (place if content is None else place.parent).mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                place.symlink_to(content)
            elif content is not None:
                place.write_bytes(content)


@dataclass(frozen=True)
class Answer:
    """What a command said and did."""

    code: object
    out: str
    err: str
    raised: str
    changed: tuple[str, ...]
    seconds: float

    def problems(self):
        """The rules that an answer breaks, a line each."""
        if self.raised:
            return [f"a traceback: {self.raised}"]
        found = []
        if self.code not in (0, 1, 2):
            found.append(f"exit code {self.code}")
        if self.code in (1, 2):
            found += self._of_a_refusal()
        return found

    def _of_a_refusal(self):
        if self.changed:
            yield f"left behind: {', '.join(self.changed)}"
        if told := PYTHONS.search(self.out + self.err):
            yield f"Python's own words: {told[0]}"
        said = self.err[self.err.rfind("hybridtune: ") :] if "hybridtune: " in self.err else self.err
        lines = said.splitlines()
        if not lines or not (lines[0].startswith("hybridtune: ") or re.match(r"Usage: |Error: ", lines[0])):
            yield "no message"
        if lines and lines[0].startswith("hybridtune: "):
            if len(lines) > MOST_LINES:
                yield f"{len(lines)} lines"
            if any(not line.strip() or line.startswith(" ") for line in lines):
                yield "a problem of several lines"
        if any(len(line) > LONGEST_LINE for line in lines):
            yield f"a line of {max(map(len, lines))} characters"


class World:
    """A folder in which commands run, one after the other, each among files of its own."""

    def __init__(self, root, patch):
        self.here = root / "here"
        patch.setenv("HYBRIDTUNE_CACHE", str(root / "cache"))
        patch.setenv("XDG_STATE_HOME", str(root / "state"))
        patch.delenv("HYBRIDTUNE_DATA", raising=False)
        self.here.mkdir()
        patch.chdir(self.here)

    def answer(self, case):
        """Run a command among its files; returns what it answered."""
        for entry in self.here.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        case.write(self.here)
        before = content(self.here)
        out, err, raised, begun = io.StringIO(), io.StringIO(), "", time.perf_counter()
        words, sys.argv = sys.argv, ["hybridtune", *case.words]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        except Exception:
            code, raised = None, traceback.format_exc()
        finally:
            sys.argv = words
        seconds, after = time.perf_counter() - begun, content(self.here)
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        return Answer(code, out.getvalue(), err.getvalue(), raised, tuple(changed), seconds)

    def refuses(self, cases, number):
        """Draw cases until so many different ones were refused, each by the rules; a fast profile draws fewer."""
        wanted, seen, refused = number * settings.default.max_examples // _FULL, set(), 0

        @settings(
            max_examples=5 * wanted,
            derandomize=True,
            database=None,
            deadline=timedelta(seconds=60),  # of one input; a busy machine takes a part of it to import a library
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(cases)
        def run(case):
            nonlocal refused
            if refused == wanted or repr(case) in seen:
                return
            answer = self.answer(case)
            assert not (problems := answer.problems()), "\n".join([f"{case.words}", *problems, answer.err])
            seen.add(repr(case))
            refused += answer.code != 0

        run()
        assert refused == wanted


def content(folder):
    """All that is in a folder, by its name: the bytes of files, and where links lead."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        found[name] = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found
