import json

import pytest

from hybridtune.study.translated import dropped_translations


def report(file, **dropped):
    file.with_name(file.name + ".report.json").write_text(json.dumps({"translated": 9, "dropped": dropped}))


def test_reports_beside_files_in_folders_and_under_globs_are_summed_once(tmp_path):
    files = [tmp_path / "sub" / name for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl")]
    files[0].parent.mkdir()
    for file in files:
        file.write_text("")
    report(files[0], empty=2, repetition=1)
    report(files[1], repetition=4)
    assert dropped_translations([str(files[0])]) == {"empty": 2, "repetition": 1}
    assert dropped_translations([str(files[2])]) == {}
    paths = [
        str(tmp_path / "sub"),
        str(files[0]),
        str(tmp_path / "sub" / "*.gz"),
        "s3://bucket/a.jsonl",
        "newsroom:train",
    ]
    assert dropped_translations(paths) == {"repetition": 5, "empty": 2}


@pytest.mark.parametrize("content", ["[1]", "{", '{"dropped": {"near duplicate": 3}}'])
def test_a_file_of_that_name_that_is_another_report_says_nothing(tmp_path, content):
    (tmp_path / "a.jsonl").write_text("")
    (tmp_path / "a.jsonl.report.json").write_text(content)
    assert dropped_translations([str(tmp_path / "a.jsonl")]) == {}
