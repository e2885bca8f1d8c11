"""ONNX: a model folder's encoder as ``onnx/model.onnx``, and the proof that it embeds as torch does."""

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from hybridtune.errors import HybridtuneError, InputError, one_line
from hybridtune.metrics.arrays import Float32, Int32
from hybridtune.model.backbone import load_backbone, token_types
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.heads import HEADS
from hybridtune.model.published import read_published

FILE = "onnx/model.onnx"  # sentence-transformers and optimum look for it there
INT8_FILE = "onnx/model_int8.onnx"
TOLERANCE = 1e-4  # largest difference of an embedding's coordinates that passes for equal
_INPUTS = ("input_ids", "attention_mask")
_OUTPUTS = ("last_hidden_state", "sentence_embedding")  # sentence-transformers and optimum take the first, by its name
_PROTOBUF_LIMIT = 2**31 - 2**24  # bytes of weights over which they go into a file beside the graph
_BATCH = 8
_TEXTS = (  # made up, in scripts that differ in how they are cut into tokens
    "The ferry to the island leaves at noon.",
    "Η γέφυρα άνοιξε ξανά.",
    "Мост снова открыт для движения.",
    "افتتح الجسر من جديد",
    "פתחו את הגשר מחדש",
    "पुल फिर से खुल गया है",
    "สะพานเปิดใช้อีกครั้งแล้ว",
    "桥又开放了",
    "橋が再び開通した",
    "다리가 다시 열렸다",
    "ድልድዩ እንደገና ተከፈተ",
    "თბილისში ხიდი გაიხსნა",
    "Cầu đã mở lại, phà nghỉ chạy!",
    "a",
    "",
)
_TIMES = (1, 1, 1, 3, 1, 7, 1, 60)  # how often a text is repeated: short and cut ones share batches


class _Exported(nn.Module):
    """The module of the graph: [B, T] ids and mask to [B, T, D] hidden states and [B, D] unit vectors."""

    def __init__(self, backbone: Any, encoder: DualEncoder) -> None:
        super().__init__()
        self.backbone = backbone
        self.served = encoder.served
        self.pooling = encoder.pooling
        self.heads = encoder.heads  # so that the exporter finds their weights

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden, self.served(_pooled(hidden, attention_mask, self.pooling))


def _pooled(hidden: Tensor, mask: Tensor, mode: str) -> Tensor:
    """Pool padded token vectors, [B, T, H] to [B, H], for rows that are padded on either side; see `pool`."""
    weights = mask[:, :, None].to(hidden.dtype)  # [B, T, 1]
    if mode == "max":
        return hidden.masked_fill(weights == 0, -torch.inf).amax(1)
    position = mask.cumsum(1)[:, :, None] * weights  # [B, T, 1], from 1; 0 where there is padding
    if mode == "cls":
        weights = (position == 1).to(hidden.dtype)
    elif mode == "lasttoken":
        weights = (position == position.amax(1, keepdim=True)).to(hidden.dtype)
    elif mode == "weightedmean":
        weights = position
    count = weights.sum(1)
    return (hidden * weights).sum(1) / (count.sqrt() if mode == "mean_sqrt_len" else count)


