"""What newcomers do in their first hour, each answered by one line with what to do, and nothing written."""

import json

import pytest
from cli_calls import files
from help_centre import help_centre

from hybridtune.data.newsroom import generate


def flat(languages=("en", "de"), said=None):
    """The help centre as groups of one pair; rows that translate each other have one id."""
    for row in help_centre():
        if row["language"] in languages:
            language = said or row["language"]
            yield {
                "group_id": row["id"],
                "queries": {language: row["question"]},
                "passages": {language: row["answer"]},
            }


def numbered(rows):
    return [row | {"group_id": str(n)} for n, row in enumerate(rows)]


NEWS = list(generate("train"))[:200]
MISTAKES = {
    "flat rows with the id of their translation": (
        list(flat()),
        {},
        "group_id 'faq-0' occurs twice: one line holds a whole group; where rows of one id translate each other, "
        "`hybridtune data group FILE --by id --out groups.jsonl` makes groups of them",
    ),
    "two languages in one column": (
        numbered(flat(("de",), "en")),
        {},
        "(columns: {language: NAME}), else correct the code (language: de). --set data.on_wrong_language=warn trains "
        "on them as they are",
    ),
    "dev cut from the training file": (
        NEWS,
        {"benchmarks": {"dev": {"path": "{dev}"}}},
        "; data.holdout: {documents: 0.1} in place of benchmarks cuts a dev and a test part out of the training files",
    ),
    "a batch larger than every language": (
        NEWS,
        {"train": {"batch_size": 512}},
        "no mono batch can be made and mixing_ratio is 0.5; use a batch of at most {largest}",
    ),
}


@pytest.mark.parametrize("command", ["run", "train"])
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_what_to_do(call, groups_file, study_file, tmp_path, name, command):
    rows, sections, line = MISTAKES[name]
    dev = groups_file(NEWS[:20], "dev.jsonl")
    data = {"train": str(groups_file(rows))}
    sections = json.loads(json.dumps(sections).replace("{dev}", str(dev)))
    study = study_file(data=data, **sections)
    before = files(tmp_path)
    code, _, err = call(command, study, "--dry-run")
    (said,) = [text for text in err.splitlines() if text.startswith("hybridtune: ")]
    assert code == 2
    assert line.removesuffix("{largest}") in said
    assert files(tmp_path) == before
    if "{largest}" in line:
        largest = said.rpartition(" ")[2]
        assert call(command, study, "--dry-run", "--set", f"train.batch_size={largest}")[0] == 0
        assert call(command, study, "--dry-run", "--set", f"train.batch_size={int(largest) + 1}")[0] == 2
