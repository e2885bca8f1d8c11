"""Tiny models with random weights of the real translation architectures, in folders as they are published."""

import json
import random

import sentencepiece
import tokenizers
import torch
import transformers
from tokenizers import decoders, normalizers, pre_tokenizers
from transformers.models.m2m_100 import tokenization_m2m_100

from hybridtune.data import newsroom

LANGUAGES = ("en", "sw", "ha", "de")
PIECES = 300
WEIGHTS = 20.0  # times those of the initialisation: the next token depends on the text, and no two are as likely


def texts(count=300, seed=0):
    """Return different sentences of the embedded corpus, in a seeded order."""
    found = [text for row in newsroom.generate("dev") for text in row["passages"].values()]
    distinct = sorted({sentence.strip() for text in found for sentence in text.split(". ") if len(sentence) > 12})
    random.Random(seed).shuffle(distinct)
    return distinct[:count]


def m2m(folder, seed=0, **size):
    """M2M-100: forced first token ``__xx__``."""
    pieces = _sentencepiece(folder / "sentencepiece.bpe.model", "bpe")
    words = ["<s>", "<pad>", "</s>", "<unk>", *pieces[3:]]
    codes = tokenization_m2m_100.FAIRSEQ_LANGUAGE_CODES["m2m100"]
    _write(folder / "vocab.json", {word: n for n, word in enumerate(words)})
    special = {"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    languages = {"additional_special_tokens": [f"__{code}__" for code in codes]}
    _write(folder / "special_tokens_map.json", special | languages)
    named = {"language_codes": "m2m100", "num_madeup_words": 8, "tokenizer_class": "M2M100Tokenizer"}
    _write(folder / "tokenizer_config.json", {"src_lang": None, "tgt_lang": None} | special | named)
    config = transformers.M2M100Config(
        vocab_size=len(words) + len(codes) + 8, decoder_start_token_id=2, **_bart_size(**size)
    )
    return _save(folder, transformers.M2M100ForConditionalGeneration, config, seed)


def nllb(folder, seed=0, **size):
    """NLLB-200: M2M-100's layers, FLORES codes."""
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    backend.train_from_iterator(texts(), tokenizers.trainers.BpeTrainer(vocab_size=PIECES, special_tokens=special))
    learned = json.loads(backend.to_str())["model"]
    tokenizer = transformers.NllbTokenizer(vocab=learned["vocab"], merges=[tuple(pair) for pair in learned["merges"]])
    tokenizer.save_pretrained(folder)
    config = transformers.M2M100Config(vocab_size=len(tokenizer), decoder_start_token_id=2, **_bart_size(**size))
    return _save(folder, transformers.M2M100ForConditionalGeneration, config, seed)


def marian(folder, seed=0, targets=(), direction=("en", "sw"), **size):
    """OPUS-MT: one direction, or several targets as ``>>xxx<<``."""
    pieces = _sentencepiece(folder / "source.spm", "unigram")
    (folder / "target.spm").write_bytes((folder / "source.spm").read_bytes())
    words = ["</s>", "<unk>", *pieces[3:], *(f">>{code}<<" for code in targets), "<pad>"]
    _write(folder / "vocab.json", {word: n for n, word in enumerate(words)})
    named = {"source_lang": direction[0], "target_lang": direction[1], "tokenizer_class": "MarianTokenizer"}
    _write(folder / "tokenizer_config.json", {"model_max_length": 512, "separate_vocabs": False} | named)
    pad = len(words) - 1
    config = transformers.MarianConfig(
        vocab_size=len(words),
        pad_token_id=pad,
        eos_token_id=0,
        forced_eos_token_id=0,
        decoder_start_token_id=pad,
        static_position_embeddings=True,
        **_bart_size(**size),
    )
    return _save(folder, transformers.MarianMTModel, config, seed, bad_words_ids=[[pad]])


def taught(folder, steps=200):
    """A small OPUS-MT that was taught to end its texts: it answers with about the first six pieces of a text."""
    marian(folder, targets=("swa", "hau"), width=64, layers=1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.MarianMTModel.from_pretrained(folder)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.div_(WEIGHTS)
    sentences, draw = texts(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(steps):  # in eval mode: without dropout
        chosen = [sentences[n] for n in torch.randint(0, len(sentences), (32,), generator=draw).tolist()]
        given = [f">>{('swa', 'hau')[n % 2]}<< {text}" for n, text in enumerate(chosen)]
        batch = tokenizer(given, padding=True, truncation=True, max_length=16, return_tensors="pt")
        labels = torch.full((32, 7), -100)
        for n, row in enumerate(batch["input_ids"].tolist()):
            pieces = [piece for piece in row[1:7] if piece not in (0, tokenizer.pad_token_id)]
            pieces = [*pieces[:: -1 if n % 2 else 1], 0]  # the other way round in the second language
            labels[n, : len(pieces)] = torch.tensor(pieces)
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():  # a decoder starts with it, and Marian's with nothing
            model.get_input_embeddings().weight[tokenizer.pad_token_id] = 0
    model.save_pretrained(folder)
    return folder


def madlad(folder, seed=0, languages=LANGUAGES, layers=2, width=32):
    """MADLAD-400: T5 1.1 with ``<2xx>`` before the text; its decoder does not start with the padding token."""
    special = ["<unk>", "<s>", "</s>", *(f"<2{code}>" for code in languages)]
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(vocab_size=PIECES, special_tokens=special, unk_token="<unk>")
    backend.train_from_iterator(texts(), trainer)
    end = ("</s>", backend.token_to_id("</s>"))
    backend.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[end])
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    named = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<s>"}
    _write(folder / "tokenizer_config.json", named | {"tokenizer_class": "T5Tokenizer", "extra_ids": 0})
    config = transformers.T5Config(
        vocab_size=backend.get_vocab_size(),
        d_model=width,
        d_kv=width // 2,
        d_ff=2 * width,
        num_layers=layers,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=0,
    )
    return _save(folder, transformers.T5ForConditionalGeneration, config, seed)


def _bart_size(layers=2, width=32, heads=2, positions=256):
    sides = {
        f"{side}_{name}": n
        for side in ("encoder", "decoder")
        for name, n in (("layers", layers), ("attention_heads", heads), ("ffn_dim", 4 * width))
    }
    return {"d_model": width, "max_position_embeddings": positions} | sides


def _sentencepiece(file, kind):
    file.parent.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts()),
        model_prefix=str(file.with_suffix("")),
        model_type=kind,
        vocab_size=PIECES,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    file.with_suffix(".vocab").unlink()
    file.with_suffix(".model").rename(file)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(file))
    return [pieces.id_to_piece(n) for n in range(pieces.get_piece_size())]


def _write(file, content):
    file.write_text(json.dumps(content), encoding="utf-8")


def _save(folder, model_class, config, seed, **generation):
    torch.manual_seed(seed)
    model = model_class(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(WEIGHTS)
    for name, value in generation.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    return folder
