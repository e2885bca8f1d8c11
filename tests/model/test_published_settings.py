"""What a model folder or hub name says of itself: taken over, or refused by name; never ignored."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import layouts
import numpy as np
import pytest
import transformers
from layouts import LONG, PASSAGE, QUERY, TEXTS, write

from hybridtune.config.fields import Encoder
from hybridtune.config.validation import check
from hybridtune.errors import InputError
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.folder import check_fit, encoder_notices, model_digest, with_folder_settings
from hybridtune.model.published import read_published
from hybridtune.model.tokenizer import pretrained_tokenizer


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return layouts.bert_mean(tmp_path_factory.mktemp("published") / "bert")


@pytest.fixture
def changed(source, tmp_path):
    """Copies the folder of a BERT with mean pooling and changes keys of its files; None takes a key out."""

    def change(**files):
        folder = shutil.copytree(source, tmp_path / "changed", dirs_exist_ok=True)
        for name, keys in files.items():
            file = folder / f"{name.replace('__', '/')}.json"
            content = keys if isinstance(keys, list) else (layouts.read(file) if file.is_file() else {}) | keys
            write(file, content)
        return folder

    return change


def settings_of(folder):
    return with_folder_settings(Encoder(name=str(folder)))


def embed(folder, texts):
    return DualEncoder.load(folder).encode_queries(texts)


OLD = {"pooling_mode_mean_tokens": False}


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({}, "mean"),
        ({**OLD, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode": "cls"}, "cls"),
        ({**OLD, "pooling_mode_max_tokens": True}, "max"),
        ({**OLD, "pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_len"),
        ({"pooling_mode": "mean_sqrt_len_tokens"}, "mean_sqrt_len"),
        ({**OLD, "pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ({"pooling_mode": ["lasttoken"], "include_prompt": True}, "lasttoken"),
    ],
)
def test_old_and_new_names_of_a_pooling(changed, config, pooling):
    assert settings_of(changed(**{"1_Pooling__config": config})).pooling == pooling


def test_prompts_by_the_names_that_sentence_transformers_asks_for(changed):
    cases = {
        (): ("", ""),
        ("query", "document", "passage"): ("query", "document"),
        ("query", "passage", "corpus"): ("query", "passage"),
        ("corpus", "s2p"): ("", "corpus"),
    }
    for names, (query, passage) in cases.items():
        folder = changed(config_sentence_transformers={"prompts": {name: f"{name}: " for name in names}})
        found = settings_of(folder)
        assert found.query_prefix == (f"{query}: " if query else "")
        assert found.passage_prefix == (f"{passage}: " if passage else "")
        notices = " ".join(encoder_notices(found))
        assert ("names no prompts" in notices) == (not names)
        assert ("has prompts that are not used: s2p;" in notices) == ("s2p" in names)


def test_lengths_as_sentence_transformers_takes_them(changed):
    def lengths(bert, tokenizer):
        found = settings_of(changed(sentence_bert_config=bert, tokenizer_config=tokenizer))
        return found.query_length, found.passage_length

    assert lengths({"max_seq_length": 7}, {}) == (7, 7)
    assert lengths({"max_seq_length": 7, "query_length": 5}, {}) == (5, 7)
    assert lengths({"max_seq_length": None, "document_length": 9}, {}) == (40, 9)  # the tokenizer's
    assert lengths({"max_seq_length": None}, {"model_max_length": 33}) == (33, 33)
    assert lengths({"max_seq_length": None}, {"model_max_length": 10**30}) == (48, 48)  # the model's positions


def test_a_plain_folder_gets_one_notice_of_what_is_assumed(tmp_path):
    folder = layouts.bert(tmp_path / "plain")
    [notice] = encoder_notices(settings_of(folder))
    assert notice.endswith(
        "has no settings of its own (no modules.json); assumed: pooling 'mean', query_prefix 'query: ', "
        "passage_prefix 'passage: ', query_length 96, passage_length 160"
    )
    given = {"pooling": "cls", "query_prefix": "", "passage_prefix": "", "query_length": 8, "passage_length": 8}
    assert encoder_notices(with_folder_settings(Encoder(name=str(folder), **given))) == []


def test_a_plain_causal_model_is_pooled_by_its_last_token(tmp_path):
    folder = layouts.qwen3_last(tmp_path / "causal")
    (folder / "modules.json").unlink()
    write(folder / "config.json", layouts.read(folder / "config.json") | {"architectures": ["Qwen3ForCausalLM"]})
    assert settings_of(folder).pooling == "lasttoken"


MODULE = "sentence_transformers.models."


def listed(*kinds):
    return [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(kinds)]


TOP = [("", f"{MODULE}Transformer"), ("1_Pooling", f"{MODULE}Pooling")]
REFUSED = {
    "PyLate": ({"modules": listed(TOP[0], ("1_Dense", "pylate.models.Dense.Dense"))}, "pylate.models.Dense.Dense"),
    "sparse": (
        {"modules": listed(("", f"{MODULE}MLMTransformer"), ("1_SpladePooling", f"{MODULE}SpladePooling"))},
        "MLMTransformer",
    ),
    "layer norm": ({"modules": listed(*TOP, ("2_LayerNorm", f"{MODULE}LayerNorm"))}, "LayerNorm"),
    "code of its own": ({"modules": listed(("", "custom_st.Transformer"), TOP[1])}, "custom_st.Transformer"),
    "no pooling": ({"modules": listed(TOP[0])}, "its modules are Transformer"),
    "no list": ({"modules": ["Transformer"]}, "not a list of modules"),
    "a path outside": ({"modules": listed(("../other", TOP[0][1]), TOP[1])}, "'../other/sentence_bert_config.json'"),
    "an absolute path": ({"modules": listed(TOP[0], ("/etc", TOP[1][1]))}, "names a file outside itself"),
    "two poolings": ({"1_Pooling__config": {"pooling_mode_cls_token": True}}, "pools by cls [+] mean"),
    "no such pooling": ({"1_Pooling__config": {"pooling_mode": "median"}}, "pools by median"),
    "unknown of pooling": ({"1_Pooling__config": {"attention": 3}}, "1_Pooling/config.json: attention = 3"),
    "sparse by type": ({"config_sentence_transformers": {"model_type": "SparseEncoder"}}, "is a SparseEncoder"),
    "colbert by type": ({"config_sentence_transformers": {"model_type": "MultiVectorEncoder"}}, "MultiVectorEncoder"),
    "manhattan": ({"config_sentence_transformers": {"similarity_fn_name": "manhattan"}}, "manhattan"),
    "dot products": (
        {"config_sentence_transformers": {"similarity_fn_name": "dot"}, "modules": listed(*TOP)},
        "compares vectors by dot .* no Normalize module",
    ),
    "chat template": (
        {"sentence_bert_config": {"modality_config": {"message": {"method": "forward"}}}},
        "modality_config message",
    ),
    "query expansion": ({"sentence_bert_config": {"query_expansion": {"length": 32}}}, "query_expansion"),
    "another task": ({"sentence_bert_config": {"transformer_task": "fill-mask"}}, "'fill-mask'"),
    "unknown argument": ({"sentence_bert_config": {"config_args": {"rope": 2}}}, "config_args: rope = 2"),
    "unknown setting": ({"sentence_bert_config": {"lower_first": True}}, "lower_first = True"),
    "prompts": ({"config_sentence_transformers": {"prompts": {"query": 3}}}, "prompts are no texts"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_supported_is_refused_by_its_name(changed, case):
    files, reason = REFUSED[case]
    folder = changed(**files)
    for use in (settings_of, lambda folder: pretrained_tokenizer(str(folder))):
        with pytest.raises(InputError, match=reason) as caught:
            use(folder)
        assert "\n" not in str(caught.value)


def dense_folder(folder, **keys):
    layouts.labse(folder)
    write(folder / "2_Dense" / "config.json", layouts.read(folder / "2_Dense" / "config.json") | keys)
    return folder


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"activation_function": "custom.Swish"}, "activation_function custom.Swish is not supported"),
        ({"activation_function": "torch.load"}, "activation_function torch.load is not supported"),
        ({"module_input_name": "token_embeddings"}, "module_input_name token_embeddings"),
        ({"out_features": "many"}, "out_features must be a whole number above 0"),
        ({"gate": True}, "gate = True"),
    ],
)
def test_dense_layers_that_are_not_supported_are_refused(tmp_path, keys, reason):
    with pytest.raises(InputError, match=reason):
        settings_of(dense_folder(tmp_path / "dense", **keys))


def test_weights_of_a_dense_layer_that_are_missing_or_of_another_size(tmp_path):
    folder = dense_folder(tmp_path / "size", out_features=31)
    with pytest.raises(InputError, match=r"2_Dense/model\.safetensors: .*size mismatch"):
        embed(folder, TEXTS)
    folder = layouts.labse(tmp_path / "missing")
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"2_Dense has no model\.safetensors, the only format that is read"):
        embed(folder, TEXTS)


def test_a_classifier_and_an_encoder_decoder_without_an_encoder_of_its_own_are_refused(tmp_path):
    folder = layouts.bert(tmp_path / "cross")
    kinds = {"architectures": ["BertForSequenceClassification"]}
    write(folder / "config.json", layouts.read(folder / "config.json") | kinds)
    with pytest.raises(InputError, match=r"cross-encoder or classifier \(BertForSequenceClassification\)"):
        settings_of(folder)
    made = layouts.fast_tokenizer()
    made.save_pretrained(tmp_path / "bart")
    transformers.BartConfig(vocab_size=len(made)).save_pretrained(tmp_path / "bart")
    with pytest.raises(InputError, match="is an encoder-decoder of type bart; of such models the encoders of t5, mt5"):
        check_fit(settings_of(tmp_path / "bart"), 0)


def test_a_tokenizer_with_more_ids_than_the_embedding_has_rows_is_refused(changed):
    folder = changed()
    tokenizer = pretrained_tokenizer(str(folder))
    check_fit(settings_of(folder), tokenizer.largest_id)
    rows = layouts.read(folder / "config.json")["vocab_size"]
    assert tokenizer.largest_id == rows - 1
    more = transformers.AutoTokenizer.from_pretrained(folder)
    more.add_tokens(["[NEW]"])
    more.save_pretrained(folder)
    with pytest.raises(InputError, match=rf"gives ids up to {rows}, and its embedding has {rows} rows"):
        check_fit(settings_of(folder), pretrained_tokenizer(str(folder)).largest_id)


@pytest.mark.slow
def test_left_padding_with_cls_is_right_padding_in_the_export(tmp_path):
    """Positions of a BERT count from the start of the row, so left padding makes vectors depend on the batch."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = layouts.modules(layouts.bert(tmp_path / "left", padding_side="left"), pooling="cls")
    texts = [*TEXTS, *LONG]
    ours = DualEncoder.load(folder)
    vectors = ours.encode_queries(texts)
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    alone = np.concatenate([theirs.encode([text]) for text in texts])
    np.testing.assert_allclose(vectors, alone, rtol=0, atol=1e-5)
    assert np.abs(theirs.encode(texts) - alone).max() > 1e-3
    ours.save(tmp_path / "best")
    best = sentence_transformers.SentenceTransformer(str(tmp_path / "best"), device="cpu")
    np.testing.assert_allclose(best.encode(texts), vectors, rtol=0, atol=1e-5)


