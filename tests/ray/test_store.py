import dataclasses
import itertools
import json
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from hybridtune.config.study import Study
from hybridtune.data import corpus as corpus_module
from hybridtune.data.corpus import CorpusBuilder, read_texts
from hybridtune.data.store import TokenStore, build_store, existing_store, recipe
from hybridtune.errors import InputError
from hybridtune.model.tokenizer import Tokenizer

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

KILLED_BUILDER = """
import os, signal, sys
from pathlib import Path
import ray
from hybridtune.config.study import Study
from hybridtune.data.store import build_store, recipe

address, study, root = sys.argv[1:]
ray.init(address=address, log_to_driver=False, logging_level="ERROR")
study = Study.model_validate_json(study)
build_store(Path(root), recipe(study.data, study.encoder), lambda done, total: os.kill(os.getpid(), signal.SIGKILL))
"""


def recipe_of(tree):
    study = Study.model_validate(tree)
    return recipe(study.data, study.encoder)


def texts_of(made_of):
    """(is_query, text) by text number."""
    with tempfile.TemporaryDirectory() as folder:
        builder = CorpusBuilder(made_of.limits, Path(folder))
        made_of.fill(builder)
        return list(read_texts(builder.parts))


def all_tokens(store, count):
    return [store.tokens(number).tolist() for number in range(count)]


def expected_tokens(made_of, tokenizer):
    """Each text by itself, straight from the tokenizer."""
    encoder = made_of.encoder
    sides = {
        True: (encoder.query_prefix, encoder.query_length),
        False: (encoder.passage_prefix, encoder.passage_length),
    }
    return [tokenizer.encode([text], *sides[is_query])[0] for is_query, text in texts_of(made_of)]


def folders_in(root):
    return [entry.name for entry in root.iterdir() if entry.is_dir()]


def test_tokens_are_those_of_the_tokenizer(ray_here, small_tree, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_module, "BLOCK_TEXTS", 100)  # several parts
    made_of = recipe_of(small_tree())
    calls = []
    store = build_store(tmp_path, made_of, lambda done, total: calls.append((done, total)))
    expected = expected_tokens(made_of, store.tokenizer())
    assert len(expected) > 300
    assert all_tokens(store, len(expected)) == expected
    assert len(store) == len(expected)
    assert sorted(file.name for file in store.path.iterdir()) == [
        "groups",
        "hybridtune_manifest.json",
        "offsets.npy",
        "store.json",
        "tokenizer.json",
        "tokens.npy",
        "training_texts.npz",
    ]
    assert not list((store.path / "groups").glob("*/*"))  # the texts are not kept
    assert calls[0] == (0, len(expected))
    assert calls[-1] == (len(expected), len(expected))
    lengths = [len(tokens) for tokens in expected]
    assert max(lengths) == made_of.encoder.passage_length  # some text was cut


def test_taking_many_texts_is_taking_each(small_store):
    numbers = np.random.default_rng(1).integers(0, len(small_store), 300)
    ids, lengths = small_store.take(numbers)
    one_by_one = [small_store.tokens(number) for number in numbers]
    assert ids.tolist() == np.concatenate(one_by_one).tolist()
    assert lengths.tolist() == [len(tokens) for tokens in one_by_one]
    nothing, none = small_store.take(numbers[:0])
    assert (len(nothing), len(none)) == (0, 0)


def test_two_builds_give_the_same_bytes(ray_here, small_store, small_tree, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_module, "BLOCK_TEXTS", 50)  # of another size than before: the work is cut otherwise
    again = build_store(tmp_path, recipe_of(small_tree()))
    names = [file.relative_to(again.path) for file in again.path.rglob("*.npy")]
    assert len(names) == 14
    for name in [*names, "tokenizer.json"]:
        assert (again.path / name).read_bytes() == (small_store.path / name).read_bytes()


def test_the_entries_of_the_data_are_told_apart_and_their_weights_are_not(small_tree, newsroom_file, tmp_path):
    lines = newsroom_file.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "both").mkdir()
    for name, part in (("a", lines[:40]), ("b", lines[40:])):
        (tmp_path / "both" / f"{name}.jsonl").write_text("".join(part), encoding="utf-8")
    paths = [str(tmp_path / "both" / f"{name}.jsonl") for name in "ab"]
    apart = recipe_of(small_tree(data={"train": paths}))
    named = [{"path": paths[0], "name": "news"}, paths[1]]
    weighted = recipe_of(
        small_tree(data={"train": named, "unseen_pairs": ["en-de"]}, mix={"data_set_weights": {"b": 2}})
    )
    as_one = recipe_of(small_tree(data={"train": str(tmp_path / "both")}))
    assert apart.read_corpus().sources.tolist() == [0] * 40 + [1] * (len(lines) - 40)
    assert not as_one.read_corpus().sources.any()
    assert weighted.address == apart.address != as_one.address


def test_the_store_keeps_the_corpus(small_store, small_study):
    surveyed = recipe(small_study.data, small_study.encoder).read_corpus()
    kept = small_store.corpus()
    assert kept.languages == surveyed.languages
    assert vars(kept).keys() == vars(surveyed).keys()
    assert kept.translations == surveyed.translations
    for name in vars(kept).keys() - {"languages", "translations"}:
        assert getattr(kept, name).dtype == getattr(surveyed, name).dtype
        np.testing.assert_array_equal(getattr(kept, name), getattr(surveyed, name))  # NaN: a margin that is not known
    assert kept.most_negatives() == 2


