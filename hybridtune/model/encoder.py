"""DualEncoder: one transformer for queries and passages; texts or token ids in, vectors out.

`folder` says how a model is used and writes one again; `packing` lets texts of all lengths share a forward.
"""

import itertools
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridtune.config.fields import Encoder
from hybridtune.config.training import Train
from hybridtune.config.validation import check
from hybridtune.metrics.arrays import Float32, Int32
from hybridtune.model import adapters, packing
from hybridtune.model.backbone import load_backbone, token_types
from hybridtune.model.folder import check_fit, save_folder, training_pairs_of, with_folder_settings
from hybridtune.model.heads import HEADS, DenseHead, load_heads, pool
from hybridtune.model.packing import TokenRows
from hybridtune.model.precision import native_half
from hybridtune.model.published import TRAINING_TEXTS, Published, Repository, read_published
from hybridtune.model.tokenizer import Tokenizer, pretrained_tokenizer
from hybridtune.model.transfer import Fetch

BATCH_TOKENS = 4096  # padded tokens encoded at once: stays in a core's caches
BATCH_TOKENS_GPU = 65536  # fills a card with a small model, and is far from its memory
_BATCHES_AHEAD = {"cuda": 2}  # by device: one that it computes, and the next
_SAME = 1e-4  # packed and padded embeddings of one text differ by less, or the model is not packed


@dataclass(frozen=True)
class _Batch:
    """Texts of a block that a device encodes, and where their vectors go."""

    vectors: Float32  # [n, D] of the block
    chosen: list[int]  # rows of it
    found: Fetch
    is_last: bool  # of the block

    def written(self) -> Iterator[Float32]:
        """Write the vectors; yields the block where this was its last batch."""
        self.vectors[self.chosen] = self.found.result().numpy()
        if self.is_last:
            yield self.vectors