SETTINGS = {
    "lower_case": {"sentence_bert_config": {"do_lower_case": False}},
    "prompts_left_out": {"1_Pooling__config": {"include_prompt": True}},
    "left_truncation": {"tokenizer_config": {"truncation_side": "right"}},
    "truncate_dim": {"config_sentence_transformers": {"truncate_dim": None}},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_changes_vectors_so_that_equality_with_the_oracle_proves_it_is_read(name, tmp_path):
    folder = getattr(layouts, name)(tmp_path / "with")
    without = shutil.copytree(folder, tmp_path / "without")
    for file, keys in SETTINGS[name].items():
        path = without / f"{file.replace('__', '/')}.json"
        write(path, layouts.read(path) | keys)
    texts = [*TEXTS, *LONG]
    one, other = embed(folder, texts), embed(without, texts)
    assert one.shape != other.shape or np.abs(one - other).max() > 1e-3


def hub_cache(folder, root, name="me/st-hub"):
    """A hub cache that holds one model, as a download leaves it."""
    commit = "b" * 40
    model = root / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, model / "snapshots" / commit)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    return {**os.environ, "HF_HUB_CACHE": str(root), "HF_HUB_OFFLINE": "1"}


HUB = """
import json, sys
import huggingface_hub
fetched, download = [], huggingface_hub.hf_hub_download
huggingface_hub.hf_hub_download = lambda name, path, **options: fetched.append(path) or download(name, path, **options)
from hybridtune.config.fields import Encoder
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.folder import encoder_notices, model_digest, with_folder_settings
name, texts = sys.argv[1], json.loads(sys.argv[2])
encoder = with_folder_settings(Encoder(name=name))
vectors = DualEncoder.load(name).encode_queries(texts).tolist() if texts else []
found = {"settings": encoder.model_dump(mode="json"), "vectors": vectors, "notices": encoder_notices(encoder)}
print(json.dumps({**found, "digest": model_digest(encoder), "fetched": fetched}))
"""


