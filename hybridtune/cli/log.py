"""What a command says on the way, by Python's logging: to its screen, to standard error, to a file.

The events of a study come from its screen (`hybridtune.terminal.screen`), which is one of the loggers ``hybridtune.*``.
"""

import contextlib
import logging
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click

from hybridtune.errors import InputError, error_text
from hybridtune.runtime.termination import was_terminated

_ALL = logging.getLogger("hybridtune")
_log = logging.getLogger(__name__)
_IN_FILE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class LoggedGroup(click.Group):
    """The commands, each logged as the options before its name say: ``verbose``, ``quiet`` and ``log_file``."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command, with its log open."""
        verbose, quiet, file = (ctx.params[name] for name in ("verbose", "quiet", "log_file"))
        if verbose and quiet:
            raise InputError("--verbose and --quiet: give one of the two")
        with _opened(verbose, file):
            _log.debug("hybridtune %s, Python %s", version("hybridtune"), platform.python_version())
            with _end_logged():
                return super().invoke(ctx)


def screen_level() -> int:
    """Return what the screen of the running command prints: lines of this level of logging and above."""
    given = click.get_current_context().find_root().params
    return logging.DEBUG if given.get("verbose") else logging.WARNING if given.get("quiet") else logging.INFO


@contextlib.contextmanager
def _opened(verbose: bool, file: Path | None) -> Iterator[None]:
    """Send what no screen prints to standard error, warnings or with ``verbose`` all of it; and everything to a file.

    Raises:
        InputError: the file cannot be written.
    """
    # The stream itself, not whatever sys.stderr is later: Ray's prints are redirected while it runs.
    errors = logging.StreamHandler(sys.stderr)
    errors.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    errors.setLevel(logging.DEBUG if verbose else logging.WARNING)
    errors.addFilter(lambda record: not getattr(record, "told", False) or (verbose and record.exc_info is not None))
    handlers: list[logging.Handler] = [errors]
    if file is not None:
        handlers.append(_file_handler(file))
    before = _ALL.level, _ALL.propagate
    _ALL.setLevel(logging.DEBUG if verbose or file is not None else logging.INFO)
    _ALL.propagate = False  # a library that gives the root logger a handler would print every line again
    for handler in handlers:
        _ALL.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            _ALL.removeHandler(handler)
            handler.close()
        level, _ALL.propagate = before
        _ALL.setLevel(level)


def _file_handler(file: Path) -> logging.Handler:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--log-file {file}: cannot be written: {error.strerror}") from None
    handler.setFormatter(logging.Formatter(_IN_FILE))
    return handler


@contextlib.contextmanager
def _end_logged() -> Iterator[None]:
    """Log how the block ends; what the command line says of an error itself is not said again but with --verbose."""
    try:
        yield
    except click.exceptions.Exit:  # of --help
        raise
    except click.ClickException as error:
        _log.error(error_text(error.format_message()), extra={"told": True})
        raise
    except KeyboardInterrupt as stop:
        _log.error("ended by SIGTERM" if was_terminated(stop) else "interrupted", extra={"told": True})
        raise
    except Exception as error:
        where = None if isinstance(error, InputError) else error
        _log.error(error_text(error), exc_info=where, extra={"told": True})
        raise
    _log.debug("done")
