"""The files of clusters/, filled in as a user would, and mistakes planted in them."""

import re
from pathlib import Path

import pytest

from hybridtune.errors import InputError
from hybridtune.launch.cluster_file import read_cluster

CLUSTERS = Path(__file__).parents[2] / "clusters"


def filled(name):
    """A shipped file with something for every YOUR_..."""
    text = (CLUSTERS / f"{name}.yaml").read_text(encoding="utf-8")
    text = text.replace("YOUR_SPOT_LABEL", "eks.amazonaws.com/capacityType").replace("YOUR_SPOT_VALUE", "SPOT")
    return re.sub(r"YOUR_[A-Z0-9_]*[A-Z0-9]", "mine", text)


def at_home(tmp_path, monkeypatch):
    """A home with the files that the cluster files send along, and the checkout as working directory."""
    home = tmp_path / "home"
    for name in (".ray/auth_token", ".ssh/mine", ".ssh/mine.pub"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("made up", encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(CLUSTERS.parent)


def read(text, folder):
    """The cluster of a KubeRay file's text."""
    path = folder / "kube.yaml"
    path.write_text(text, encoding="utf-8")
    return read_cluster(path)


def refusal(text, folder):
    """The lines of the InputError that a file's text gives, each without the path."""
    path = folder / "planted.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        read_cluster(path)
    lines = str(refused.value).split("\n")
    assert all(line.startswith(f"{path}:") for line in lines), lines
    return [line.removeprefix(f"{path}:") for line in lines]


def planted(text, old, new):
    """The text with a mistake, and the line that it is in."""
    assert text.count(old) >= 1, f"{old!r} is not in the file"
    at = text.index(old)
    return text[:at] + new + text[at + len(old) :], text[:at].count("\n") + 1


def assert_caught(text, old, new, message, tmp_path, below=0):
    """A planted mistake is told with its line, or one that is ``below`` lines under its first."""
    wrong, line = planted(text, old, new)
    lines = refusal(wrong, tmp_path)
    expected = f"{line + below}: "
    assert any(found.startswith(expected) and re.search(message, found) for found in lines), (expected, message, lines)
