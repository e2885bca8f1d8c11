"""What a store is made of on disk, without Ray."""

import hashlib
import json

import numpy as np
import pytest
from damaging import WAYS

from hybridtune.config.fields import Encoder
from hybridtune.config.study import load_study
from hybridtune.data import corpus as corpus_module
from hybridtune.data import store as store_module
from hybridtune.data.corpus import CorpusBuilder
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.errors import InputError
from hybridtune.model.tokenizer import train_tokenizer
from hybridtune.storage.manifests import MANIFEST


@pytest.mark.parametrize("rows", [0, 7])
def test_an_array_file_is_an_npy_file(tmp_path, rows):
    written = np.arange(rows, dtype=np.int32)
    store_module._write_array(tmp_path / "a.npy", np.array_split(written, 3))
    np.save(tmp_path / "b.npy", written)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_an_own_tokenizer_learns_from_a_sample_of_many_texts(tmp_path, monkeypatch):
    def sample(most, block):
        monkeypatch.setattr(store_module, "SAMPLE", most)
        monkeypatch.setattr(corpus_module, "BLOCK_TEXTS", block)
        folder = tmp_path / f"{most} {block}"
        folder.mkdir()
        builder = CorpusBuilder({}, folder)
        for i in range(50):
            builder.add(Group(str(i), "", {"en": f"q{i % 40}"}, {"en": f"p{i}"}))
        builder.finish()
        return list(store_module._sample(builder.parts))

    texts = [text for i in range(40) for text in (f"q{i}", f"p{i}")] + [f"p{i}" for i in range(40, 50)]
    assert sample(90, 1000) == sample(90, 7) == texts
    some = sample(30, 1000)
    assert len({*some}) == 30
    assert {*some} < {*texts}
    assert {*some} & {*texts[60:]}  # not only the first ones
    assert sample(30, 7) == some


def test_the_format_version_tells_what_a_store_holds(tmp_path):
    """A store of other content is of another version: raise FORMAT_VERSION, then write the new digest here."""
    (source,) = find_sources(["newsroom:dev"])
    (tmp_path / "texts").mkdir()
    builder = CorpusBuilder({"sw": 3}, tmp_path / "texts")
    for group in read_groups(source):
        builder.add(group, source.data_set)
    builder.finish().save(tmp_path)
    digest = hashlib.sha256()
    for file in sorted(tmp_path.rglob("*.*")):
        digest.update(f"{file.relative_to(tmp_path)} ".encode() + file.read_bytes())
    assert (store_module.FORMAT_VERSION, digest.hexdigest()[:16]) == (6, "52137e16ecbd9c07")


def test_stores_of_another_format_are_counted(tmp_path):
    for name, meta in (("now", {"format": store_module.FORMAT_VERSION}), ("later", {"format": 99}), ("before", {})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "store.json").write_text(json.dumps(meta))
    (tmp_path / "now.building").mkdir()
    assert store_module.outdated_stores(tmp_path) == 2
    assert store_module.outdated_stores(tmp_path / "none") == 0


def test_a_file_that_went_away_is_one_line(groups_file):
    path = groups_file([])
    sources = find_sources([str(path)])
    assert len(store_module.StoreRecipe(sources, {}, Encoder(), None).address) == 64
    path.unlink()
    made_of = store_module.StoreRecipe(sources, {}, Encoder(), None)
    with pytest.raises(InputError, match=rf"^{path}: cannot be read: "):
        made_of.address  # noqa: B018 - a digest of the file


def test_flat_ids_are_those_of_the_rows():
    tokenizer = train_tokenizer(["one two three", "two three four five"], 60)
    texts = ["one", "two three four five one", "", "four four"]
    for length in (3, 8, 3):  # one backend serves all lengths
        rows = tokenizer.encode(texts, "one ", length)
        ids, lengths = tokenizer.encode_flat(texts, "one ", length)
        assert ids.tolist() == [i for row in rows for i in row]
        assert lengths.tolist() == [len(row) for row in rows]
        assert lengths.max() == length
    empty, none = tokenizer.encode_flat([], "", 8)
    assert (len(empty), len(none)) == (0, 0)


@pytest.fixture
def built(tmp_path, monkeypatch, study_file):
    """A store that is built without Ray: its recipe, its folder, and how often it was built."""
    study = load_study(study_file(data={"train": "newsroom:dev"}))
    made_of = store_module.recipe(study.data, study.encoder)
    builds = []

    def build(folder, made_of, progress):
        builds.append(folder.name)
        (folder / "groups").mkdir(parents=True)
        np.save(folder / "tokens.npy", np.arange(8, dtype=np.int32))
        np.save(folder / "offsets.npy", np.array([0, 3, 8]))
        for name in ("groups/queries.npy", "tokenizer.json", "store.json"):
            (folder / name).write_text('{"format": 6}')

    monkeypatch.setattr(store_module, "_build", build)
    return made_of, store_module.build_store(tmp_path, made_of).path, builds


@pytest.mark.parametrize("name", ["tokens.npy", "offsets.npy", "groups/queries.npy", "store.json", MANIFEST])
@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_store_is_told_and_built_again(built, tmp_path, name, way):
    made_of, path, builds = built
    told = []
    assert store_module.build_store(tmp_path, made_of, tell=told.append).path == path
    WAYS[way](path / name)
    assert store_module.existing_store(tmp_path, made_of) is None
    assert store_module.outdated_stores(tmp_path) == 0
    again = store_module.build_store(tmp_path, made_of, tell=told.append)
    assert (len(builds), len(told)) == (2, 1)
    assert told[0].startswith(f"token store {path} is damaged ({name}")
    assert told[0].endswith("): it is built again")
    assert again.tokens(1).tolist() == [3, 4, 5, 6, 7]
    assert store_module.existing_store(tmp_path, made_of) is not None


def test_a_store_of_an_earlier_version_is_counted_and_not_used(built, tmp_path):
    made_of, path, _ = built
    earlier = path.rename(tmp_path / ("a" * 64))
    (earlier / "store.json").write_text('{"format": 5}')
    assert store_module.existing_store(tmp_path, made_of) is None
    assert store_module.outdated_stores(tmp_path) == 1
