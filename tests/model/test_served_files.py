"""What servers read of an exported folder stands there, by their own rules; neither server runs here.

Source: text-embeddings-inference, ``router/src/lib.rs`` and ``backends/candle/src/models/bert.rs``; vLLM,
``get_pooling_config``, ``get_sentence_transformer_tokenizer_config`` and ``try_get_dense_modules`` of
``vllm/transformers_utils/config.py``; read in 2026.
"""

import json
from pathlib import Path

import pytest

from hybridtune.model.encoder import DualEncoder

BERT = {  # fields that text-embeddings-inference demands of a BERT's config.json
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
    *("hidden_dropout_prob", "max_position_embeddings", "type_vocab_size", "initializer_range", "layer_norm_eps"),
    "pad_token_id",
}


@pytest.fixture
def folder(tiny, tmp_path):
    """Writes a model folder with a pooling, from a source, and returns it."""

    def write(pooling="mean", source=tiny[0]):
        model = DualEncoder.load(str(source), pooling=pooling, query_length=16, passage_length=24)
        model.save(tmp_path / pooling)
        return tmp_path / pooling

    return write


def read(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def of_router(folder):
    """How text-embeddings-inference pools a folder."""
    said = read(folder, "1_Pooling/config.json")
    if said["pooling_mode_cls_token"]:  # both keys must be there
        return "cls"
    if said["pooling_mode_mean_tokens"]:
        return "mean"
    return "last-token" if said.get("pooling_mode_lasttoken", False) else None


def of_vllm(folder):
    """How vLLM pools a folder, and whether it brings vectors to unit length."""
    modules = read(folder, "modules.json")
    kinds = {module["type"]: module["path"] for module in modules}
    said = read(folder, f"{kinds['sentence_transformers.models.Pooling']}/config.json")
    names = [key.replace("pooling_mode_", "").split("_", 1)[0] for key, value in said.items() if value is True]
    found = ["LAST" if "lasttoken" in name else name.upper() for name in names]
    known = [name for name in found if name in ("CLS", "LAST", "MEAN")]
    return known, "sentence_transformers.models.Normalize" in kinds


@pytest.mark.parametrize(
    ("pooling", "router", "vllm"),
    [("mean", "mean", ["MEAN"]), ("cls", "cls", ["CLS"]), ("lasttoken", "last-token", ["LAST"]), ("max", None, [])],
)
def test_servers_pool_as_the_model_does_or_not_at_all(folder, pooling, router, vllm):
    made = folder(pooling)
    assert of_router(made) == router
    assert of_vllm(made) == (vllm, True)


def test_the_sizes_the_length_and_the_prompts_are_where_they_are_looked_for(folder):
    made = folder()
    config = read(made, "config.json")
    assert config["model_type"] == "bert"
    assert config["architectures"] == ["BertModel"]
    assert {key for key in BERT if config.get(key) is None} == set()
    transformer = read(made, "sentence_bert_config.json")
    assert transformer["max_seq_length"] == 24  # a number: text-embeddings-inference takes no null
    assert transformer["do_lower_case"] is False  # vLLM wants both
    prompts = read(made, "config_sentence_transformers.json")["prompts"]
    assert (prompts["query"], prompts["passage"]) == ("query: ", "passage: ")
    assert read(made, "tokenizer.json")["model"]
    assert (made / "model.safetensors").is_file()


def test_a_dense_layer_is_named_by_the_class_and_the_place_that_servers_know(folder, dense):
    made = folder(source=dense[0])
    found = [module["path"] for module in read(made, "modules.json") if module["type"].endswith("models.Dense")]
    assert found == ["2_Dense"]
    said = read(made, "2_Dense/config.json")
    assert (said["in_features"], said["out_features"], said["bias"]) == (16, 12, True)
    assert said["activation_function"] == "torch.nn.modules.activation.Tanh"
    assert Path(made / "2_Dense" / "model.safetensors").is_file()
