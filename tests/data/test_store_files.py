"""What a store is made of on disk, without Ray."""

import hashlib
import json

import numpy as np
import pytest

from hybridtune.config.study import Encoder
from hybridtune.data import numbering
from hybridtune.data import store as store_module
from hybridtune.data.arrays import ArrayFile, map_array
from hybridtune.data.numbering import Numbering
from hybridtune.data.readers.native import Group, find_sources, read_groups
from hybridtune.data.tokenizer import train_tokenizer
from hybridtune.errors import InputError


@pytest.mark.parametrize(("width", "rows"), [(None, 0), (None, 7), (3, 0), (3, 5)])
def test_an_array_file_is_an_npy_file(tmp_path, width, rows):
    written = np.arange(rows * (width or 1), dtype=np.int32).reshape((rows, width) if width else rows)
    with ArrayFile(tmp_path / "a.npy", np.int32, width) as file:
        for part in np.array_split(written, 3):
            file.append(part)
    for read in (np.load(tmp_path / "a.npy"), map_array(tmp_path / "a.npy")):
        assert read.dtype == np.int32
        assert read.shape == written.shape
        assert (read == written).all()


def test_an_own_tokenizer_learns_from_a_sample_of_many_texts(tmp_path, monkeypatch):
    def sample(most, block):
        monkeypatch.setattr(store_module, "SAMPLE", most)
        monkeypatch.setattr(numbering, "BLOCK_TEXTS", block)
        folder = tmp_path / f"{most} {block}"
        folder.mkdir()
        numbered = Numbering(folder, {}, keep_texts=True)
        for i in range(50):
            numbered.add(Group(str(i), "", {"en": f"q{i % 40}"}, {"en": f"p{i}"}))
        numbered.finish()
        return list(store_module._sample(numbered.parts))

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
    numbered = Numbering(tmp_path, {"sw": 3}, keep_texts=True)
    for group in read_groups(source):
        numbered.add(group, source.data_set)
    numbered.finish()
    digest = hashlib.sha256()
    for file in sorted(tmp_path.rglob("*.*")):
        digest.update(f"{file.relative_to(tmp_path)} ".encode() + file.read_bytes())
    assert (store_module.FORMAT_VERSION, digest.hexdigest()[:16]) == (1, "4a17dd1d149220d8")


def test_stores_of_another_format_are_counted(tmp_path):
    for name, meta in (("now", {"format": store_module.FORMAT_VERSION}), ("later", {"format": 99}), ("before", {})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "store.json").write_text(json.dumps(meta))
    (tmp_path / "now.building").mkdir()
    assert store_module.outdated_stores(tmp_path) == 2
    assert store_module.outdated_stores(tmp_path / "none") == 0


def test_a_file_that_went_away_is_one_line(groups_file):
    path = groups_file([])
    made_of = store_module.StoreRecipe(find_sources([str(path)]), {}, Encoder(), None)
    assert len(made_of.address) == 64
    path.unlink()
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
