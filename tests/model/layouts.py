"""Encoders as they are published, built on the spot with random weights: one maker a layout.

Every maker writes a folder that sentence-transformers opens, in the layout of real models of that family, and returns
it. They are small: two layers of width 16 or 32, and a vocabulary learnt from the texts below.
"""

import json
from pathlib import Path

import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "the minister opened the bridge",
    "sw",
    "Ein NEUER Hafen wurde in Bremen Eröffnet!",
    "мост открыт, Мост ОТКРЫТ",
    "桥又开放了 สะพานเปิด पुल खुला",
    "é e\u0301 ½ A b",
    "Bare words and 12 numbers 3.5 in one line, with marks: (a) -- b; c?",
]
LONG = [" ".join([text] * 30) for text in TEXTS]
QUERY, PASSAGE = "find the text: ", "Read THIS: "
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


def seeded(make):
    """Build with the same random weights every time, whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return make()


def write(file: Path, content) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def read(file: Path):
    return json.loads(file.read_text(encoding="utf-8"))


def fast_tokenizer(first="[CLS]", last="[SEP]", lower=True, kind="wordpiece", **options):
    """A tokenizer learnt from the texts; ``first`` and ``last``, where given, enclose every text."""
    lowered = [normalizers.Lowercase()] if lower else []
    if kind == "wordpiece":
        backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
        backend.normalizer = normalizers.Sequence([normalizers.NFC(), *lowered])
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=220, special_tokens=SPECIAL, show_progress=False)
    else:
        backend = tokenizers.Tokenizer(models.Unigram())
        backend.normalizer = normalizers.Sequence([normalizers.NFKC(), *lowered])
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=200, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False
        )
    backend.train_from_iterator([*TEXTS, QUERY, PASSAGE], trainer)
    around = [part for part in (first, "$A", last) if part]
    special = [(token, backend.token_to_id(token)) for token in (first, last) if token]
    backend.post_processor = processors.TemplateProcessing(single=" ".join(around), special_tokens=special)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]", "cls_token": first, "sep_token": last}
    named = {key: token for key, token in names.items() if token}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, **{"model_max_length": 40, **named, **options}
    )


def modules(folder, *others, transformer="", pooling="mean", prompts=None, length=32, bert=None, model=None, pool=None):
    """The files of sentence-transformers around the transformer in the folder."""
    kinds = [(transformer, "Transformer"), ("1_Pooling", "Pooling")]
    kinds += [(f"{index}_{kind}", kind) for index, kind in enumerate(others, 2)]
    types = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    write(folder / "modules.json", types)
    settings = {"max_seq_length": length, "do_lower_case": False, **(bert or {})}
    write(folder / transformer / "sentence_bert_config.json", settings)
    old = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    modes = {f"pooling_mode_{name}": name.removesuffix("_token").removesuffix("_tokens") == pooling for name in old}
    write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, **modes, **(pool or {})})
    settings = {"prompts": prompts or {}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    write(folder / "config_sentence_transformers.json", settings | (model or {}))
    return folder


def dense(folder, index, into, out, activation="activation.Tanh", bias=True):
    """A Dense module's folder."""
    path = folder / f"{index}_Dense"
    settings = {"in_features": into, "out_features": out, "bias": bias}
    write(path / "config.json", settings | {"activation_function": f"torch.nn.modules.{activation}"})
    layer = seeded(lambda: torch.nn.Linear(into, out, bias=bias))
    save_file(
        {f"linear.{name}": value.detach() for name, value in layer.named_parameters()}, path / "model.safetensors"
    )