def by_hub_name(env, name="me/st-hub", texts=TEXTS):
    done = subprocess.run(
        [sys.executable, "-c", HUB, name, json.dumps(texts)], env=env, capture_output=True, text=True, check=False
    )
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else done.stderr


@pytest.mark.slow
def test_a_hub_name_is_what_its_folder_is(tmp_path):
    folder = layouts.labse(tmp_path / "labse")
    prompts = {"prompts": {"query": QUERY, "document": PASSAGE}}
    file = folder / "config_sentence_transformers.json"
    write(file, layouts.read(file) | prompts)
    found = by_hub_name(hub_cache(folder, tmp_path / "hub"))
    settings = settings_of(folder).model_dump(mode="json")
    assert {**found["settings"], "name": ""} == {**settings, "name": ""}
    assert (settings["query_prefix"], settings["pooling"], settings["query_length"]) == (QUERY, "cls", 32)
    np.testing.assert_array_equal(np.float32(found["vectors"]), embed(folder, TEXTS))
    assert found["notices"] == []
    assert found["fetched"].count("modules.json") == found["fetched"].count("2_Dense/config.json") == 1


@pytest.mark.slow
def test_a_hub_name_that_is_not_there_is_one_line(tmp_path):
    env = hub_cache(layouts.bert(tmp_path / "bert"), tmp_path / "hub", "me/bert")
    [notice] = by_hub_name(env, "me/bert", texts=[])["notices"]
    assert "(no modules.json in the cache, and the hub could not be reached); assumed: pooling 'mean'" in notice
    assert "encoder me/other: no tokenizer there" in by_hub_name(env, "me/other")