def check_onnx() -> None:
    """Raise an InputError where a package that the export needs is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"--onnx needs the packages onnx, onnxscript and onnxruntime ({error}): pip install 'hybridtune[onnx]'"
        ) from None


def write_onnx(model: DualEncoder, source: str, trust_remote_code: bool, file: Path, opset: int | None = None) -> int:
    """Write an encoder that was loaded from ``source`` as an ONNX graph with free batch size and length.

    Args:
        model: the encoder.
        source: its model folder or hub name.
        trust_remote_code: whether its own code may run.
        file: to write, in an existing folder; weights over 2 GB go beside it.
        opset: of the graph, 18 to 23; None: torch's choice. What is written is returned.

    Raises:
        InputError: the encoder needs more than ids and a mask.
        HybridtuneError: it computes what torch cannot export.
    """
    import onnx

    if not model.published.include_prompt:
        raise InputError(
            f"{source}: leaves prompts out of the pooling (include_prompt), which a graph of ids and mask cannot know: "
            "such models are not exported to ONNX"
        )
    # Loaded anew: the encoder's own attention is for packed texts, which other programs do not have.
    published = read_published(source)
    backbone = load_backbone(published, trust_remote_code)
    if token_types(published, backbone.config, trust_remote_code):
        raise InputError(f"{source}: a {backbone.config.model_type} needs token types, which the graph is not given")
    backbone.pooler = None
    state = {name: value for name, value in model.plain_state().items() if not name.startswith(HEADS)}
    backbone.load_state_dict(state)
    ids = torch.full((2, 7), (model.pad_id + 1) % backbone.config.vocab_size)  # [B, T]
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    free = {0: "batch", 1: "tokens"}
    size = sum(weight.nbytes for weight in backbone.state_dict().values())
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the exporter's remarks on missing packages and unused names
    try:
        with warnings.catch_warnings(action="ignore"):
            torch.onnx.export(
                _Exported(backbone, model).eval(),
                (ids, mask),
                str(file),
                input_names=_INPUTS,
                output_names=_OUTPUTS,
                dynamic_shapes=dict.fromkeys(_INPUTS, free),
                opset_version=opset,
                external_data=size > _PROTOBUF_LIMIT,
                dynamo=True,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise HybridtuneError(f"torch cannot export {type(backbone).__name__} to ONNX: {reason}") from error
    finally:
        logging.disable(before)
    opsets = {part.domain: part.version for part in onnx.load(file, load_external_data=False).opset_import}
    return int(opsets[""])


def sample_texts() -> list[str]:
    """Return made-up texts in several scripts, from none to more tokens than an encoder takes."""
    return [" ".join([text] * times) for times in _TIMES for text in _TEXTS]


def largest_difference(model: DualEncoder, file: Path, rows: Sequence[Int32]) -> float:
    """Return the largest difference of two coordinates of a graph's vectors and the encoder's; infinite for a NaN.

    The graph runs on padded batches of the rows, of which there is at least one, and on some alone.

    Raises:
        HybridtuneError: the graph does not run.
    """
    largest = 0.0
    batches = [*(rows[at : at + _BATCH] for at in range(0, len(rows), _BATCH)), *([row] for row in rows[::3])]
    with torch.no_grad():
        vectors = [model.embed(batch).cpu().numpy() for batch in batches]  # [B, D] each
    for found, expected in zip(run_graph(file, batches, model.pad_id), vectors, strict=True):
        apart = float(np.abs(found - expected).max())
        largest = max(largest, apart if np.isfinite(apart) else np.inf)
    return largest


def run_graph(file: Path, batches: Iterable[Sequence[Int32]], pad_id: int) -> Iterator[Float32]:
    """Yield the vectors [B, D] that a graph gives for each batch of rows of token ids, padded.

    Raises:
        HybridtuneError: the graph does not run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it has to say is in the error
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        for batch in batches:
            texts = [torch.from_numpy(row.astype(np.int64)) for row in batch]
            ids = pad_sequence(texts, batch_first=True, padding_value=pad_id)  # [B, T]
            mask = pad_sequence([torch.ones_like(text) for text in texts], batch_first=True)  # [B, T]
            yield session.run([_OUTPUTS[1]], dict(zip(_INPUTS, (ids.numpy(), mask.numpy()), strict=True)))[0]
    except Exception as error:  # the classes of ONNX Runtime's errors have no public base
        raise HybridtuneError(f"ONNX Runtime cannot run {file}: {' '.join(str(error).split())[:200]}") from error


def write_int8(file: Path, new: Path) -> None:
    """Write a graph again with its weights in eight bits; activations are brought to eight while it runs (dynamic).

    Weights are unsigned, a scale for each column: the products of signed ones add up to more than CPUs without VNNI
    hold, and what the graph loses would be another thing on each machine.

    Raises:
        HybridtuneError: ONNX Runtime cannot.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # advice to prepare the graph, which the exporter has done
    try:
        quantize_dynamic(file, new, per_channel=True, weight_type=QuantType.QUInt8)
    except Exception as error:  # as above
        raise HybridtuneError(f"ONNX Runtime cannot bring {file} to int8: {one_line(error)[:200]}") from error
    finally:
        logging.disable(before)