def test_a_second_call_finds_the_store(small_store, small_study, store_root):
    before = {file.name: file.stat().st_mtime_ns for file in small_store.path.iterdir()}
    calls = []
    made_of = recipe(small_study.data, small_study.encoder)
    found = build_store(store_root, made_of, lambda done, total: calls.append(done))
    assert found.path == small_store.path
    assert calls == []
    assert {file.name: file.stat().st_mtime_ns for file in found.path.iterdir()} == before


def test_whatever_changes_the_tokens_changes_the_address(small_tree, newsroom_file, tmp_path):
    def changed(**fields):
        return recipe_of(small_tree(encoder=small_tree()["encoder"] | fields)).address

    base = recipe_of(small_tree())
    lines = newsroom_file.read_text(encoding="utf-8").splitlines(keepends=True)
    shorter = tmp_path / "train.jsonl"
    shorter.write_text("".join(lines[:-1]), encoding="utf-8")
    other = tmp_path / "other.jsonl"
    other.write_text("".join(lines).replace('"negatives": {"', '"negatives": {"fr": ["x"], "', 1), encoding="utf-8")
    copy = tmp_path / "copy.jsonl"
    copy.write_text("".join(lines), encoding="utf-8")
    tokenizer = Tokenizer("{}", 0)
    addresses = [
        base.address,
        recipe_of(small_tree(data={"train": str(shorter)})).address,
        recipe_of(small_tree(data={"train": str(other)})).address,
        recipe_of(small_tree(data={"train": str(newsroom_file), "language_limits": {"sw": 3}})).address,
        recipe_of(small_tree(data={"train": str(newsroom_file), "language_limits": {"sw": 4}})).address,
        changed(query_length=25),
        changed(passage_length=41),
        changed(query_prefix="ask: "),
        changed(passage_prefix=""),
        changed(tiny={"vocab_size": 501}),
        dataclasses.replace(base, tokenizer=tokenizer).address,
        dataclasses.replace(base, tokenizer=dataclasses.replace(tokenizer, pad_id=1)).address,
    ]
    for one, other in itertools.combinations(addresses, 2):
        assert one != other
    assert recipe_of(small_tree(data={"train": str(copy)})).address == base.address  # content, not name
    assert changed(pooling="cls") == base.address  # not part of the tokens


def test_a_bad_line_leaves_nothing_behind(ray_here, small_tree, newsroom_file, tmp_path):
    file, root = tmp_path / "train.jsonl", tmp_path / "stores"
    good = newsroom_file.read_text(encoding="utf-8")
    file.write_text(good + '{"group_id": "x", "queries": {"en": " "}, "passages": {}}\n', encoding="utf-8")
    made_of = recipe_of(small_tree(data={"train": str(file)}))
    with pytest.raises(InputError, match=f"train.jsonl:{good.count(chr(10)) + 1}: queries.en"):
        build_store(root, made_of)
    assert folders_in(root) == []
    assert existing_store(root, made_of) is None


def test_a_tokeniser_that_fails_leaves_nothing_behind(ray_here, small_tree, tmp_path):
    made_of = dataclasses.replace(recipe_of(small_tree()), tokenizer=Tokenizer("no tokenizer", 0))
    with pytest.raises(Exception, match="expected"):
        build_store(tmp_path, made_of)
    assert folders_in(tmp_path) == []
    assert existing_store(tmp_path, made_of) is None


def test_two_builders_get_one_whole_store(small_store, small_tree, tmp_path):
    made_of = recipe_of(small_tree())
    calls, found = [], []

    def second():
        found.append(build_store(tmp_path, made_of, lambda done, total: calls.append("second")))

    thread = threading.Thread(target=second)

    def first_is_building(done, total):
        if not calls:
            thread.start()
        calls.append("first")

    built = build_store(tmp_path, made_of, first_is_building)
    thread.join()
    assert set(calls) == {"first"}  # the second waited, then found it
    assert found[0].path == built.path
    count = len(texts_of(made_of))
    assert all_tokens(found[0], count) == all_tokens(built, count) == all_tokens(small_store, count)
    assert folders_in(tmp_path) == [made_of.address]


def test_a_killed_builder_leaves_no_store(ray_here, small_store, small_study, tmp_path):
    made_of = recipe(small_study.data, small_study.encoder)
    command = [sys.executable, "-c", KILLED_BUILDER, ray_here, small_study.model_dump_json(), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert folders_in(tmp_path) == [f"{made_of.address}.building"]  # it was half-way
    assert existing_store(tmp_path, made_of) is None
    built = build_store(tmp_path, made_of)
    assert folders_in(tmp_path) == [made_of.address]
    count = len(texts_of(made_of))
    assert all_tokens(built, count) == all_tokens(small_store, count)


def test_an_opened_store_knows_its_tokenizer(small_store):
    opened = TokenStore.open(small_store.path)
    meta = json.loads((small_store.path / "store.json").read_text(encoding="utf-8"))
    assert opened.tokenizer() == small_store.tokenizer()
    assert opened.tokenizer().pad_id == meta["pad_id"] == 0
