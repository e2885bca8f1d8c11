"""How to use an exported model, as its card tells: in sentence-transformers, plain transformers and ONNX Runtime."""

from collections.abc import Sequence

from hybridtune.config import Encoder

CITATION = """@misc{elmahdy2024synergistic,
  title = {Synergistic Approach for Simultaneous Optimization of Monolingual, Cross-lingual, and Multilingual
           Information Retrieval},
  author = {Elmahdy, Adel and Lin, Sheng-Chieh and Ahmad, Amin},
  year = {2024},
  eprint = {2408.10536},
  archivePrefix = {arXiv}
}"""


def usage(encoder: Encoder, widths: Sequence[int], pooled_alone: bool = True) -> list[str]:
    """The lines of the card's section on use.

    Args:
        encoder: prefixes, lengths and pooling of the model.
        widths: at which its embeddings may be cut off; none: nowhere.
        pooled_alone: whether a transformer and its pooling give the vectors, and nothing follows.
    """
    plain = pooled_alone and encoder.pooling in ("mean", "cls")
    return [
        "## Use",
        *_sentence_transformers(encoder, widths),
        *(_transformers(encoder) if plain else []),
        *_onnx(encoder),
    ]


def _sentence_transformers(encoder: Encoder, widths: Sequence[int]) -> list[str]:
    lines = [
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        'model = SentenceTransformer("this folder")',
        'queries = model.encode(["..."], prompt_name="query")',
        'passages = model.encode(["..."], prompt_name="passage")',
        "scores = model.similarity(queries, passages)",
        "```",
    ]
    if encoder.query_length < encoder.passage_length:
        lines += [
            f"In training, queries were cut at {encoder.query_length} tokens and passages at {encoder.passage_length}; "
            f"sentence-transformers cuts both at {encoder.passage_length}.",
        ]
    if widths:
        shown = ", ".join(map(str, sorted(widths)))
        lines += [
            "",
            f"Its embeddings may be cut off at {shown} of their coordinates (Matryoshka):",
            "```python",
            f'model = SentenceTransformer("this folder", truncate_dim={max(widths)})',
            'queries = model.encode(["..."], prompt_name="query", normalize_embeddings=True)',
            "```",
        ]
    return [*lines, ""]


def _transformers(encoder: Encoder) -> list[str]:
    pool = "hidden[:, 0]" if encoder.pooling == "cls" else "(hidden * held).sum(1) / held.sum(1)"
    held = [] if encoder.pooling == "cls" else ['held = batch["attention_mask"][:, :, None]']
    return [
        "Plain transformers:",
        "```python",
        "import torch",
        "from transformers import AutoModel, AutoTokenizer",
        "",
        'tokenizer, model = AutoTokenizer.from_pretrained("this folder"), AutoModel.from_pretrained("this folder")',
        *_batch(encoder, "pt"),
        "with torch.no_grad():",
        "    hidden = model(**batch).last_hidden_state",
        *held,
        f"queries = torch.nn.functional.normalize({pool}, dim=-1)  # passages: {encoder.passage_prefix!r}",
        "```",
        "",
    ]


def _onnx(encoder: Encoder) -> list[str]:
    return [
        "ONNX Runtime, after `hybridtune export FOLDER --onnx`:",
        "```python",
        "import onnxruntime",
        "from transformers import AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("this folder")',
        'session = onnxruntime.InferenceSession("this folder/onnx/model.onnx")',
        *_batch(encoder, "np"),
        '(queries,) = session.run(["sentence_embedding"], dict(batch))',
        "```",
        "",
    ]


def _batch(encoder: Encoder, tensors: str) -> list[str]:
    return [
        f'texts = [{encoder.query_prefix!r} + text for text in ["..."]]',
        f'batch = tokenizer(texts, padding=True, truncation=True, return_tensors="{tensors}")',
    ]
