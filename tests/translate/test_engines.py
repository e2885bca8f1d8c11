from pathlib import Path

import pytest
import translators
from ctranslate2.converters import TransformersConverter

from hybridtune.callbacks import StudyCallback
from hybridtune.errors import InputError
from hybridtune.translate.batches import batches_by_length
from hybridtune.translate.engine import Decoding
from hybridtune.translate.models import convert, find_model
from hybridtune.translate.recipe import EngineRecipe, choose_compute_type, choose_engine


def engine_of(folder, name, compute_type="float32", max_tokens=24):
    model = find_model(str(folder))
    decoding = Decoding(name, compute_type, 1, max_tokens)
    weights = convert(model, compute_type, StudyCallback()) if name == "ctranslate2" else model.folder
    return EngineRecipe(model.family, model.name, model.folder, weights, decoding, "cpu", 1).open()


def translate(engine, texts, target):
    rows = engine.tokenizer.encode(texts, "en", target)
    found = [None] * len(texts)
    for batch in batches_by_length(list(map(len, rows)), 400):
        for n, translation in zip(batch, engine.translate([rows[n] for n in batch], target), strict=True):
            found[n] = translation
    return found


@pytest.mark.parametrize("name", ["MADLAD-400", "M2M-100", "NLLB-200", "OPUS-MT"])
def test_both_engines_give_the_same_greedy_translations(folders, name):
    texts = translators.texts(24)
    engines = [engine_of(folders[name], engine) for engine in ("ctranslate2", "transformers")]
    for target in ("sw", "ha"):
        first, second = (translate(engine, texts, target) for engine in engines)
        assert first == second
        assert len({translation.text for translation in first}) > 5  # it looks at the text
    assert translate(engines[0], texts, "sw") != first  # and at the language


def test_translations_that_end_are_finished_in_both_engines(taught):
    texts = translators.texts(24)
    first, second = (
        translate(engine_of(taught, engine, max_tokens=12), texts, "sw") for engine in ("ctranslate2", "transformers")
    )
    assert first == second
    assert sum(translation.finished for translation in first) > len(texts) // 2
    assert not any(t.finished for t in translate(engine_of(taught, "ctranslate2", max_tokens=2), texts, "sw"))


def test_int8_translates_nearly_alike(taught):
    texts = translators.texts(40)
    whole, small = (translate(engine_of(taught, "ctranslate2", kind), texts, "sw") for kind in ("float32", "int8"))
    assert sum(a == b for a, b in zip(whole, small, strict=True)) > len(texts) // 2


def test_a_model_is_converted_once(taught, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRIDTUNE_CACHE", str(tmp_path))
    model = find_model(str(taught))
    folder = convert(model, "int8", StudyCallback())
    assert folder.is_relative_to(tmp_path)
    before = (folder / "model.bin").stat().st_mtime_ns
    assert convert(model, "int8", StudyCallback()) == folder
    assert (folder / "model.bin").stat().st_mtime_ns == before
    assert convert(model, "float32", StudyCallback()) != folder
    assert not list(tmp_path.rglob("*.partial"))


def test_what_the_converter_refuses_is_one_line(taught, monkeypatch, tmp_path):
    monkeypatch.setenv("HYBRIDTUNE_CACHE", str(tmp_path))
    monkeypatch.setattr("hybridtune.translate.models._converter", lambda model: Refusing())
    with pytest.raises(InputError, match=r"CTranslate2 cannot convert it \(no such layer\); --engine transformers"):
        convert(find_model(str(taught)), "int8", StudyCallback())
    assert not list(tmp_path.rglob("*.partial"))


class Refusing:
    def convert(self, folder, quantization):
        Path(folder).mkdir()
        raise ValueError("no such\nlayer")


def test_the_engine_is_ctranslate2_in_int8_where_nothing_is_said():
    assert choose_engine(None, is_converted=False) == "ctranslate2"
    assert choose_compute_type("ctranslate2", None, on_gpu=False) == "int8"
    assert choose_compute_type("transformers", None, on_gpu=False) == "float32"
    assert choose_compute_type("transformers", None, on_gpu=True) == "float16"


def test_without_ctranslate2_transformers_runs(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose_engine(None, is_converted=False) == "transformers"
    with pytest.raises(InputError, match=r"pip install 'hybridtune\[translate\]'"):
        choose_engine("ctranslate2", is_converted=False)
    with pytest.raises(InputError, match="not installed"):
        choose_engine(None, is_converted=True)


def test_an_engine_refuses_what_it_cannot_run():
    with pytest.raises(InputError, match="give the folder that it was converted from"):
        choose_engine("transformers", is_converted=True)
    with pytest.raises(InputError, match=r"--compute-type int4: ctranslate2 has it not on this CPU; it has .*int8"):
        choose_compute_type("ctranslate2", "int4", on_gpu=False)


@pytest.mark.parametrize("name", ["MADLAD-400", "M2M-100", "NLLB-200", "OPUS-MT"])
def test_a_folder_that_was_converted_by_hand_runs_with_its_tokenizer(folders, tmp_path, name):
    files = [
        file.name for file in folders[name].iterdir() if "config" not in file.name and "model.safe" not in file.name
    ]
    converter = TransformersConverter(str(folders[name]), copy_files=[*files, "tokenizer_config.json"])
    converted = converter.convert(str(tmp_path / "converted"))
    texts = translators.texts(6)
    by_hand = translate(engine_of(Path(converted), "ctranslate2"), texts, "sw")
    assert by_hand == translate(engine_of(folders[name], "ctranslate2"), texts, "sw")
