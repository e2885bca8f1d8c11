"""The `train` section of a study file: one fit, from its batch to its last score; a strict model."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hybridtune.config.fields import A_LIST_IS_A_RANGE, Count, Language, Location, Part, Positive, Ratio, Steps
from hybridtune.config.hooks import Hook


class Train(Part):
    """One fit. Names are those of Hugging Face where they mean the same."""

    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = Field(default=32, description="pairs in the global batch")
    max_steps: Steps = Field(default=300, description="steps of a training")
    learning_rate: Positive = Field(default=3e-5, description="of AdamW: linear warm-up, linear decay to 0")
    temperature: Positive = Field(default=0.05, description="divides the cosine")
    learn_temperature: bool = Field(default=False, description="train it, from `temperature` on")
    temperature_range: Annotated[tuple[Positive, Positive], A_LIST_IS_A_RANGE] = Field(
        default=(0.005, 1.0), description="bounds of a learned temperature"
    )
    loss: Hook | None = Field(
        default=None, description="a function in place of the cross-entropy, package.module:function; null: none"
    )
    symmetric: bool = Field(default=False, description="also rank queries for each passage")
    gather_negatives: bool = Field(
        default=True,
        description="rank a query against the passages and hard negatives of all workers; false: of its own worker "
        "alone, which saves sending vectors, leaves 1 of W as many, and makes the result depend on resources.workers",
    )
    answer_sets: Literal["apart", "ignored"] = Field(
        default="apart",
        description="apart: passages that answer a query too never stand in its batch, and are masked among the hard "
        "negatives; ignored: they are drawn like all others, and are its negatives: false ones, which cost quality",
    )
    negatives: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=1, description="hard negatives a pair is given, from those that the data has; 0 ignores them"
    )
    near_duplicate: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None, description="a passage whose cosine with a query's own passage is over this is no negative of it"
    )
    matryoshka: list[Count] = Field(
        default=[],
        max_length=100,
        description="widths, below the full one, at which the embedding is trained to be cut off",
    )
    teacher: Location | None = Field(
        default=None,
        description="frozen encoder, any, used as it is published: a folder or hub name; null: the starting encoder",
    )
    teacher_languages: list[Language] = Field(
        default=[],
        description="languages the teacher reads; empty: all, and of two texts to align the one with more mono pairs",
    )
    teacher_projection: Literal["discarded", "kept"] = Field(
        default="discarded",
        description="what becomes of the linear map to the width of a teacher with another one: thrown away after the "
        "training, or kept as a Dense layer of the model",
    )
    distil: Literal["kl", "margin_mse"] | None = Field(
        default=None,
        description="also learn scores of the batch: their distribution over the passages (kl), or the margins of the "
        "query's own passage over the others (margin_mse)",
    )
    distil_from: Literal["teacher", "data"] = Field(
        default="teacher",
        description="whose scores these are: the teacher's of all passages, or those that the data have of a query's "
        "own passage and its hard negatives, of a reranker for instance",
    )
    distil_temperature: Positive | None = Field(
        default=None,
        description="divides these scores; null: `temperature` of a teacher's cosines, 1 of those that the data have",
    )
    distil_weight: Positive = Field(default=1.0, description="of that loss, beside the contrastive one")
    consistency: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = Field(
        default=0.0,
        description="weight of the divergence between the scores of a query asked in two languages; 0: one is asked",
    )
    weight_decay: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = Field(
        default=0.01, description="of matrices, not of vectors"
    )
    warmup_ratio: Ratio = Field(default=0.1, description="share of the steps in which the learning rate grows")
    max_grad_norm: Positive = Field(default=1.0, description="bound of the gradient's norm")
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] | None = Field(
        default=None,
        description="of every kind; null: the encoder's own, but for attention weights on GPUs that attend to texts of "
        "any length, where none is dropped",
    )
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=1.0, description="learning rate of a layer over that of the layer above it"
    )
    freeze_layers: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=0, description="lowest layers that are not trained"
    )
    freeze_dense: bool = Field(
        default=False, description="leave the Dense layers behind the pooling as they are; adapters always do"
    )
    embeddings: Literal["dense", "frozen"] = Field(
        default="dense", description="update the embeddings below the layers, or leave them as they are"
    )
    lora_rank: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=0, description="train adapters of this rank; 0: everything"
    )
    lora_alpha: Positive | None = Field(default=None, description="scale of the adapters; null: twice the rank")
    lora_targets: list[str] | None = Field(
        default=None, max_length=1000, description="names of the linear layers that get adapters; null: all of them"
    )
    ema: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        default=None, description="decay of a running mean of the weights, which is then scored and exported"
    )
    precision: Literal["auto", "float32", "tf32", "bf16", "fp16"] = Field(
        default="auto",
        description="auto: bf16 where the hardware multiplies it, else fp16 on GPUs with tensor cores (with loss "
        "scaling; BERT-like and RoBERTa-like encoders), else float32 (tf32 on GPUs)",
    )
    chunk_size: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="texts encoded at once, by cached gradients; null: the whole batch"
    )
    gradient_checkpointing: bool = Field(default=False, description="recompute layers for the gradient")
    compile: bool = Field(default=False, description="compile the encoder by torch.compile")
    eval_steps: Steps | None = Field(
        default=None,
        description="steps between two scores (and checkpoints); null: a third of max_steps, or a tenth in a study "
        "with a learned mix",
    )
    scores: Literal["between", "beside"] = Field(
        default="between",
        description="between: the steps wait for each score; beside: they go on while it is taken from a copy of the "
        "weights, for which evaluators need room (cores, memory of a GPU) of their own, and patience and early "
        "stopping act one score later. The last score, those of a learned mix and of search.fidelities are waited for",
    )
    patience: Count | None = Field(
        default=None, description="scores in a row without a better first objective after which the training ends"
    )
    hang_timeout: Annotated[float, Field(ge=1.0, le=1e6)] | None = Field(
        default=None,
        description="seconds after which a worker that makes no step is ended, and goes on from its last checkpoint; "
        "null: ten times the slowest step, 60 s at least",
    )
    keep_checkpoints: Count = Field(default=1, description="best checkpoints kept, besides the last two and their best")

    @model_validator(mode="after")
    def _fields_fit_together(self) -> "Train":
        low, high = self.temperature_range
        if not low < high:
            raise ValueError(f"temperature_range {[low, high]}: the low end must be below the high end")
        if self.learn_temperature and not low <= self.temperature <= high:
            raise ValueError(f"temperature {self.temperature} is outside temperature_range {[low, high]}")
        if len(set(self.matryoshka)) < len(self.matryoshka):
            raise ValueError(f"matryoshka {self.matryoshka}: a width stands twice; give each once")
        if self.lora_rank and (self.freeze_layers or self.layer_decay < 1):
            raise ValueError("lora_rank trains adapters alone: leave freeze_layers and layer_decay at their defaults")
        return self
