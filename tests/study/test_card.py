import re

import numpy as np
import pytest
from huggingface_hub import ModelCard

from hybridtune.config.space import full_names
from hybridtune.config.study import Study
from hybridtune.config.yaml_text import parse_yaml
from hybridtune.data.corpus import TranslatedTexts
from hybridtune.metrics.breakdown import full_scores
from hybridtune.metrics.metrics import Ranked, per_query, score
from hybridtune.study.card import Trained, model_card

TABLE = [
    {"kind": "mono", "pair": "de-de", "batches": 2, "pairs": 1600, "groups": 1400, "epochs": 1.143},
    {"kind": "cross", "pair": "en-de", "data_set": 0, "batches": 3, "pairs": 20, "groups": 18, "epochs": 2.0},
    {"kind": "cross", "pair": "en-de", "data_set": 1, "batches": 1, "pairs": 4, "groups": 3, "epochs": 1.0},
    {"kind": "align", "pair": "en-sw", "batches": 1, "pairs": 8, "groups": 8, "epochs": 1.0},
]


def scores_of(seed, trained=None):
    """Of 20 questions in two languages, each with an answer in each."""
    queries = np.arange(40)
    counts = np.random.default_rng(seed).integers(0, 9, (80, 2))
    ranked = Ranked(counts, np.repeat(queries, 2), np.tile([0, 1], 40), queries % 2, ["de", "en"], np.array([50, 50]))
    return full_scores(score(ranked, per_query(ranked)), trained, [])


def study(**parts):
    tree = {
        "name": "news",
        "data": {"train": ["/home/me/secret/pairs.jsonl", "more/*.jsonl", "hf://datasets/owner/pairs/train.jsonl"]},
        "encoder": {"name": "owner/encoder", "query_length": 32},
        "benchmarks": {"dev": {"path": "~/bench/xquad-r"}, "test": {"path": "newsroom:test"}},
        "train": {"teacher": "/home/me/teacher", "learning_rate": 2e-5},
    }
    return Study.model_validate(tree | parts)


def trial(number, status, value, **values):
    metrics = {"step": 40, "balanced/AP": value, "mono/AP": 0.5} if value is not None else {}
    return {
        "id": f"{number:04d}",
        "arm": "half-half" if number == 1 else "tuned",
        "proposed": "sampler",
        "values": full_names({"mixing_ratio": number / 8, **values}),
        "metrics": metrics,
        "status": status,
    }


TRIALS = [
    trial(0, "done", 0.25),
    trial(1, "done", 0.5),
    trial(2, "stopped early", 0.75),
    trial(3, "failed", None, temperature=0.125),
]


def card(trials=TRIALS, test=True, table=TABLE, translations=(), dropped=(), **parts):
    return model_card(
        Trained(
            study=study(**parts),
            languages=("de", "en", "sw"),
            step=40,
            table=table,
            dev=scores_of(0, {"de-de": 5}),
            test=scores_of(1) if test else None,
            trials=trials,
            trial="0001" if trials else None,
            translations=translations,
            dropped=dict(dropped),
        )
    )


def section(text, name):
    return re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]


@pytest.mark.parametrize(
    ("front", "licence"),
    [
        ("---\nlicense: mit\n---\n# T\n", "mit"),
        ("---\nlanguage: en\n---\n", "licence not given"),
        ("---\n: [\n---\n", "licence not given"),
        (None, "licence not given"),
    ],
)
def test_a_teacher_is_named_with_its_licence_and_what_it_taught(tmp_path, front, licence):
    (tmp_path / "wise").mkdir()
    if front is not None:
        (tmp_path / "wise" / "README.md").write_text(front)
    train = {"teacher": str(tmp_path / "wise")}
    assert "Teacher" not in card(train=train)  # nothing is taught
    text = card(train=train, mix={"align_share": 0.25})
    assert f"Teacher: wise ({licence}); 0.25 of all batches drew translations to its vectors." in text
    assert str(tmp_path) not in text
    assert "Teacher: the starting encoder; 0.25 of" in card(train={}, mix={"align_share": 0.25})


def test_scores_of_the_data_are_named(tmp_path):
    learnt = "Scores that the training data have were distilled (kl)."
    train = {"distil": "kl", "distil_from": "data"}
    assert learnt in card(train=train)
    assert learnt not in card(train=train | {"distil_from": "teacher", "teacher": "x"})
    (tmp_path / "wise").mkdir()
    text = card(train=train | {"teacher": str(tmp_path / "wise")}, mix={"align_share": 0.25})
    assert f"0.25 of all batches drew translations to its vectors. {learnt}" in text
    assert "its scores" not in text


