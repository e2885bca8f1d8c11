"""Shell completion by click, asked as the shells ask it, and the lines of the documentation."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import shell_complete

from hybridtune.cli.main import cli

PAGE = Path(__file__).parents[2] / "docs" / "environment.md"


@pytest.fixture
def asked(monkeypatch, capsys):
    """What `hybridtune` answers a shell that asks by the variable; not by `main`, which pytest gives another name."""

    def ask(instruction, *words):
        monkeypatch.setenv("COMP_WORDS", " ".join(["hybridtune", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        assert shell_complete(cli, {}, "hybridtune", "_HYBRIDTUNE_COMPLETE", instruction) == 0
        return capsys.readouterr().out

    return ask


@pytest.fixture
def completed(asked):
    """The words that bash is given for a command line whose last word is begun: (kind, word) each."""
    return lambda *words: [tuple(line.split(",")) for line in asked("bash_complete", *words).split()]


def test_commands_options_and_choices_are_completed(completed):
    assert completed("ru") == [("plain", "run")]
    assert completed("tri") == [("plain", "trials")]
    assert completed("--q") == [("plain", "--quiet")]
    assert completed("--quiet", "cache", "pr") == [("plain", "prune")]
    assert completed("run", "--dry") == [("plain", "--dry-run")]
    assert completed("evaluate", "m", "--index", "h") == [("plain", "hnsw")]
    assert completed("nothing-begins-so") == []


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["run", "st"], "file"),
        (["compare", "a"], "file"),
        (["report", "x", "--tables", "d"], "dir"),
        (["evaluate", "m", "--out", "d"], "dir"),
    ],
)
def test_paths_are_left_to_the_shell(completed, words, kind):
    assert completed(*words) == [(kind, words[-1])]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_given_a_function_and_the_page_says_how(asked, shell):
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("click asks bash for its version")
    out = asked(f"{shell}_source")
    assert re.search(r"(function )?_hybridtune_completion\b", out)
    assert f"_HYBRIDTUNE_COMPLETE={shell}_complete" in out
    assert f"_HYBRIDTUNE_COMPLETE={shell}_source hybridtune" in PAGE.read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_after_the_line_of_the_page(tmp_path):
    (line,) = re.findall(r"^eval .*bash_source.*$", PAGE.read_text(encoding="utf-8"), re.M)
    program = tmp_path / "hybridtune"
    program.write_text(f"#!{sys.executable}\nfrom hybridtune.cli.main import main\nmain()\n")
    program.chmod(0o755)
    script = f"""
PATH={tmp_path}:$PATH
{line}
complete -p hybridtune
COMP_WORDS=(hybridtune ru) COMP_CWORD=1
_hybridtune_completion hybridtune
echo "found ${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "-F _hybridtune_completion hybridtune" in done.stdout
    assert done.stdout.endswith("found run\n")
