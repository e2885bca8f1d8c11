"""The record of a launch: it is acted upon where this user wrote it, and nowhere else."""

import json
import socket
import stat
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from launch_world import fails, write_results

from hybridtune.cli.main import cli
from hybridtune.errors import InputError
from hybridtune.launch import record as record_module
from hybridtune.launch.local_head import Head
from hybridtune.launch.record import Launch, find_launch, write_launch

LAUNCH = Launch("here", "small", "out", "a", head=Head(1, None, "x", "127.0.0.1:1", "http://127.0.0.1:1"))
COMMANDS = ("attach", "fetch", "stop", "down")
DAMAGED = [b"\xff\xfe", b"", b"[1]", b'"x"', b"{}", b"{", b"[" * 20_000, b'{"head": null, "signature": 3}']


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def stranger(tmp_path):
    """A folder with a record that a stranger wrote: it names a folder, a process and an address of ours."""
    folder, precious = tmp_path / "given", tmp_path / "precious"
    folder.mkdir()
    precious.mkdir()
    (precious / "token").write_text("secret")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as process,
    ):
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        head = {"pid": process.pid, "start_time": None, "folder": str(precious), "address": url[7:], "dashboard": url}
        record = asdict(LAUNCH) | {"out": str(folder), "head": head, "signature": "0" * 64}
        (folder / "launch.json").write_text(json.dumps(record))
        yield folder
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()  # nobody called
        assert process.poll() is None
        assert (precious / "token").exists()
        process.kill()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("launched_before", [True, False])
def test_a_strangers_record_is_refused_and_nothing_is_done(stranger, tmp_path, command, launched_before):
    if launched_before:
        write_launch(LAUNCH, tmp_path)
    result = CliRunner().invoke(cli, [command, str(stranger)])
    fails(result, InputError, "launch.json: is not the record of a launch of yours", "nothing was done")
    assert "\n" not in str(result.exception)
    assert (stranger / "launch.json").exists()


def test_status_tells_of_a_strangers_record_and_of_the_study(stranger, study_file):
    fails(CliRunner().invoke(cli, ["status", str(stranger)]), InputError, "is not the record of a launch of yours")
    write_results(stranger, study_file)
    (stranger / "result.json").unlink()
    shown = CliRunner().invoke(cli, ["status", str(stranger)])
    assert shown.exit_code == 0, shown.exception
    assert sum("is not the record of a launch of yours" in line for line in shown.output.splitlines()) == 1
    assert "small: cut off" in shown.output
    told = json.loads(CliRunner().invoke(cli, ["status", str(stranger), "--json"]).stdout)
    assert "job" not in told
    assert "nothing was done" in told["notice"]


@pytest.mark.parametrize("content", DAMAGED, ids=lambda content: repr(content[:8]))
@pytest.mark.parametrize("command", [*COMMANDS, "status"])
def test_a_damaged_record_is_one_line(tmp_path, command, content):
    (tmp_path / "launch.json").write_bytes(content)
    result = CliRunner().invoke(cli, [command, str(tmp_path)])
    fails(result, InputError, "launch.json: is ", "nothing was done")
    assert "\n" not in str(result.exception)


def test_a_record_is_of_its_folder_its_user_and_its_words(tmp_path, monkeypatch):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    write_launch(LAUNCH, one)
    assert find_launch(one) == LAUNCH
    assert find_launch(other) is None
    text = (one / "launch.json").read_text()
    (other / "launch.json").write_text(text)
    with pytest.raises(InputError, match="from this folder on this machine"):
        find_launch(other)
    (one / "launch.json").write_text(text.replace('"x"', '"/"'))
    with pytest.raises(InputError, match="is not the record"):
        find_launch(one)
    (one / "launch.json").write_text(text)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user's"))
    with pytest.raises(InputError, match="is not the record"):
        find_launch(one)


def test_the_key_is_its_users_alone_and_stays(tmp_path):
    write_launch(LAUNCH, tmp_path)
    file = tmp_path / "state" / "hybridtune" / "launch.key"
    key = file.read_bytes()
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
    assert key not in (tmp_path / "launch.json").read_bytes()
    write_launch(replace(LAUNCH, job="b"), tmp_path)
    assert file.read_bytes() == key


def test_nothing_is_started_that_could_not_be_recorded(world, launch, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    fails(launch(), InputError, "launch.key", "cannot be written")
    assert world.calls == []
    assert not Path("here/launch.json").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda record: {**record, "zzz": 1}, "'zzz' is not known here; a later hybridtune may have written it"),
        (lambda record: {**record, "head": {**record["head"], "port": 1}}, "head: 'port' is not known here"),
        (lambda record: {name: value for name, value in record.items() if name != "job"}, "'job' is missing"),
        (lambda record: {**record, "kind": "moon"}, "'kind' is 'moon': input should be 'here', "),
        (lambda record: {name: value for name, value in record.items() if name != "head"}, None),
    ],
)
def test_a_record_of_another_version_that_this_user_signed_is_refused_in_one_line(tmp_path, change, told):
    write_launch(LAUNCH, tmp_path)
    file = tmp_path / "launch.json"
    record = json.loads(file.read_text())
    del record["signature"]
    record = change(record)
    signature = record_module._sign(record_module.make_key(), record, tmp_path)
    file.write_text(json.dumps({**record, "signature": signature}))
    if told is None:
        assert find_launch(tmp_path) == replace(LAUNCH, head=None)
        return
    with pytest.raises(InputError, match=f"launch.json: {told}") as caught:
        find_launch(tmp_path)
    assert "\n" not in str(caught.value)
