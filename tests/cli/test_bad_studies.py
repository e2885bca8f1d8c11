"""Study files that are wrong in any way, and wrong fields on the command line: a line a problem, nothing written."""

import json
from pathlib import Path

import pytest
from bad_calls import Case
from bad_inputs import DEPTH, JUNK, TEXTS, changed_trees, damaged, encoded_wrong, places
from hypothesis import strategies as st

from hybridtune.config.study import Study
from hybridtune.config.yaml_text import dump_yaml

ROWS = "".join(
    json.dumps(
        {
            "group_id": str(n),
            "queries": {"en": f"who {n}", "de": f"wer {n}"},
            "passages": {"en": f"I, {n}", "de": f"ich, {n}"},
        }
    )
    + "\n"
    for n in range(40)
).encode()
DEV = ROWS.replace(b"who ", b"what ").replace(b"wer ", b"was ").replace(b"I, ", b"it, ").replace(b"ich, ", b"es, ")
GOOD = {
    "name": "small",
    "seed": 3,
    "low_resource": ["de"],
    "data": {
        "train": [{"path": "pairs.jsonl", "name": "news", "format": "groups", "columns": {}}],
        "language_limits": {"de": 30},
        "on_leak": "warn",
        "store": "stores",
    },
    "encoder": {
        "name": "tiny",
        "query_length": 16,
        "passage_length": 24,
        "pooling": "mean",
        "tiny": {"vocab_size": 200, "hidden_size": 16, "heads": 2, "layers": 1},
    },
    "benchmarks": {"dev": {"path": "dev.jsonl", "languages": ["de", "en"], "documents": [0, 20]}},
    "mix": {"mixing_ratio": 0.5, "sampling_exponent": 1.0, "weights": {"en-de": 2.0}, "schedule": "constant"},
    "train": {
        "batch_size": 4,
        "max_steps": 8,
        "eval_steps": 4,
        "learning_rate": 3e-5,
        "temperature": 0.05,
        "matryoshka": [8],
        "negatives": 1,
        "precision": "float32",
    },
    "resources": {"workers": 2, "gpus_per_worker": 0, "concurrent_trials": 1},
    "search": {
        "objective": ["balanced/AP"],
        "trials": 2,
        "arms": "rerun",
        "time_budget": "30m",
        "storage": "sqlite",
        "constraints": ["multi/rank_distance <= 400"],
        "space": {
            "mixing_ratio": {"uniform": [0, 1]},
            "temperature": {"loguniform": [0.01, 0.2]},
            "learning_rate": {"choice": [1e-5, 1e-4]},
        },
    },
}
TREE = Study.model_validate(GOOD).model_dump(mode="json")
TEXT = dump_yaml(TREE)
FIELDS = [".".join(map(str, place)) for place in places(TREE) if all(isinstance(key, str) for key in place)]
COMMANDS = st.sampled_from(
    [("run", "s.yaml", "--dry-run")] * 4
    + [("train", "s.yaml", "--dry-run"), ("data", "plan", "s.yaml"), ("run", "s.yaml", "--dry-run", "--json")]
    + [("launch", "cluster.yaml", "s.yaml", "--dry-run", "--out", "shared", "--fetch-to", "to")]
)
CLUSTER = (Path(__file__).parents[2] / "clusters" / "local_autoscaling.yaml").read_bytes()
BESIDE = {"pairs.jsonl": ROWS, "dev.jsonl": DEV, "cluster.yaml": CLUSTER}


def scalar(value):
    """A value as YAML writes it, or as a user would."""
    return st.sampled_from(
        [json.dumps(value, default=str), str(value), f"'{value}'", f"!!str {value}", f"!!int {value}"]
    )


