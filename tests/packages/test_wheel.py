"""What is installed from a wheel is what a checkout has: every module, every file beside one, what comes with it."""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
from package_source import BESIDE, FOLDERS, ROOT, TOP

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of a wheel and of the source distribution that it was built from, by what is installed here."""
    tree, dist = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in TOP:
        shutil.copy(ROOT / name, tree)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return dist


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The wheel's files, in a folder of their own."""
    folder = tmp_path_factory.mktemp("installed")
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


@pytest.fixture(scope="module")
def metadata(installed):
    (file,) = installed.glob("*.dist-info/METADATA")
    return email.message_from_bytes(file.read_bytes())


def files(*folders, root):
    return {
        path.relative_to(root).as_posix()
        for folder in folders
        for path in (root / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_package_is_whole(installed):
    wanted = files("hybridtune", root=ROOT) | {f"hybridtune/{name}" for name in files(*BESIDE, root=ROOT)}
    assert files("hybridtune", root=installed) == wanted | {"hybridtune/constraints.txt"}
    for name in (*files(*BESIDE, root=ROOT), "constraints.txt"):
        assert (installed / "hybridtune" / name).read_bytes() == (ROOT / name).read_bytes()


def test_nothing_else_is_installed(installed):
    assert {path.name.partition("-")[0] for path in installed.iterdir()} == {"hybridtune"}


def test_the_source_distribution_has_what_the_wheel_is_built_from(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {member.name.partition("/")[2] for member in packed.getmembers() if member.isfile()}
    assert files(*FOLDERS, root=ROOT) | set(TOP) <= names


def test_the_description_has_nothing_that_an_index_page_cannot_show(metadata):
    text = metadata.get_payload(decode=True).decode()
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert not re.search(r"<img|!\[", text)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert links
    assert all(link.startswith(("https:", "#")) for link in links)
    into_the_checkout = re.findall(
        r"(?<!!)\[([^\]]+)\]\((?!https?:|#)", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    assert into_the_checkout
    assert all(words in text for words in into_the_checkout)


def test_the_metadata_say_which_python_and_whose_it_is(metadata):
    assert metadata["Author"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    told = [found[1] for line in metadata.get_all("Classifier") if (found := re.search(r":: 3\.(\d+)$", line))]
    assert told == [str(minor) for minor in range(11, 15)]
    assert set(metadata["Requires-Python"].split(",")) == {f">=3.{told[0]}", f"<3.{int(told[-1]) + 1}"}


def run(installed, folder, *words):
    command = [sys.executable, "-m", "hybridtune", *words]
    env = os.environ | {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def test_the_files_that_come_with_it_are_found_where_it_is_installed(installed, tmp_path):
    for words in (("clusters", "copy", "aws.yaml"), ("clusters", "copy", "constraints.txt")):
        assert run(installed, tmp_path, *words).returncode == 0
    assert (tmp_path / "aws.yaml").read_bytes() == (ROOT / "clusters" / "aws.yaml").read_bytes()
    assert (tmp_path / "constraints.txt").read_bytes() == (ROOT / "constraints.txt").read_bytes()
    code = "from hybridtune.config.study import demo_study; print(demo_study())"
    env = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(installed / "hybridtune" / "search_spaces" / "newsroom.yaml")