@pytest.mark.slow
def test_a_hub_name_is_loaded_at_its_revision_and_its_commit_is_known(tmp_path):
    """What is loaded is that version's, not the branch's, which may have changed since."""
    env = hub_cache(layouts.labse(tmp_path / "labse"), tmp_path / "hub")
    model, commit = tmp_path / "hub" / "models--me--st-hub", "c" * 40
    older = shutil.copytree(model / "snapshots" / ("b" * 40), model / "snapshots" / commit)
    write(
        older / "sentence_bert_config.json", layouts.read(older / "sentence_bert_config.json") | {"max_seq_length": 7}
    )
    (model / "refs" / "v1").write_text(commit)
    lengths = {name: by_hub_name(env, name)["settings"]["query_length"] for name in ("me/st-hub", "me/st-hub@v1")}
    assert lengths == {"me/st-hub": 32, "me/st-hub@v1": 7}
    assert by_hub_name(env, f"me/st-hub@{commit}", texts=[])["settings"]["query_length"] == 7
    known = "import sys; from hybridtune.model.published import commit_of; print(*map(commit_of, sys.argv[1:]))"
    names = ["me/st-hub", "me/st-hub@v1", "tiny", str(tmp_path / "labse"), "me/other"]
    done = subprocess.run([sys.executable, "-c", known, *names], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["b" * 40, commit, "None", "None", "None"]


def test_a_revision_becomes_a_part_of_the_name_once(tmp_path):
    pinned = Encoder(name="me/model", revision="v1.0")
    assert pinned.name == "me/model@v1.0"
    assert Encoder.model_validate(pinned.model_dump()) == pinned


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"name": "{folder}", "revision": "v1"}, "is a folder, which has none; leave it out"),
        ({"name": "tiny", "revision": "v1"}, "`tiny` is built by the study, and has none"),
        ({"name": "me/model@v2", "revision": "v1"}, "holds another one; give one of the two"),
        ({"name": "me/model", "revision": "../../v1"}, "revision"),
        ({"name": "me/model", "revision": ""}, "revision"),
    ],
)
def test_a_revision_that_cannot_be_is_refused(tmp_path, given, why):
    given = {key: value.format(folder=tmp_path) for key, value in given.items()}
    with pytest.raises(InputError, match=re.escape(why)):
        check(Encoder, given, "encoder")