@st.composite
def texts(draw):
    """The text of a study file with one line that is something else."""
    lines = TEXT.splitlines()
    at = draw(st.integers(0, len(lines) - 1))
    key, colon, value = lines[at].partition(":")
    indent = " " * (len(key) - len(key.lstrip()))
    depth = draw(DEPTH)
    lines[at] = draw(
        st.sampled_from(
            [
                f"{key}{colon} &a [*a]",
                f"{key}{colon} *nowhere",
                f"{key}{colon} !mine {value}",
                f"{key}{colon} !!python/object/apply:os.system [x]",
                f"{key}{colon} !!binary x",
                f"{key}{colon} !!timestamp {value}",
                f"{key}{colon} 2024-13-45",
                f"{key}{colon} {'9' * 5000}",
                f"{key}{colon} 0x{'f' * 40}",
                f"{key}{colon} 1e999",
                f"{key}{colon} {'[' * depth}{']' * depth}",
                f"{key}{colon} {'{a: ' * depth}1{'}' * depth}",
                f"{lines[at]}\n{lines[at]}",
                f"{indent}nothing_of_ours: 1\n{lines[at]}",
                f"{indent}<<: 3\n{lines[at]}",
                f"{indent}? [a]\n{indent}: 2\n{lines[at]}",
                f"{key}{colon}{value}: {value}",
                f"{key}{value}",
                f"\t{lines[at]}",
                f" {lines[at]}",
                f"{key}{colon} |\n{value}",
                f'{key}{colon} "{value}',
                f'{key}{colon} "\\ud800"',
                f"{key}{colon} \x07",
                f"---\n{lines[at]}",
                f"%YAML 3.1\n---\n{lines[at]}",
                f"{key}{colon} {draw(TEXTS)}",
            ]
        )
    )
    return "\n".join(lines).encode("utf-8", "replace")


study_bytes = (
    changed_trees(TREE).map(lambda tree: json.dumps(tree, ensure_ascii=False).encode("utf-8", "replace"))
    | changed_trees(GOOD, most=3).map(lambda tree: json.dumps(tree).encode())
    | texts()
    | damaged(TEXT.encode())
    | encoded_wrong(TEXT.replace("small", "größe"))
    | JUNK.map(lambda value: json.dumps(value).encode())
)
study_files = st.builds(lambda words, content: Case(words, BESIDE | {"s.yaml": content}), COMMANDS, study_bytes)


def setting(field, value):
    """A text for --set."""
    return f"{field}={value}"


settings_texts = (
    st.builds(setting, st.sampled_from(FIELDS), JUNK.map(lambda value: json.dumps(value)))
    | st.builds(setting, st.sampled_from(FIELDS), TEXTS)
    | st.builds(setting, st.builds("{}.{}".format, st.sampled_from(FIELDS), TEXTS), TEXTS)
    | st.builds(setting, TEXTS, TEXTS)
    | TEXTS
    | DEPTH.map(lambda depth: "data.train=" + "[" * depth)
    | DEPTH.map(lambda depth: "a." * depth + "b=1")
)


def with_settings(words, given):
    return Case((*words, *(word for text in given for word in ("--set", text))), BESIDE | {"s.yaml": TEXT.encode()})


settings_given = st.builds(
    with_settings, COMMANDS, st.lists(settings_texts.filter(lambda text: "\0" not in text), min_size=1, max_size=2)
)

FILES = st.sampled_from(
    [
        None,
        Path("nowhere"),
        Path(),
        Path("s.yaml"),
        b"",
        b"\x00" * 100,
        b"\x80\x81",
        b"# nothing\n",
        b"#" * 2000001,
        b"- a\n",
        b"\x1f\x8b\x08\x00",
        b"PK\x03\x04",
        b"a\r\nb\rc",
        "ñ: 1".encode("utf-16"),
        b"a: b\n---\nc: d",
        b"null",
        b"...",
    ]
)
study_places = st.builds(
    lambda words, content, name: Case(
        tuple(name if word == "s.yaml" else word for word in words), {**BESIDE, "s.yaml": content}
    ),
    COMMANDS,
    FILES,
    st.sampled_from(
        [
            "s.yaml",
            "s.yaml/s.yaml",
            "nothing.yaml",
            "x" * 300,
            "x/" * 2500,
            "",
            ".",
            "/dev/null",
            "~nobody/s.yaml",
            "s3:/x",
            "foo://x",
            "http://[/s.yaml",
        ]
    ),
)


@pytest.mark.parametrize("words", COMMANDS.elements, ids=" ".join)
def test_the_study_that_is_changed_is_a_good_one(world, words):
    assert world.answer(Case(words, BESIDE | {"s.yaml": TEXT.encode()})).code == 0


@pytest.mark.parametrize("cases", [study_files, settings_given, study_places], ids=["files", "settings", "places"])
@pytest.mark.timeout(900)
def test_a_bad_study_is_a_line_a_problem(world, cases):
    world.refuses(cases, 170)