def transformer(folder, kind, config, tokenizer):
    seeded(lambda: kind(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def bert_config(tokenizer, **more):
    options = {**SIZE, "vocab_size": len(tokenizer), "max_position_embeddings": 48, "pad_token_id": 0, **more}
    return transformers.BertConfig(**options)


def bert(folder, **tokenizer):
    made = fast_tokenizer(**tokenizer)
    return transformer(folder, transformers.BertModel, bert_config(made), made)


def bert_layout(*others, tokenizer=None, **options):
    """The maker of a BERT with other modules after its pooling."""
    return lambda folder: modules(bert(folder, **(tokenizer or {})), *others, **options)


PROMPTS = {"query": QUERY, "document": PASSAGE}
LEFT_OUT = {"include_prompt": False}
WEIGHTED = {"pooling_mode": "weightedmean", "embedding_dimension": 32}

bert_mean = bert_layout("Normalize", prompts=PROMPTS)
bert_cls = bert_layout("Normalize", pooling="cls", prompts=PROMPTS)
lower_case = bert_layout("Normalize", tokenizer={"lower": False}, bert={"do_lower_case": True}, prompts=PROMPTS)
left_truncation = bert_layout("Normalize", tokenizer={"truncation_side": "left"}, prompts=PROMPTS, length=16)
prompts_pooled = bert_layout(prompts=PROMPTS, pool={"include_prompt": True})
prompts_left_out = bert_layout(prompts=PROMPTS, pool=LEFT_OUT)
prompts_left_out_weighted = bert_layout("Normalize", prompts=PROMPTS | {"document": ""}, pool=LEFT_OUT | WEIGHTED)
truncate_dim = bert_layout("Normalize", model={"truncate_dim": 8})
null_length = bert_layout("Normalize", length=None)
weighted_mean = bert_layout("Normalize", pooling="weightedmean", prompts=PROMPTS)
largest = bert_layout(pooling="max", prompts=PROMPTS)
mean_sqrt_len = bert_layout("Normalize", pooling="mean_sqrt_len", prompts=PROMPTS)


def labse(folder):
    dense(bert(folder), 2, 32, 32)
    return modules(folder, "Dense", "Normalize", pooling="cls")


def distiluse(folder):
    made = fast_tokenizer(lower=False)
    config = transformers.DistilBertConfig(
        vocab_size=len(made), dim=32, n_layers=2, n_heads=2, hidden_dim=48, max_position_embeddings=48, pad_token_id=0
    )
    dense(transformer(folder, transformers.DistilBertModel, config, made), 2, 32, 20)
    return modules(folder, "Dense")


def embedding_gemma(folder):
    made = fast_tokenizer("[CLS]", "[SEP]", lower=False, kind="unigram")
    config = transformers.Gemma3TextConfig(
        **SIZE,
        **{"vocab_size": len(made), "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 48},
        **{"sliding_window": 8, "use_bidirectional_attention": True, "pad_token_id": 0},
    )
    transformer(folder, transformers.Gemma3TextModel, config, made)
    dense(folder, 2, 32, 64, "linear.Identity", bias=False)
    dense(folder, 3, 64, 32, "linear.Identity", bias=False)
    return modules(folder, "Dense", "Dense", "Normalize", prompts={**PROMPTS, "Classification": "task: "})


def t5_config(kind, tokenizer):
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "num_decoder_layers": 1}
    return kind(vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=3, decoder_start_token_id=0, **sizes)


def sentence_t5(folder):
    made = fast_tokenizer(None, "[SEP]", lower=False, kind="unigram")
    transformer(folder, transformers.T5EncoderModel, t5_config(transformers.T5Config, made), made)
    dense(folder, 2, 32, 24, "linear.Identity", bias=False)
    return modules(folder, "Dense", "Normalize")


def mt5(folder):
    made = fast_tokenizer(None, "[SEP]", lower=False, kind="unigram")
    config = t5_config(transformers.MT5Config, made)
    return modules(transformer(folder, transformers.MT5Model, config, made), prompts=PROMPTS)  # with its decoder


def xlm_roberta(folder):
    made = fast_tokenizer(lower=False, kind="unigram")
    config = transformers.XLMRobertaConfig(
        vocab_size=len(made), max_position_embeddings=50, pad_token_id=0, type_vocab_size=1, **SIZE
    )
    return modules(transformer(folder, transformers.XLMRobertaModel, config, made), "Normalize", prompts=PROMPTS)


def modernbert(folder):
    made = fast_tokenizer(lower=False)
    config = transformers.ModernBertConfig(
        **SIZE,
        **{"vocab_size": len(made), "max_position_embeddings": 48, "pad_token_id": 0, "local_attention": 8},
        **{"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3},
    )
    return modules(transformer(folder, transformers.ModernBertModel, config, made), "Normalize", pooling="cls")


def mpnet(folder):
    made = fast_tokenizer()
    config = transformers.MPNetConfig(vocab_size=len(made), max_position_embeddings=50, pad_token_id=0, **SIZE)
    return modules(transformer(folder, transformers.MPNetModel, config, made), "Normalize")


def deberta_v2(folder):
    made = fast_tokenizer(lower=False, kind="unigram")
    config = transformers.DebertaV2Config(
        **SIZE,
        **{"vocab_size": len(made), "max_position_embeddings": 48, "pad_token_id": 0, "type_vocab_size": 0},
        **{"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"], "share_att_key": True},
        **{"position_biased_input": False},
    )
    return modules(transformer(folder, transformers.DebertaV2Model, config, made), prompts=PROMPTS)


def qwen3_last(folder):
    made = fast_tokenizer(None, "[SEP]", lower=False, kind="unigram", padding_side="left")
    config = transformers.Qwen3Config(
        **SIZE,
        **{"vocab_size": len(made), "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 48},
        pad_token_id=0,
    )
    transformer(folder, transformers.Qwen3Model, config, made)
    return modules(folder, "Normalize", pooling="lasttoken", prompts={"query": QUERY, "document": ""})


def xlnet(folder):
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    made = fast_tokenizer(None, "[SEP]", False, "unigram", padding_side="left", model_input_names=inputs)
    backend = made.backend_tokenizer
    ends = [("[SEP]", backend.token_to_id("[SEP]")), ("[CLS]", backend.token_to_id("[CLS]"))]
    backend.post_processor = processors.TemplateProcessing(single="$A:0 [SEP]:0 [CLS]:2", special_tokens=ends)
    config = transformers.XLNetConfig(vocab_size=len(made), d_model=32, n_layer=2, n_head=2, d_inner=48, pad_token_id=0)
    return modules(transformer(folder, transformers.XLNetModel, config, made), length=None)


def half_precision(folder):
    bert_mean(folder)
    file = folder / "model.safetensors"
    save_file({name: value.half() for name, value in load_file(file).items()}, file, {"format": "pt"})
    write(folder / "config.json", {**read(folder / "config.json"), "dtype": "float16"})
    return folder


def sharded(folder):
    bert_mean(folder)
    model = transformers.BertModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    assert (folder / "model.safetensors.index.json").is_file()
    return folder


def no_length(folder):
    modules(bert(folder), "Normalize")
    (folder / "sentence_bert_config.json").unlink()
    return folder


def old_layout(folder):
    bert(folder / "0_Transformer")
    return modules(folder, transformer="0_Transformer", pooling="cls")


def adapter_only(folder):
    import peft

    base = bert(folder.with_name(f"{folder.name}-base"))
    config = peft.LoraConfig(r=2, lora_alpha=8, target_modules=["query", "value"], init_lora_weights=False)
    adapted = seeded(lambda: peft.get_peft_model(transformers.AutoModel.from_pretrained(base), config))
    adapted.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return modules(folder, "Normalize", pooling="cls")


REMOTE_CODE = """
from transformers import BertConfig, BertModel


class DoubledConfig(BertConfig):
    model_type = "doubled-bert"


class DoubledModel(BertModel):
    config_class = DoubledConfig

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.last_hidden_state = output.last_hidden_state * 2 + 1
        return output
"""


def remote_code(folder):
    modules(bert(folder), prompts=PROMPTS)
    (folder / "doubled.py").write_text(REMOTE_CODE, encoding="utf-8")
    kinds = {"AutoConfig": "doubled.DoubledConfig", "AutoModel": "doubled.DoubledModel"}
    changes = {"model_type": "doubled-bert", "auto_map": kinds}
    write(folder / "config.json", read(folder / "config.json") | changes)
    return folder


def written_by_version_6(folder):
    from sentence_transformers import SentenceTransformer

    source = labse(folder.with_name(f"{folder.name}-old"))
    SentenceTransformer(str(source), device="cpu").save_pretrained(str(folder))
    return folder


LAYOUTS = [
    *("bert_mean", "bert_cls", "labse", "distiluse", "embedding_gemma", "sentence_t5", "mt5", "xlm_roberta"),
    *("modernbert", "mpnet", "deberta_v2", "qwen3_last", "xlnet", "half_precision", "sharded", "lower_case"),
    *("left_truncation", "prompts_pooled", "prompts_left_out", "prompts_left_out_weighted", "truncate_dim"),
    *("null_length", "no_length", "old_layout", "adapter_only", "weighted_mean", "largest", "mean_sqrt_len"),
    *("remote_code", "written_by_version_6"),
]
