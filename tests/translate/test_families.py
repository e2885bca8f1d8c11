import json
import shutil

import pytest
import transformers
import translators

from hybridtune.errors import InputError
from hybridtune.translate.families import FamilyTokenizer, recognise
from hybridtune.translate.models import find_model


def tokenizer_of(folder):
    return FamilyTokenizer(recognise(folder, folder.name), folder, folder.name)


@pytest.mark.parametrize("name", ["MADLAD-400", "M2M-100", "NLLB-200", "OPUS-MT"])
def test_a_family_is_recognised_by_its_config_and_tokenizer(folders, name):
    model = find_model(str(folders[name]))
    assert model.family.name == name
    assert model.name == folders[name].name  # no path of this machine
    assert not model.is_converted


def test_the_licence_is_the_card_s_else_that_of_the_published_models(folders, tmp_path):
    assert find_model(str(folders["NLLB-200"])).licence == "cc-by-nc-4.0"
    assert find_model(str(folders["MADLAD-400"])).licence == "apache-2.0"
    folder = shutil.copytree(folders["M2M-100"], tmp_path / "own")
    (folder / "README.md").write_text("---\nlicense: gpl-3.0\n---\nMine.\n", encoding="utf-8")
    assert find_model(str(folder)).licence == "gpl-3.0"


def test_only_nllb_has_a_notice(folders):
    notices = {name: find_model(str(folder)).family.notice for name, folder in folders.items()}
    assert "not for commercial use" in notices.pop("NLLB-200")
    assert not any(notices.values())


def test_a_model_of_another_family_is_refused_by_its_name(tmp_path):
    transformers.BartConfig(vocab_size=10).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"type 'bart' is no known translator; known: MADLAD-400 \(t5\), M2M-100"):
        find_model(str(tmp_path))


def test_a_model_with_code_from_the_hub_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders["M2M-100"], tmp_path / "given")
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    said["_attn_implementation"] = {"": "somebody/kernel"}
    (folder / "config.json").write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(InputError, match="code from the hub, which is not run; take _attn_implementation out of it"):
        find_model(str(folder))


def test_a_t5_that_knows_no_languages_is_refused(tmp_path):
    folder = translators.madlad(tmp_path / "t5", languages=())
    with pytest.raises(InputError, match="no tokens that name languages, like those of MADLAD-400"):
        tokenizer_of(folder)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="names no model_type"):
        find_model(str(tmp_path))


def test_a_name_that_cannot_be_fetched_is_one_line(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="neither a folder nor a model that could be fetched") as refused:
        find_model("nobody/nothing")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "language", "token"),
    [
        ("MADLAD-400", "sw", "<2sw>"),
        ("M2M-100", "zh", "__zh__"),
        ("NLLB-200", "sw", "swh_Latn"),  # FLORES writes Swahili by another code
        ("NLLB-200", "ar", "arb_Arab"),
        ("NLLB-200", "zh", "zho_Hans"),
        ("NLLB-200", "zh-Hant", "zho_Hant"),
        ("NLLB-200", "zh-TW", "zho_Hant"),  # written so in Taiwan
        ("OPUS-MT", "ha", ">>hau<<"),
    ],
)
def test_a_language_is_found_under_the_model_s_own_code(folders, name, language, token):
    assert tokenizer_of(folders[name]).token(language, target=True) == token


def test_a_language_that_the_model_lacks_is_refused_with_what_it_has(folders):
    with pytest.raises(InputError, match="does not translate to nn; the nearest that it has is no"):
        tokenizer_of(folders["M2M-100"]).token("nn", target=True)
    with pytest.raises(InputError, match="does not translate to zu; it has de, en, ha, sw"):
        tokenizer_of(folders["MADLAD-400"]).token("zu", target=True)
    with pytest.raises(InputError, match="does not translate from de; it has en"):
        tokenizer_of(folders["OPUS-MT"]).token("de", target=False)


def test_a_model_of_one_direction_takes_that_alone(tmp_path):
    tokenizer = tokenizer_of(translators.marian(tmp_path / "en-sw", direction=("eng", "swa")))
    assert tokenizer.token("sw", target=True) == ""  # it is not told
    assert tokenizer.encode(["a"], "en", "sw")[0][-1] == "</s>"
    with pytest.raises(InputError, match="does not translate to ha; it has sw"):
        tokenizer.token("ha", target=True)


def test_texts_are_encoded_as_the_models_cards_say(folders):
    rows = {name: tokenizer_of(folder).encode(["Maji"], "en", "sw")[0] for name, folder in folders.items()}
    assert rows["MADLAD-400"][0] == "<2sw>"
    assert rows["M2M-100"][0] == "__en__"
    assert rows["NLLB-200"][0] == "eng_Latn"
    assert rows["OPUS-MT"][0] == ">>swa<<"
    assert all(row[-1] == "</s>" for row in rows.values())
    firsts = {name: tokenizer_of(folder).first("sw") for name, folder in folders.items()}
    assert firsts == {"MADLAD-400": None, "M2M-100": "__sw__", "NLLB-200": "swh_Latn", "OPUS-MT": None}


def test_an_unknown_character_does_not_end_a_text_of_madlad(folders):
    row = tokenizer_of(folders["MADLAD-400"]).encode(["Snow ☃ here"], "en", "sw")[0]
    assert "<unk>" in row
    assert row.index("</s>") == len(row) - 1


def test_a_converted_folder_is_recognised_by_its_tokenizer(folders, tmp_path):
    folder = shutil.copytree(folders["NLLB-200"], tmp_path / "ct2")
    (folder / "config.json").write_text(json.dumps({"bos_token": "<s>"}), encoding="utf-8")
    (folder / "model.bin").write_bytes(b"")
    model = find_model(str(folder))
    assert model.is_converted
    assert model.family.name == "NLLB-200"


def test_a_converted_folder_without_its_tokenizer_is_told_how_to_get_it(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"without its tokenizer; .*ct2-transformers-converter .* --copy_files"):
        find_model(str(tmp_path))