@pytest.mark.parametrize("name", ["{folder}@v1", "me/model@../../etc", "me/model@a..b", "me/model@", "me/model@a b"])
def test_a_name_with_what_is_no_revision_is_refused_before_anybody_is_asked(tmp_path, name):
    with pytest.raises(InputError, match=r"is a folder, which has no revision v1|is no revision; give a commit"):
        read_published(name.format(folder=tmp_path))


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("value", ["somebody/kernel", {"": "somebody/kernel:name"}])
def test_attention_by_code_from_the_hub_is_refused_before_it_is_fetched(tmp_path, key, value):
    """With the package `kernels`, transformers fetches and runs it, whatever trust_remote_code says."""
    folder = layouts.bert(tmp_path / "bert")
    write(folder / "config.json", layouts.read(folder / "config.json") | {key: value})
    with pytest.raises(InputError, match=r"its attention needs code of its own, .*trust_remote_code=true") as caught:
        DualEncoder.load(str(folder))
    assert "\n" not in str(caught.value)


def test_adapters_that_would_import_a_module_are_refused(tmp_path):
    folder = layouts.adapter_only(tmp_path / "adapter")
    file = folder / "adapter_config.json"
    write(file, layouts.read(file) | {"megatron_config": {"a": 1}, "megatron_core": "antigravity"})
    with pytest.raises(InputError, match="adapters of Megatron"):
        read_published(str(folder))


def test_the_digest_of_adapters_holds_their_base(tmp_path):
    folder = layouts.adapter_only(tmp_path / "adapter")
    before = model_digest(Encoder(name=str(folder)))
    file = Path(layouts.read(folder / "adapter_config.json")["base_model_name_or_path"]) / "config.json"
    write(file, layouts.read(file) | {"hidden_dropout_prob": 0.2})
    assert model_digest(Encoder(name=str(folder))) != before


def test_adapters_without_a_base_are_refused(tmp_path):
    folder = layouts.adapter_only(tmp_path / "adapter")
    file = folder / "adapter_config.json"
    write(file, layouts.read(file) | {"base_model_name_or_path": None})
    with pytest.raises(InputError, match=r"holds adapters .* does not say of which model; merge them by peft's"):
        settings_of(folder)
    write(file, layouts.read(file) | {"base_model_name_or_path": str(tmp_path / "gone")})
    with pytest.raises(InputError, match=r"is an adapter of .*gone, which is neither .* merge the two by peft"):
        embed(folder, TEXTS)
