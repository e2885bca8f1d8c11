"""Records in JSON lines: what is whole holds, a cut end is left out, and all else is one line with its place."""

import json
from dataclasses import asdict

import pytest

from hybridtune.storage.events import EVENTS, Event, append_event, damaged_events, read_events
from hybridtune.storage.records import DamagedError, append_line, make, read_lines, read_object
from hybridtune.storage.trial_rows import TrialRow, read_rows, read_running, write_running

ROW = asdict(TrialRow("0000", 0, "tuned", {"mix.mixing_ratio": 0.5}, {"step": 4, "balanced/AP": 0.25}, "done"))
LINES = [json.dumps({**ROW, "id": f"{number:04d}", "number": number}) + "\n" for number in range(3)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "trials.jsonl").write_text("".join(LINES))
    return tmp_path


@pytest.mark.parametrize("cut", [1, 40, len(LINES[2]) - 2])
def test_a_last_line_that_was_cut_off_is_left_out_and_told(folder, cut):
    file = folder / "trials.jsonl"
    file.write_text("".join(LINES[:2]) + LINES[2][:cut])
    assert [row.number for row in read_rows(folder)] == [0, 1]
    assert read_lines(file).torn == f"{file}: line 3 was cut off, and is left out"


def test_a_last_line_that_lacks_nothing_but_its_end_holds(folder):
    (folder / "trials.jsonl").write_text("".join(LINES)[:-1])
    assert [row.number for row in read_rows(folder)] == [0, 1, 2]
    assert read_lines(folder / "trials.jsonl").torn is None


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "is empty"),
        ("\0" * 9, "holds NUL bytes, as a disk leaves them that lost power"),
        (LINES[1].strip()[:30] + "\0\0", "holds NUL bytes, as a disk leaves them that lost power"),
        (LINES[1].strip()[:30], "is no JSON: "),
        ("[1]", "is a list, and not an object"),
        ("null", "is null, and not an object"),
        ('"text"', "is a text, and not an object"),
        ("[" * 500 + "]" * 500, "is no JSON: nested more than 100 deep"),
        (json.dumps({k: v for k, v in ROW.items() if k != "number"}), "'number' is missing"),
        (json.dumps({**ROW, "zzz": 1}), "'zzz' is not known here"),
        (json.dumps({**ROW, "number": "1"}), "'number' is '1': input should be a valid integer"),
        (json.dumps({**ROW, "metrics": [1]}), r"'metrics' is \[1\]: input should be an object"),
        (json.dumps({**ROW, "metrics": {"step": None}}), "'metrics.step' is None: input should be a valid number"),
        (json.dumps({**ROW, "status": "odd"}), "'status' is 'odd': input should be 'running', "),
    ],
)
def test_a_damaged_line_is_told_by_its_file_and_number(folder, line, told):
    (folder / "trials.jsonl").write_text(LINES[0] + line + "\n" + LINES[2])
    with pytest.raises(
        DamagedError, match=rf"trials\.jsonl: line 2:? {told}.*; without the line, hybridtune run"
    ) as it:
        read_rows(folder)
    assert "\n" not in str(it.value)


def test_bytes_that_are_no_text_are_told(folder):
    (folder / "trials.jsonl").write_bytes(LINES[0].encode() + b"\xff\xfe\n")
    with pytest.raises(DamagedError, match="line 2 is no JSON: 'utf-8' codec"):
        read_rows(folder)


def test_a_line_is_added_after_the_last_whole_one(tmp_path):
    file = tmp_path / "lines"
    append_line(file, {"a": "ü"})
    assert file.read_bytes() == '{"a": "ü"}\n'.encode()
    with file.open("ab") as stream:
        stream.write(b'{"b": 1, "c')
    append_line(file, {"d": 2})
    assert read_lines(file) == ([{"a": "ü"}, {"d": 2}], None)
    file.write_bytes(b'{"torn')
    append_line(file, {"d": 3})
    assert read_lines(file) == ([{"d": 3}], None)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": 1}', '{"pid": 1, "host": "h", "rows": [{}]}'])
def test_running_json_that_is_damaged_is_told_and_what_ended_holds(folder, content):
    write_running(folder, [TrialRow("0003", 3, "tuned", {}, status="running")])
    assert [row.number for row in read_rows(folder, running=True)] == [0, 1, 2, 3]
    (folder / "running.json").write_text(content)
    assert [row.number for row in read_rows(folder, running=True)] == [0, 1, 2]
    with pytest.raises(DamagedError, match=r"running\.json"):
        read_running(folder)


def test_an_event_that_cannot_be_read_is_told_and_the_others_hold(tmp_path):
    for number in range(3):
        append_event(tmp_path, Event(float(number), "scored", f"step {number}"))
    lines = (tmp_path / EVENTS).read_bytes().splitlines(keepends=True)
    later = json.dumps({"time": 9.0, "kind": "scored", "text": "later", "new": 1}).encode() + b"\n"
    (tmp_path / EVENTS).write_bytes(lines[0] + b"\0\0\0\n" + b'{"time": 1}\n' + lines[2] + later + lines[1][:20])
    assert [event.text for event in read_events(tmp_path)] == ["step 0", "step 2", "later"]
    told = damaged_events(tmp_path)
    assert [line.split("events.jsonl: ")[1].split(" ")[1].rstrip(":") for line in told] == ["2", "3", "6"]
    append_event(tmp_path, Event(10.0, "ended", "over"))
    assert read_events(tmp_path)[-1].text == "over"
    assert len(damaged_events(tmp_path)) == 2  # the cut end went


def test_an_object_is_read_or_told(tmp_path):
    file = tmp_path / "one.json"
    assert read_object(file) is None
    file.write_text('{"a": 1}')
    assert read_object(file) == {"a": 1}
    with pytest.raises(DamagedError, match=r"one\.json: cannot be read: Is a directory"):
        file.unlink(), file.mkdir(), read_object(file)


def test_numbers_stay_as_they_were_written():
    made = make(TrialRow, ROW, "here")
    assert asdict(made) == ROW
    assert isinstance(made.metrics["step"], int)