class DualEncoder(nn.Module):
    """A Hugging Face encoder and its pooling, shared by queries and passages.

    Texts are packed: layers work on their tokens, whatever the texts' lengths. A model for which that is not known to
    be right, or is found wrong at the start, gets padded batches of texts of like length instead.

    Args:
        backbone: an ``AutoModel`` whose output has ``last_hidden_state`` [B, T, H].
        pooling: how the tokens of a text become one vector, see `pool`.
        pad_id: fills short rows.
        heads: what follows the pooling, [n, H] -> [n, D]; None: nothing, and D is H.
        types: token types that are not 0, by token id.
        published: says how vectors are cut and scaled, and whether prompts are pooled; if not, their tokens come as
            ``~id``.

    Attributes:
        width: D, the numbers of a vector.
        drops_attention: whether a training drops attention weights by the model's own rate even where that costs
            padding. The kernel that takes texts of any length drops none: without this, it goes before the rate.

    Example:
        >>> from hybridtune import DualEncoder
        >>> encoder = DualEncoder.load("intfloat/multilingual-e5-small")              # doctest: +SKIP
        >>> encoder.encode_queries(["who won?"]) @ encoder.encode_passages(texts).T   # doctest: +SKIP
    """

    def __init__(
        self,
        backbone: Any,
        pooling: str,
        pad_id: int,
        heads: nn.Sequential | None = None,
        types: Mapping[int, int] | None = None,
        published: Published | None = None,
    ) -> None:
        super().__init__()
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler = None  # unused here: its weights would have no gradient, which DDP refuses
        self.backbone = backbone
        self.pooling = pooling
        self.pad_id = pad_id
        self.drops_attention = False
        self.heads = nn.Sequential() if heads is None else heads
        self.published = published or Published("")
        self._types = dict(types or {})
        dense = [head for head in self.heads if isinstance(head, DenseHead)]
        full = dense[-1].out_features if dense else backbone.config.hidden_size
        self.width = int(min(full, self.published.truncate_dim or full))
        self._texts: tuple[Encoder, Tokenizer] | None = None  # of `load`: how texts become token ids
        self._first_position = packing.first_position(backbone.config)
        if self._first_position is not None and not self._packs():
            self._first_position = None

    @classmethod
    def load(cls, name: str | Path, **settings: Any) -> "DualEncoder":
        """Load an encoder from a model folder or hub name, as it is published, ready to encode texts.

        Args:
            name: path of a folder, such as a study's ``best/``, or a hub name.
            settings: fields of a study's ``encoder`` that replace what the model says: ``pooling``, ``query_prefix``,
                ``passage_prefix``, ``query_length``, ``passage_length``, ``trust_remote_code``.

        Returns:
            The encoder in eval mode on the CPU; ``.to("cuda")`` moves it.

        Raises:
            InputError: it cannot be found or fetched, has parts that are not supported, or a setting does not exist.

        Example:
            >>> DualEncoder.load("studies/first/best", query_length=32).width             # doctest: +SKIP
            384
        """
        name = str(name)
        encoder = with_folder_settings(check(Encoder, {"name": name, **settings}, "encoder"))
        tokenizer = pretrained_tokenizer(name, encoder.trust_remote_code)
        check_fit(encoder, tokenizer.largest_id)
        model = load_encoder(name, encoder, tokenizer.pad_id).eval()
        model._texts = encoder, tokenizer
        return model

    def encode_queries(self, texts: Sequence[str]) -> Float32:
        """Return the vectors, float32 [n, D], of n queries, each after the query prefix and cut to its length.

        They are those of sentence-transformers: of unit length where the folder ends in a Normalize module, or has no
        ``modules.json``, and is not cut by ``truncate_dim``. Training and scores use them at unit length always.

        Raises:
            ValueError: the encoder was not made by `load`.

        Example: see `DualEncoder`.
        """
        encoder, tokenizer = self._of_texts()
        return self.embed_by_length(tokenizer.encode(texts, encoder.query_prefix, encoder.query_length), False)

    def encode_passages(self, texts: Sequence[str]) -> Float32:
        """Return the vectors, float32 [n, D], of n passages; as `encode_queries` does, with the passages' settings.

        Example: see `DualEncoder`.
        """
        encoder, tokenizer = self._of_texts()
        return self.embed_by_length(tokenizer.encode(texts, encoder.passage_prefix, encoder.passage_length), False)

    def save(self, folder: str | Path) -> None:
        """Write a folder that `load` and sentence-transformers open, and without Dense layers plain transformers too.

        Args:
            folder: new or empty.

        Raises:
            ValueError: the encoder was not made by `load`.

        Example:
            >>> DualEncoder.load("intfloat/multilingual-e5-small").save("e5-copy")        # doctest: +SKIP
        """
        encoder, _ = self._of_texts()
        save_folder(self, encoder.name, encoder, Path(folder), training_pairs=training_pairs_of(encoder.name))
        texts = Repository(encoder.name).file(TRAINING_TEXTS)
        if texts is not None:
            shutil.copy(texts, Path(folder) / TRAINING_TEXTS)

    def _of_texts(self) -> tuple[Encoder, Tokenizer]:
        if self._texts is None:
            raise ValueError("this encoder takes token ids; DualEncoder.load gives one that takes texts")
        return self._texts

    @property
    def is_packed(self) -> bool:
        """True where texts of all lengths share a row of tokens."""
        return self._first_position is not None

    @property
    def has_adapters(self) -> bool:
        """True where adapters are trained: weights that are no part of ``plain_state``."""
        return any(adapters.is_adapted(module) for module in self.backbone.modules())

    @property
    def pooled_alone(self) -> bool:
        """True where the transformer and its pooling, of all tokens, give the vectors, and nothing follows."""
        return not len(self.heads) and self.published.truncate_dim is None and self.published.include_prompt

    def forward(self, texts: TokenRows, unit: bool = True) -> Tensor:
        """Return vectors [n, D] float32 of n >= 1 texts; they do not depend on the other texts of the call.

        They are of unit length, or with ``unit`` false as the folder's own modules scale them.
        """
        texts = self.lay_out(texts)
        layout = texts.layout
        assert layout is not None
        ids = layout.fill(texts.ids, self.pad_id)  # [S]
        left_out = None
        if not self.published.include_prompt:
            left_out = ids < 0  # a prompt's tokens
            ids = torch.where(left_out, ~ids, ids)
        encoded = self._in_one_row if self.is_packed else self._group_by_group
        hidden = encoded(ids, layout).float()  # [S, D]
        return self.served(pool(hidden, layout, self.pooling, left_out), unit)

    def lay_out(self, texts: TokenRows) -> TokenRows:
        """Return texts on this encoder's device, laid out for `forward`; those that are so already, unchanged.

        The layout is that of training or of eval mode, and of the caller's autocast. Nothing waits for the device, so
        another thread may do it ahead.
        """
        if texts.layout is not None:
            return texts
        device = next(self.parameters()).device
        if self.is_packed and self._any_length(device):
            layout = packing.one_after_the_other(texts.lengths, texts.longest, device)
        else:
            layout = packing.group_by_length(texts.lengths, device, self.is_packed)
        return replace(texts.to(device), layout=layout)

    def served(self, pooled: Tensor, unit: bool = True) -> Tensor:
        """Return vectors [n, D] of pooled ones [n, H]: through the heads, cut, and scaled as `forward` says."""
        with torch.autocast(pooled.device.type, enabled=False):
            vectors = self.heads(pooled)
        if self.published.unit and not unit:
            vectors = F.normalize(vectors, dim=-1)
        vectors = vectors[:, : self.published.truncate_dim]
        return F.normalize(vectors, dim=-1) if unit else vectors

    def embed(self, rows: Sequence[Int32]) -> Tensor:
        """Return unit vectors [n, D] float32 of n >= 1 rows of token ids, with gradients where they are on."""
        embedded: Tensor = self(TokenRows.of(rows))
        return embedded

    def embed_by_length(self, rows: Sequence[Sequence[int] | Int32], unit: bool = True) -> Float32:
        """Return vectors [n, D] of n rows of token ids, longest rows first; in half precision on a GPU that has it.

        Rows of like length are encoded together, so that little is spent on padding. In eval mode the vectors are a
        function of the rows (n >= 0, none empty), the weights and the device alone. ``unit`` is that of `forward`.
        """
        return next(self.embed_blocks([rows], unit))

    def embed_blocks(self, blocks: Iterable[Sequence[Sequence[int] | Int32]], unit: bool = True) -> Iterator[Float32]:
        """Yield the vectors [n, D] of each block of rows, as `embed_by_length` returns them.

        A GPU has its next batches, of the next block too, while vectors of the ones before are fetched and the caller
        works on a block. On the CPU a block is yielded before the next one is asked for.
        """
        ahead = _BATCHES_AHEAD.get(next(self.parameters()).device.type, 0)
        going: deque[_Batch] = deque()
        for batch in itertools.chain.from_iterable(self._started(rows, unit) for rows in blocks):
            going.append(batch)
            if len(going) > ahead:
                yield from going.popleft().written()
        while going:
            yield from going.popleft().written()

    def _started(self, rows: Sequence[Sequence[int] | Int32], unit: bool) -> Iterator["_Batch"]:
        """Yield the batches of a block as soon as the device has them to compute."""
        device = next(self.parameters()).device
        most = BATCH_TOKENS_GPU if device.type == "cuda" else BATCH_TOKENS
        half = native_half(device, self.is_packed) if device.type == "cuda" else None
        vectors = np.zeros((len(rows), self.width), np.float32)
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        if not order:
            yield _Batch(vectors, [], Fetch(torch.zeros(0, self.width)), True)
        first = 0
        while first < len(order):
            chosen = order[first : first + max(1, most // len(rows[order[first]]))]
            first += len(chosen)
            texts = TokenRows.of([np.asarray(rows[i], np.int32) for i in chosen])
            with torch.inference_mode(), torch.autocast(device.type, half, enabled=half is not None):
                found = Fetch(self(texts, unit).float())
            yield _Batch(vectors, chosen, found, first == len(order))

    def plain_state(self) -> dict[str, Tensor]:
        """Return the weights that are served, adapters merged in; detached, not copied.

        Those of the ``AutoModel`` by its own names, those of the heads under `HEADS`.
        """
        heads = {f"{HEADS}{name}": value.detach() for name, value in self.heads.state_dict().items()}
        return adapters.merged_state(self.backbone) | heads

    def load_plain_state(self, state: Mapping[str, Tensor]) -> None:
        """Put weights by the names of `plain_state` into an encoder without adapters."""
        heads = {name.removeprefix(HEADS): value for name, value in state.items() if name.startswith(HEADS)}
        self.backbone.load_state_dict({name: value for name, value in state.items() if not name.startswith(HEADS)})
        self.heads.load_state_dict(heads)

    def _in_one_row(self, ids: Tensor, layout: packing.Packing) -> Tensor:
        positions = layout.positions + (self._first_position or 0)  # [S]
        output = self.backbone(input_ids=ids[None], position_ids=positions[None], texts=layout)
        hidden: Tensor = output.last_hidden_state[0]
        return hidden  # [S, D]

    def _group_by_group(self, ids: Tensor, layout: packing.Packing) -> Tensor:
        sizes = [group.slots for group in layout.groups]
        parts = []
        rows = zip(layout.groups, torch.split(ids, sizes), torch.split(layout.share, sizes), strict=True)
        for group, tokens, share in rows:
            shape = (group.texts, group.length)
            mask = (share > 0).long().view(shape) if group.ragged else None  # [b, L]
            types = torch.zeros_like(tokens)
            for token, kind in self._types.items():
                types = types.masked_fill(tokens == token, kind)
            more = {"token_type_ids": types.view(shape)} if self._types else {}
            output = self.backbone(input_ids=tokens.view(shape), attention_mask=mask, **more)
            parts.append(output.last_hidden_state.flatten(0, 1))  # [b * L, D]
        return torch.cat(parts)  # [S, D]

    def _any_length(self, device: torch.device) -> bool:
        config = self.backbone.config
        rates = (getattr(config, key, 0.0) for key in ("attention_probs_dropout_prob", "attention_dropout"))
        if self.training and self.drops_attention and any(rates):
            return False
        dtype = next(self.backbone.parameters()).dtype
        if torch.is_autocast_enabled(device.type):
            dtype = torch.get_autocast_dtype(device.type)
        return packing.takes_any_length(device, dtype, config.hidden_size // config.num_attention_heads)

    def _packs(self) -> bool:
        """Set the backbone up for packed texts, if it then gives the vectors that it gives for padded ones."""
        config = self.backbone.config
        most = getattr(config, "max_position_embeddings", 16) - (self._first_position or 0)
        rows = [(np.arange(length) * 7 + length) % config.vocab_size for length in (3, 11, 1, 3, 6) if length <= most]
        texts = TokenRows.of([np.where(row == self.pad_id, row - 1, row) % config.vocab_size for row in rows])
        layout = packing.group_by_length(texts.lengths, torch.device("cpu"))
        ids = layout.fill(texts.ids, self.pad_id)
        tokens, training, before = layout.share > 0, self.backbone.training, config._attn_implementation
        packing.register()
        try:
            with torch.no_grad():
                self.backbone.eval()
                padded = self._group_by_group(ids, layout)
                self.backbone.set_attn_implementation(packing.NAME)
                same = torch.allclose(self._in_one_row(ids, layout)[tokens], padded[tokens], rtol=0, atol=_SAME)
        except (TypeError, ValueError, RuntimeError, KeyError):  # it takes no such arguments
            same = False
        if not same:
            self.backbone.set_attn_implementation(before)
        self.backbone.train(training)
        return same


def load_encoder(name: str, encoder: Encoder, pad_id: int, dropout: float | None = None) -> DualEncoder:
    """Return a dual encoder from a model folder or hub name, with all that follows its pooling.

    ``dropout`` replaces every dropout probability of the model; None keeps them, but for that of attention weights
    where the device has a kernel for texts of any length.

    Raises:
        InputError: it cannot be found or fetched, or has modules that are not supported.
    """
    published, trust = read_published(name), encoder.trust_remote_code
    backbone, heads = load_backbone(published, trust, dropout), load_heads(name, published.heads)
    types = token_types(published, backbone.config, trust)
    model = DualEncoder(backbone, encoder.pooling, pad_id, heads, types, published)
    model.drops_attention = dropout is not None
    return model


def prepare_for_training(model: DualEncoder, train: Train, seed: int = 0) -> None:
    """Freeze, add adapters (drawn by ``seed``), checkpoint activations and compile, in place; names of weights stay.

    Raises:
        InputError: the encoder cannot be trained that way, or a package is missing.
    """
    backbone = model.backbone
    adapters.freeze(backbone, train.freeze_layers, train.embeddings)
    if train.lora_rank:
        alpha = train.lora_alpha or 2.0 * train.lora_rank
        adapters.add_adapters(backbone, train.lora_rank, alpha, train.lora_targets, seed)
    if train.freeze_dense or train.lora_rank:
        model.heads.requires_grad_(False)
    if train.gradient_checkpointing:
        adapters.recompute_layers(backbone)
    if train.compile:
        packing.register(compiled=True)
        backbone.compile(dynamic=True)
