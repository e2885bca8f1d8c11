import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
import transformers

from hybridtune.config.fields import Encoder
from hybridtune.config.training import Train
from hybridtune.model.encoder import load_encoder, prepare_for_training
from hybridtune.model.folder import save_folder, with_folder_settings
from hybridtune.model.tokenizer import pretrained_tokenizer

KIT = Path(__file__).parents[3] / "shared" / "kit"
needs_sentence_transformers = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None, reason="sentence-transformers is not installed"
)
TEXTS = [
    "the minister opened the bridge",
    "sw",
    "Ein neuer Hafen!",
    "мост открыт",
    "桥又开放了",
    "é e\u0301 ½ A <mask> b",
]
LONG = [" ".join([text] * 60) for text in TEXTS]
SETTINGS = {"query_prefix": "ask: ", "passage_prefix": "read: ", "query_length": 12, "passage_length": 20}


def save(source, folder, **settings):
    """A folder as a study exports it; the settings, the encoder and the tokenizer."""
    encoder = Encoder.model_validate({"name": str(source), **settings})
    tokenizer = pretrained_tokenizer(str(source))
    model = load_encoder(str(source), encoder, tokenizer.pad_id).eval()
    save_folder(model, str(source), encoder, folder, "# card", {"en-de": 7})
    return encoder, model, tokenizer


def embed(model, tokenizer, texts, prefix, length):
    rows = [np.array(ids, np.int32) for ids in tokenizer.encode(texts, prefix, length)]
    with torch.no_grad():
        return model.embed(rows).numpy()


def xlm_roberta(folder):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram())
    tokenizer.normalizer = tokenizers.normalizers.NFKC()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    pieces = json.loads(tokenizer.to_str())["model"]["vocab"]
    made = transformers.XLMRobertaTokenizer(vocab=[tuple(piece) for piece in pieces])
    config = transformers.XLMRobertaConfig(
        vocab_size=len(made), max_position_embeddings=40, pad_token_id=1, type_vocab_size=1, **SIZE
    )
    return random(transformers.XLMRobertaModel, config, made, folder)


def cased_bert(folder):
    tokenizer = tokenizers.BertWordPieceTokenizer(lowercase=False)
    tokenizer.train_from_iterator(TEXTS, vocab_size=150, show_progress=False)
    made = transformers.BertTokenizer(vocab=tokenizer.get_vocab(), do_lower_case=False)
    config = transformers.BertConfig(vocab_size=len(made), max_position_embeddings=40, **SIZE)
    return random(transformers.BertModel, config, made, folder)


SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def random(kind, config, tokenizer, folder):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("make", [xlm_roberta, cased_bert])
def test_tokenizers_of_any_class_are_written_as_versions_4_and_5_read_them(make, tmp_path):
    source = make(tmp_path / "source")
    _, _, tokenizer = save(source, tmp_path / "best", **SETTINGS)
    config = json.loads((tmp_path / "best" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"  # version 5's own names stop version 4
    assert config["model_max_length"] == 20
    assert config["model_input_names"] == ["input_ids", "attention_mask"]
    assert not {"backend", "is_local", "extra_special_tokens", "added_tokens_decoder", "auto_map"} & set(config)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "best")
    assert again.mask_token == transformers.AutoTokenizer.from_pretrained(source).mask_token
    texts = [*TEXTS, *LONG, "", "A a"]
    assert again(texts, truncation=True)["input_ids"] == tokenizer.encode(texts, "", 20)
    assert max(map(len, again(texts, truncation=True)["input_ids"])) == 20


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_plain_transformers_gives_the_same_embeddings(tiny, tmp_path, pooling):
    encoder, model, tokenizer = save(tiny[0], tmp_path / "best", pooling=pooling, **SETTINGS)
    plain = transformers.AutoModel.from_pretrained(tmp_path / "best").eval()
    read = transformers.AutoTokenizer.from_pretrained(tmp_path / "best")
    texts = [*TEXTS, *LONG]
    batch = read(["read: " + text for text in texts], padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        hidden, held = plain(**batch).last_hidden_state, batch["attention_mask"][:, :, None]
        pooled = hidden[:, 0] if pooling == "cls" else (hidden * held).sum(1) / held.sum(1)
        found = torch.nn.functional.normalize(pooled, dim=-1).numpy()
    expected = embed(model, tokenizer, texts, encoder.passage_prefix, encoder.passage_length)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_folder_names_no_place_of_this_machine(tiny, tmp_path):
    save(tiny[0], tmp_path / "best", **SETTINGS)
    texts = [file for file in (tmp_path / "best").rglob("*") if file.suffix in (".json", ".md")]
    assert len(texts) > 7
    for file in texts:
        assert str(tiny[0]) not in file.read_text(encoding="utf-8")
        assert str(tmp_path) not in file.read_text(encoding="utf-8")


def test_the_widths_it_may_be_cut_at_are_written_down(tiny, tmp_path):
    encoder, model, _ = save(tiny[0], tmp_path / "best", **SETTINGS)
    before = json.loads((tmp_path / "best" / "hybridtune.json").read_text())
    assert before == {"query_length": 12, "passage_length": 20, "training_pairs": {"en-de": 7}}
    save_folder(model, encoder.name, encoder, tmp_path / "best", "# card", {"en-de": 7}, (8, 4))
    assert json.loads((tmp_path / "best" / "hybridtune.json").read_text()) == {**before, "matryoshka": [8, 4]}


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft is not installed")
def test_adapters_are_merged_into_the_weights(tiny, tmp_path):
    encoder, model, tokenizer = save(tiny[0], tmp_path / "start", **SETTINGS)
    start = embed(model, tokenizer, TEXTS, "", 20)
    prepare_for_training(model, Train(lora_rank=2))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in (p for p in model.backbone.parameters() if p.requires_grad):
            value.copy_(torch.randn(value.shape, generator=generator))
    trained = embed(model, tokenizer, TEXTS, "", 20)
    save_folder(model, encoder.name, encoder, tmp_path / "best", "# card", {})
    again = load_encoder(str(tmp_path / "best"), encoder, tokenizer.pad_id).eval()
    np.testing.assert_allclose(embed(again, tokenizer, TEXTS, "", 20), trained, rtol=0, atol=1e-5)
    assert np.abs(trained - start).max() > 0.01


# One process for all folders: importing sentence-transformers takes seconds, and leaves its marks on transformers.
_ENCODE = """
import json, sys
from pathlib import Path
import numpy as np
from sentence_transformers import SentenceTransformer

texts = json.loads(sys.argv[1])
for folder in map(Path, sys.argv[2:]):
    model = SentenceTransformer(str(folder), device="cpu")
    assert model.similarity_fn_name == "cosine"
    vectors = {name: model.encode(texts, prompt_name=name, batch_size=5) for name in ("query", "passage", "document")}
    vectors["encode_query"], vectors["encode_document"] = model.encode_query(texts), model.encode_document(texts)
    np.savez(folder.with_suffix(".npz"), **vectors)
    model.save(str(folder.with_suffix(".saved")))
"""


@pytest.fixture(scope="module")
def encoded(tiny, tmp_path_factory):
    """Folders, what sentence-transformers makes of them, and what they were saved from, by name."""
    root = tmp_path_factory.mktemp("folders")
    made = {name: save(tiny[0], root / name, pooling=name, **SETTINGS) for name in ("mean", "cls")}
    if KIT.is_dir():
        unpack = [sys.executable, str(KIT / "unpack_encoder.py"), str(root / "start"), "--layers", "1"]
        subprocess.run(unpack, check=True, capture_output=True)
        made["kit"] = save(root / "start", root / "kit", query_length=24, passage_length=40)
    command = [sys.executable, "-c", _ENCODE, json.dumps([*TEXTS, *LONG]), *(str(root / name) for name in made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return root, made


needs_kit = pytest.mark.skipif(not KIT.is_dir(), reason=f"no data kit at {KIT}")
FOLDERS = ["mean", "cls", pytest.param("kit", marks=(pytest.mark.kit, needs_kit))]


@pytest.mark.slow
@needs_sentence_transformers
@pytest.mark.parametrize("name", FOLDERS)
def test_sentence_transformers_gives_the_same_embeddings_prompts_and_cut_texts_included(encoded, name):
    root, made = encoded
    encoder, model, tokenizer = made[name]
    with np.load(root / f"{name}.npz") as vectors:
        found = dict(vectors)
    longest = max(encoder.query_length, encoder.passage_length)
    for prefix, prompts in (
        (encoder.query_prefix, ("query", "encode_query")),
        (encoder.passage_prefix, ("passage", "document", "encode_document")),
    ):
        expected = embed(model, tokenizer, [*TEXTS, *LONG], prefix, longest)
        for prompt in prompts:
            np.testing.assert_allclose(found[prompt], expected, rtol=0, atol=1e-5)
    assert np.abs(found["query"] - found["passage"]).max() > 1e-4


@pytest.mark.slow
@needs_sentence_transformers
@pytest.mark.parametrize("name", FOLDERS)
def test_what_sentence_transformers_saves_again_tells_the_same_settings(encoded, name):
    root, made = encoded
    encoder = made[name][0]
    again = with_folder_settings(Encoder(name=str(root / f"{name}.saved")))
    assert again.pooling == encoder.pooling
    assert (again.query_prefix, again.passage_prefix) == (encoder.query_prefix, encoder.passage_prefix)
    longest = max(encoder.query_length, encoder.passage_length)
    assert (again.query_length, again.passage_length) == (longest, longest)