def test_texts_that_a_machine_translated_are_told_apart():
    assert "machine" not in card()
    rows = [
        TranslatedTexts("passages", "sw", "en", "ctranslate2", "google/madlad400-3b-mt", "apache-2.0", 1200),
        TranslatedTexts("queries", "sw", "de", "ctranslate2", "nllb", "cc-by-nc-4.0", 7),
        TranslatedTexts("queries", "sw", "en", "", "", "", 3),
    ]
    text = card(translations=rows, dropped={"repetition": 1500, "empty": 2})
    assert ModelCard(text).data.to_dict()["translated_from"] == {"sw": ["de", "en"]}
    data = section(text, "Training data")
    assert cells(data, "passages") == ["sw", "en", "ctranslate2", "google/madlad400-3b-mt", "apache-2.0", "1,200"]
    assert "left out: 1,500 repetition, 2 empty." in data


def cells(text, first):
    """The cells of the first row that begins with ``first``."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_a_hub_can_read_the_front_matter():
    data = ModelCard(card(), ignore_metadata_errors=False).data
    assert data.language == ["de", "en", "sw"]
    assert data.base_model == "owner/encoder"
    assert data.datasets == ["owner/pairs"]
    assert (data.library_name, data.pipeline_tag) == ("sentence-transformers", "sentence-similarity")
    assert data.license is None
    found = {(result.dataset_name, result.metric_name): result.metric_value for result in data.eval_results}
    for name, scores in (("dev: xquad-r", scores_of(0)), ("test: newsroom:test", scores_of(1))):
        for metric in ("mono/AP", "multi/AP", "balanced/AP", "cross/nDCG@10"):
            assert found[name, metric] == pytest.approx(scores["metrics"][metric], abs=1e-5)


@pytest.mark.parametrize("name", ["tiny", "/home/me/encoder", "./encoder", "a/b/c"])
def test_a_base_model_that_no_hub_knows_is_left_out(name):
    assert ModelCard(card(encoder={"name": name})).data.base_model is None


def test_it_names_no_folder_of_this_machine():
    text = card(encoder={"name": "/home/me/models/e5"})
    assert "/home" not in text
    assert "~/" not in text
    shown = parse_yaml(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    assert [source["path"] for source in shown["data"]["train"]] == [
        "pairs.jsonl",
        "more/*.jsonl",  # as it was given
        "hf://datasets/owner/pairs/train.jsonl",
    ]
    assert shown["encoder"]["name"] == "e5"
    assert shown["train"]["teacher"] == "teacher"
    assert shown["benchmarks"]["dev"]["path"] == "xquad-r"
    assert shown["train"]["learning_rate"] == 2e-5


def test_what_a_search_names_is_no_folder_of_this_machine_either():
    space = {"teacher": {"choice": ["/home/me/one", "owner/two"]}, "mixing_ratio": {"uniform": [0.0, 1.0]}}
    search = {
        **{"space": space, "points": [{"teacher": "/home/me/one"}], "objective": "mono/AP"},
        **{"storage": "sqlite:////home/me/studies/trials.db", "warm_start": "~/studies/before"},
    }
    text = card([trial(0, "done", 0.5, teacher="/home/me/one")], search=search, mix={"align_share": 0.1})
    assert "/home" not in text
    assert "~/" not in text
    shown = parse_yaml(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])["search"]
    assert (shown["storage"], shown["warm_start"]) == ("sqlite:///trials.db", "before")
    assert shown["space"]["train.teacher"] == {"choice": ["one", "owner/two"]}
    assert cells(section(text, "Trials"), "0000")[3] == "one"


def test_the_host_of_a_database_is_nobodys_concern():
    search = {"storage": "postgresql://me:${SECRET}@db.internal/optuna", "warm_start": "mysql://db.internal/before"}
    text = card(search=search)
    assert "internal" not in text
    shown = parse_yaml(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])["search"]
    assert (shown["storage"], shown["warm_start"]) == ("postgresql://...", "mysql://...")


def test_distances_have_one_digit_however_large():
    rows = [{**TRIALS[0], "metrics": {"step": 40, "balanced/AP": 0.25, "multi/rank_distance": 12345.678}}]
    assert "12,345.7" in cells(section(card(rows), "Trials"), "0000")
    far = {**scores_of(0), "metrics": {**scores_of(0)["metrics"], "multi/rank_distance": 1234.5678}}
    assert "| 1,234.6 |" in section(model_card(Trained(study(), ["de", "en"], 40, TABLE, far)), "Scores")


def test_scores_stand_with_their_counts():
    text = section(card(), "Scores")
    shown = cells(text, "dev: xquad-r")
    assert shown[:2] == ["40", "100"]
    assert shown[2] == f"{scores_of(0)['metrics']['mono/AP']:.4f}"
    assert "| unseen |" in text
    assert "test: newsroom:test" in text
    assert "test: newsroom:test" not in section(card(test=False), "Scores")


def test_pairs_are_counted_by_language_and_kind():
    text = section(card(), "Training data")
    assert "1,600 mono pairs, 24 cross pairs, 8 align pairs seen in 40 steps" in text
    assert cells(text, "**de**") == ["1,400", "0", "0"]
    assert cells(text, "**en**") == ["21", "0", "0"]  # of both data sets; translations are no question-passage pairs
    assert cells(text, "**sw**") == ["0", "0", "0"]
    assert "| mono | de-de | 2 | 1,600 | 1,400 | 1.143 |" in text


def test_origins_are_told_apart():
    table = [
        {"kind": "mono", "pair": "de-de", "origin": "native", "batches": 2, "pairs": 1600, "groups": 1400, "epochs": 1},
        {"kind": "mono", "pair": "de-de", "origin": "translated", "batches": 1, "pairs": 9, "groups": 8, "epochs": 2},
        {"kind": "cross", "pair": "en-sw", "origin": "translated", "batches": 1, "pairs": 6, "groups": 6, "epochs": 2},
        {"kind": "align", "pair": "en-sw", "origin": "bitext", "batches": 1, "pairs": 5, "groups": 5, "epochs": 2},
    ]
    text = section(card(table=table), "Training data")
    assert (
        "1,609 mono pairs (1,600 native, 9 translated), 6 cross pairs (6 translated), 5 align pairs (5 bitext) seen"
    ) in text
    assert cells(text, "**de**") == ["1,408 (8 translated)", "0", "0"]
    assert cells(text, "**en**") == ["0", "0", "6 (6 translated)"]
    assert "| kind | pair | origin | batches | pairs | groups | epochs |" in text
    assert "| align | en-sw | bitext | 1 | 5 | 5 | 2 |" in text


def test_trials_are_ordered_and_the_models_own_is_marked():
    text = section(card(), "Trials")
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][1:]
    assert rows == ["**0001**", "0000", "0002", "0003"]  # a trial that was stopped had less training
    assert cells(text, r"**0001**")[:4] == ["half-half", "sampler", "0.125", ""]
    assert cells(text, "0003")[3:6] == ["0.125", "failed", ""]
    less = {"search": {"objective": "multi/rank_distance"}}
    distances = [
        {**row, "metrics": {"step": 40, "multi/rank_distance": 1.0 + row["metrics"]["balanced/AP"]}}
        for row in TRIALS[:2]
    ]
    text = section(card(distances, **less), "Trials")
    assert text.index("| 0000 |") < text.index("| **0001** |")  # less is better


def test_many_trials_are_cut_and_a_single_training_has_none():
    text = section(card([trial(number, "done", number / 100) for number in range(60)]), "Trials")
    assert sum(line.startswith("| ") for line in text.splitlines()) == 51
    assert "... and 10 more." in text
    assert "## Trials" not in card(trials=())


def test_a_card_tells_arguments_versions_and_whom_to_cite():
    text = card(mix={"mixing_ratio": 0.75, "schedule": "cosine", "final_ratio": 0.25})
    assert "mixing ratio 0.75 (cosine to 0.25)" in text
    assert "- learning_rate: 2e-05\n" in section(text, "Training arguments")
    assert "- teacher: teacher\n" in section(text, "Training arguments")
    assert re.search(r"python 3\.\d+.*, torch \d.*, ray \d.*, transformers \d", section(text, "Versions"))
    assert "eprint = {2408.10536}" in section(text, "Citation")


def test_a_learned_mix_is_told_with_the_share_that_came_of_it():
    """Of 2,000 question-passage pairs 1,600 were mono; what a search's other schedules end with is no matter of it."""
    table = [*TABLE[:1], {**TABLE[1], "pairs": 400}, TABLE[3]]
    mix = {"schedule": "learned", "mixing_ratio": 0.5, "final_ratio": 0.25, "align_share": 0.1}
    text = model_card(Trained(study(mix=mix), ["de", "en"], 40, table, scores_of(0)))
    assert "mixing ratio 0.5 at first, then set by the dev scores (0.8 over the whole training), the share of" in text


def test_widths_and_lengths_are_told_where_they_matter():
    assert "truncate_dim" not in card()
    assert "truncate_dim=64)" in card(train={"matryoshka": [32, 64]})
    assert "queries were cut at 32 tokens and passages at 160" in card()
    assert "were cut at" not in card(encoder={"query_length": 64, "passage_length": 64})


def test_a_learned_temperature_is_not_told_as_the_one_it_ended_with():
    assert "temperature 0.02, learned from there on." in card(train={"temperature": 0.02, "learn_temperature": True})
    assert "temperature 0.02." in card(train={"temperature": 0.02})
