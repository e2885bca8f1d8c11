"""ONNX: a model folder's encoder as ``onnx/model.onnx``, and the proof that it embeds as torch does."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hybridtune.errors import HybridtuneError, InputError
from hybridtune.metrics.arrays import Float32, Int32, Int64
from hybridtune.model.backbone import load_backbone, token_types
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.heads import HEADS
from hybridtune.model.published import read_published

FILE = "onnx/model.onnx"  # where sentence-transformers and optimum look for it in a model folder
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
    """What the graph computes: [B, T] ids and mask to [B, T, D] hidden states and [B, D] unit vectors."""

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
    held = mask[:, :, None].to(hidden.dtype)  # [B, T, 1]
    if mode == "max":
        return hidden.masked_fill(held == 0, -torch.inf).amax(1)
    position = mask.cumsum(1)[:, :, None] * held  # [B, T, 1], from 1; 0 where there is padding
    if mode == "cls":
        held = (position == 1).to(hidden.dtype)
    elif mode == "lasttoken":
        held = (position == position.amax(1, keepdim=True)).to(hidden.dtype)
    elif mode == "weightedmean":
        held = position
    count = held.sum(1)
    return (hidden * held).sum(1) / (count.sqrt() if mode == "mean_sqrt_len" else count)


def check_onnx() -> None:
    """See that what the export needs is installed.

    Raises:
        InputError: it is not.

    Example: see `write_onnx`.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"--onnx needs the packages onnx, onnxscript and onnxruntime ({error}): pip install 'hybridtune[onnx]'"
        ) from None


def write_onnx(model: DualEncoder, source: str, trust_remote_code: bool, file: Path, opset: int | None = None) -> int:
    """Write an encoder as an ONNX graph with free batch size and length.

    Args:
        model: the encoder; its weights, pooling and padding are taken.
        source: the model folder that it was loaded from.
        trust_remote_code: whether the folder's own code may run.
        file: to write, in an existing folder; weights over 2 GB go beside it.
        opset: of the graph, 18 to 23; None: torch's choice.

    Returns:
        the opset that was written.

    Raises:
        InputError: the encoder needs more than ids and a mask.
        HybridtuneError: it computes what torch cannot export.

    Example:
        >>> write_onnx(DualEncoder.load("best"), "best", False, Path("best/onnx/model.onnx"))  # doctest: +SKIP
    """
    import onnx

    if not model.pools_prompts:
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
    with _quiet():
        try:
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
    opsets = {part.domain: part.version for part in onnx.load(file, load_external_data=False).opset_import}
    return int(opsets[""])


def sample_texts() -> list[str]:
    """Return made-up texts in several scripts, from none to more tokens than an encoder takes.

    Example: see `write_onnx`.
    """
    return [" ".join([text] * times) for times in _TIMES for text in _TEXTS]


def largest_difference(model: DualEncoder, file: Path, rows: Sequence[Int32]) -> float:
    """Return how far an ONNX graph's embeddings are from the encoder's.

    The graph is asked in padded batches, and for some texts alone.

    Args:
        model: the encoder.
        file: the graph.
        rows: token ids of at least one text.

    Returns:
        the largest difference of two coordinates; infinite if one is no number.

    Raises:
        HybridtuneError: the graph does not run.

    Example: see `write_onnx`.
    """
    largest = 0.0
    batches = [*(rows[at : at + _BATCH] for at in range(0, len(rows), _BATCH)), *([row] for row in rows[::3])]
    for batch, found in zip(batches, _embedded(file, batches, model.pad_id), strict=True):
        with torch.no_grad():
            expected = model.embed(batch).cpu().numpy()  # [B, D]
        apart = float(np.abs(found - expected).max())
        largest = max(largest, apart if np.isfinite(apart) else np.inf)
    return largest


def _embedded(file: Path, batches: Sequence[Sequence[Int32]], pad_id: int) -> list[Float32]:
    """What a graph makes of batches: [B, D] each."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it has to say is in the error
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        inputs = (dict(zip(_INPUTS, _padded(batch, pad_id), strict=True)) for batch in batches)
        return [session.run([_OUTPUTS[1]], given)[0] for given in inputs]
    except Exception as error:  # the classes of ONNX Runtime's errors have no public base
        raise HybridtuneError(f"ONNX Runtime cannot run {file}: {' '.join(str(error).split())[:200]}") from error


def _padded(rows: Sequence[Int32], pad_id: int) -> tuple[Int64, Int64]:
    """Ids and mask [B, T] of a batch, padded on the right to its longest row."""
    ids = np.full((len(rows), max(map(len, rows))), pad_id, np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that are not there and names it does not use."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
