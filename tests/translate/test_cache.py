import multiprocessing
import os
import signal
import sqlite3

import pytest

from hybridtune.errors import InputError
from hybridtune.translate.cache import Direction, open_cache, text_digest, untranslated
from hybridtune.translate.engine import Decoding, Translation
from hybridtune.translate.families import FAMILIES
from hybridtune.translate.models import Model

MODEL = Model("m", None, FAMILIES[0], "", "digest")
DECODING = Decoding("ctranslate2", "int8")
TO_SW, TO_HA = Direction("en", "sw"), Direction("en", "ha")


def opened(folder, model=MODEL, decoding=DECODING):
    return open_cache(folder, model, decoding)


def test_what_was_added_is_there_when_it_is_opened_again(tmp_path):
    with opened(tmp_path) as cache:
        cache.add(TO_SW, ["a", "b"], [Translation("x", True), Translation("", False)])
    with opened(tmp_path) as cache:
        assert cache.get(TO_SW, "a") == Translation("x", True)
        assert cache.get(TO_SW, "b") == Translation("", False)
        assert cache.get(TO_HA, "a") is None
        assert untranslated(cache, TO_SW, ["c", "a", "d"]) == [0, 2]
        assert len(cache) == 2


def test_other_settings_and_other_models_have_caches_of_their_own(tmp_path):
    with opened(tmp_path) as cache:
        cache.add(TO_SW, ["a"], [Translation("x", True)])
    others = [
        (MODEL, Decoding("transformers", "int8")),
        (MODEL, Decoding("ctranslate2", "float32")),
        (MODEL, Decoding("ctranslate2", "int8", beam_size=1)),
        (MODEL, Decoding("ctranslate2", "int8", max_tokens=9)),
        (Model("m", None, FAMILIES[0], "", "another"), DECODING),
    ]
    for model, decoding in others:
        with opened(tmp_path, model, decoding) as cache:
            assert cache.get(TO_SW, "a") is None


def test_nothing_is_kept_twice(tmp_path):
    with opened(tmp_path) as cache:
        cache.add(TO_SW, ["a"], [Translation("x", True)])
        with pytest.raises(sqlite3.IntegrityError):  # so a text that is translated twice is no silent waste
            cache.add(TO_SW, ["b", "a"], [Translation("y", True), Translation("z", True)])
        assert cache.get(TO_SW, "b") is None  # all or nothing
        assert cache.get(TO_SW, "a").text == "x"


def _add_and_die(folder):
    with opened(folder) as cache:
        cache.add(TO_SW, ["kept"], [Translation("x", True)])
        cache._connection.execute("BEGIN")
        cache._connection.execute("INSERT INTO translations VALUES ('en', 'sw', ?, 'y', 1)", (text_digest("torn"),))
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_kill_in_the_middle_of_writing_leaves_whole_batches(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=_add_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with opened(tmp_path) as cache:  # the lock died with its holder
        assert cache.get(TO_SW, "kept") == Translation("x", True)
        assert cache.get(TO_SW, "torn") is None


def test_a_second_process_waits_and_says_so(tmp_path):
    context = multiprocessing.get_context("spawn")
    said, process = context.Queue(), None
    with opened(tmp_path) as cache:
        process = context.Process(target=_read_after_waiting, args=(tmp_path, said))
        process.start()
        assert "another process translates" in said.get(timeout=60)
        cache.add(TO_SW, ["a"], [Translation("x", True)])
    assert said.get(timeout=60) == "x"
    process.join()


def _read_after_waiting(folder, said):
    with open_cache(folder, MODEL, DECODING, said.put) as cache:
        said.put(cache.get(TO_SW, "a").text)


def test_a_damaged_file_is_named(tmp_path):
    with opened(tmp_path) as cache:
        cache.add(TO_SW, ["a"], [Translation("x", True)])
        file = cache.file
    file.write_bytes(b"no database at all, but long enough to look like one" * 40)
    with (
        pytest.raises(InputError, match=f"{file.name}: not a readable cache .* remove it, or give --cache"),
        opened(tmp_path),
    ):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--cache .*file: cannot be written"), opened(tmp_path / "file"):
        pass
