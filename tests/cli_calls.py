"""Running the command line in the process of a test."""

import sys

from hybridtune.cli.main import main


def caller(folder, monkeypatch, capsys):
    """A function that runs the command line, in an empty folder ``here`` in ``folder``: (exit code, stdout, stderr)."""
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")
    monkeypatch.setenv("HYBRIDTUNE_CACHE", str(folder / "cache"))
    monkeypatch.delenv("HYBRIDTUNE_DATA", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hybridtune", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return run


def files(folder):
    """All that is in a folder."""
    return sorted(str(path) for path in folder.rglob("*"))
