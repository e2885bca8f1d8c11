"""An encoder's lowest layers as an encoder of its own."""

import hashlib
import json

import numpy as np
import pytest
import torch
import transformers

from hybridtune.config.fields import Encoder
from hybridtune.config.training import Train
from hybridtune.errors import InputError
from hybridtune.model.adapters import transformer_layers
from hybridtune.model.backbone import structure
from hybridtune.model.encoder import DualEncoder, load_encoder, prepare_for_training
from hybridtune.model.folder import with_folder_settings
from hybridtune.model.shallow import keep_lowest, write_shallow

SIZES = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48, "vocab_size": 100}
T5 = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 4, "num_heads": 2, "vocab_size": 100}
MADE = {
    "bert": lambda: transformers.BertConfig(num_hidden_layers=4, **SIZES),
    "xlm-roberta": lambda: transformers.XLMRobertaConfig(num_hidden_layers=4, **SIZES),
    "distilbert": lambda: transformers.DistilBertConfig(n_layers=4, dim=32, n_heads=2, hidden_dim=48, vocab_size=100),
    "longformer": lambda: transformers.LongformerConfig(num_hidden_layers=4, attention_window=[8, 8, 8, 8], **SIZES),
    "modernbert": lambda: transformers.ModernBertConfig(num_hidden_layers=4, pad_token_id=0, cls_token_id=1, **SIZES),
    "mt5": lambda: transformers.MT5Config(**T5),
    "qwen3": lambda: transformers.Qwen3Config(num_hidden_layers=4, num_key_value_heads=2, head_dim=16, **SIZES),
}
FINAL_NORM = {"modernbert": "final_norm", "mt5": "encoder.final_layer_norm", "qwen3": "norm"}  # above the last layer
IDS = torch.tensor([[5, 7, 9, 11, 13, 17, 19, 23]])


def made(kind):
    torch.manual_seed(0)
    return structure(MADE[kind](), False).eval()


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", MADE)
def test_the_lowest_layers_say_what_they_say_in_the_whole_encoder(kind, layers, tmp_path):
    backbone = made(kind)
    with torch.no_grad():
        states = backbone(input_ids=IDS, output_hidden_states=True).hidden_states
        wanted = states[layers]
        if kind in FINAL_NORM:
            wanted = backbone.get_submodule(FINAL_NORM[kind])(wanted)
        assert keep_lowest(backbone, layers) == 4
        found = backbone(input_ids=IDS).last_hidden_state
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    assert len(transformer_layers(backbone)) == backbone.config.num_hidden_layers == layers
    backbone.save_pretrained(tmp_path)
    again = type(backbone).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(input_ids=IDS).last_hidden_state, found)
    assert len(transformer_layers(again)) == layers


def test_layers_that_are_shared_are_not_taken_apart():
    config = transformers.AlbertConfig(num_hidden_layers=4, embedding_size=16, **SIZES)
    with pytest.raises(InputError, match=r"AlbertModel: its layers are not in a list.* search\.screening"):
        keep_lowest(structure(config, False), 2)


def digest(folder):
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.mark.parametrize("name", ["tiny", "dense"])
def test_a_shallow_folder_is_an_encoder_with_all_that_follows_its_layers(request, name, tmp_path):
    source, _, tokenizer = request.getfixturevalue(name)
    before = digest(source)
    encoder = with_folder_settings(Encoder(name=str(source), query_length=16, passage_length=24))
    assert write_shallow(str(source), encoder, tokenizer.pad_id, 1, tmp_path / "one") == 2
    write_shallow(str(source), encoder, tokenizer.pad_id, 1, tmp_path / "again")
    assert digest(source) == before
    assert digest(tmp_path / "one") == digest(tmp_path / "again")
    whole = load_encoder(str(source), encoder, tokenizer.pad_id).eval()
    del whole.backbone.encoder.layer[1:]  # the naive way
    few = load_encoder(str(tmp_path / "one"), encoder, tokenizer.pad_id).eval()
    rows = [np.arange(5, 5 + length, dtype=np.int32) for length in (3, 9, 4)]
    np.testing.assert_array_equal(few.embed_by_length(rows), whole.embed_by_length(rows))
    assert few.width == whole.width
    assert json.loads((tmp_path / "one" / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"] == 1
    served = DualEncoder.load(tmp_path / "one")
    assert served.encode_queries(["der Hafen"]).shape == (1, few.width)


@pytest.mark.parametrize(
    ("fields", "trained"),
    [
        ({}, ("embeddings.", "encoder.layer.0.")),
        ({"embeddings": "frozen"}, ("encoder.layer.0.",)),
        ({"lora_rank": 2}, ("encoder.layer.0.",)),
    ],
)
def test_it_is_trained_as_the_whole_one_is(tiny, tmp_path, fields, trained):
    if "lora_rank" in fields:
        pytest.importorskip("peft")
    source, encoder, tokenizer = tiny
    write_shallow(str(source), encoder, tokenizer.pad_id, 1, tmp_path / "one")
    model = load_encoder(str(tmp_path / "one"), encoder, tokenizer.pad_id)
    prepare_for_training(model, Train(**fields))
    model.embed([np.arange(5, 9, dtype=np.int32)]).sum().backward()
    moved = [name for name, parameter in model.backbone.named_parameters() if parameter.grad is not None]
    assert {name for name in moved if not name.startswith(trained)} == set()
    assert all(any(name.startswith(part) for name in moved) for part in trained)
    assert not any(name.startswith("encoder.layer.1.") for name in model.plain_state())
