"""The Dockerfile and compose.yaml, read as they stand, for want of a Docker engine: pinned, not root, loopback only."""

import re
import tomllib

import yaml
from package_source import FOLDERS, ROOT, TOP

TEXT = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.M).replace("\\\n", " ")
STEPS = [line.split(maxsplit=1) for line in TEXT.splitlines() if line.strip()]
BUILD, FINAL = (
    STEPS[: (last := max(n for n, (step, _) in enumerate(STEPS) if step == "FROM"))],
    STEPS[last:],
)
SERVICES = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def of(step, steps=STEPS):
    return [words for name, words in steps if name == step]


def copied():
    return [name for words in of("COPY", BUILD) for name in words.split()[:-1]]


def test_both_stages_stand_on_one_image_of_a_python_that_is_ours():
    bases = {words.split()[0] for words in of("FROM")}
    (found,) = (re.fullmatch(r"python:(3\.\d+)-slim-[a-z]+", base) for base in bases)
    assert f"Programming Language :: Python :: {found[1]}" in PROJECT["classifiers"]
    assert len(of("FROM")) == 2


def test_it_runs_as_a_user_without_rights():
    (user,) = of("USER", FINAL)
    assert user not in ("root", "0")
    assert f'useradd --create-home --uid "$UID" {user}' in TEXT
    assert [name for name, _ in FINAL].index("USER") > [name for name, _ in FINAL].index("COPY")


def test_every_installation_is_of_the_locked_versions_and_keeps_no_cache():
    installs = [words for words in of("RUN") if "pip install" in words]
    assert len(installs) == 2
    assert all(words.startswith("pip install -c constraints.txt ") for words in installs)
    assert any("PIP_NO_CACHE_DIR=1" in words for words in of("ENV", BUILD))
    assert not any("pip" in words for words in of("RUN", FINAL))


def test_its_extras_are_those_that_there_are():
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', TEXT)
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def test_what_is_copied_is_there_is_let_in_and_is_what_the_package_is_built_from():
    assert all((ROOT / name).exists() for name in copied())
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert (ROOT / ".dockerignore").read_text().startswith("*\n")
    assert set(copied()) == let_in == {*FOLDERS, *TOP}
    (venv,) = (words for words in of("COPY", FINAL))
    assert venv == "--from=build /opt/hybridtune /opt/hybridtune"


def test_no_server_is_named():
    assert "://" not in TEXT


def test_services_are_of_this_version_and_publish_nothing():
    assert {service["image"] for service in SERVICES.values()} == {f"hybridtune:{PROJECT['version']}"}
    assert not any("ports" in service for service in SERVICES.values())
    assert SERVICES["study"]["shm_size"] == "4gb"
    assert "network_mode" not in SERVICES["study"]
    assert SERVICES["dashboard"]["network_mode"] == "host"  # where it listens on 127.0.0.1 alone


def test_services_run_commands_that_there_are_on_the_same_folder():
    from hybridtune.cli.main import cli

    for service in SERVICES.values():
        name, *words = service["command"]
        cli.commands[name].make_context(name, words, resilient_parsing=False)
        assert service["volumes"] == SERVICES["study"]["volumes"]
        assert service["init"] is True
    home = next(words.split()[-1] for words in of("RUN", FINAL))
    assert {volume.split(":")[1] for volume in SERVICES["study"]["volumes"][1:]} == {home}
    assert SERVICES["study"]["volumes"][0]["target"] == of("WORKDIR", FINAL)[0]


def test_arguments_of_the_build_are_those_of_the_dockerfile():
    assert set(SERVICES["study"]["build"]["args"]) == {words.split("=")[0] for words in of("ARG")}
