"""Read what a model folder or hub name publishes of itself: sentence-transformers' files, or plain transformers'.

Everything that is said there is either taken over into `Published` or refused by name; nothing is ignored. In flow
`repository` (which file) -> this (what it says) -> `folder` (settings of a study), `encoder` (weights), `tokenizer`.

Source: sentence-transformers 6.2, ``base/model.py``, ``base/modules/{transformer,dense,normalize}.py`` and
``sentence_transformer/modules/pooling.py``, read; folders of its versions 0.3 to 6 are understood.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hybridtune.errors import InputError
from hybridtune.model.repository import Repository

POOLINGS = {  # the name of a pooling -> what sentence-transformers up to version 5 calls it
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
}
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid", "LeakyReLU", "ELU", "Mish", "Softplus")

_TRANSFORMER_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_KWARGS = {  # arguments that sentence-transformers hands to transformers: those that change no vector, and the sides
    "model": {"dtype", "torch_dtype", "attn_implementation", "use_safetensors", "add_pooling_layer"},
    "config": {"use_cache", "add_pooling_layer"},
    "processor": {"padding_side", "truncation_side", "model_max_length", "use_fast"},
}
_OLD_KWARGS = {"model": "model_args", "config": "config_args", "processor": "tokenizer_args"}
_DENSE_KEYS = {
    *("in_features", "out_features", "bias", "activation_function", "use_residual"),
    *("module_input_name", "module_output_name"),
}
_POOLING_KEYS = {
    *("word_embedding_dimension", "embedding_dimension", "pooling_mode", "include_prompt"),
    *POOLINGS.values(),
}
_TRANSFORMER_KEYS = {  # what sentence_bert_config.json may say and is understood here
    *("max_seq_length", "do_lower_case", "query_length", "document_length", "unpad_inputs", "transformer_task"),
    *("modality_config", "module_output_name", "query_expansion", "processing_kwargs", "tokenizer_name_or_path"),
    *(f"{kind}_kwargs" for kind in _KWARGS),
    *_OLD_KWARGS.values(),
}


@dataclass(frozen=True)
class Dense:
    """A Dense module: a linear layer behind the pooling, and its activation.

    Attributes:
        path: of its folder in the model.
        in_features: numbers of a vector that goes in.
        out_features: numbers of a vector that comes out.
        bias: whether the linear layer has one.
        activation: name of a class of ``torch.nn``, one of `ACTIVATIONS`.
        residual: whether the input is added to the output.

    Example: see `read_published`.
    """

    path: str
    in_features: int
    out_features: int
    bias: bool
    activation: str
    residual: bool


@dataclass(frozen=True)
class Normalize:
    """A Normalize module: its output has unit length. Example: see `read_published`."""


@dataclass(frozen=True)
class Published:
    """What a model says of itself; None and the defaults stand for what it does not say.

    Attributes:
        name: of the folder, or the hub name.
        modules: whether it has a ``modules.json``, and so settings of its own.
        asked: whether the hub could be asked for it; a folder is its own answer.
        subfolder: of the transformer's files; empty: the root.
        adapter_of: name of the model that the adapters in the folder belong to; None: the folder has whole weights.
        pooling: a key of `POOLINGS`.
        include_prompt: whether a prompt's tokens are pooled like the others.
        heads: modules behind the pooling, in order; a last Normalize is ``unit`` and stands not here.
        unit: whether the last module is Normalize.
        prompts: by their names.
        default_prompt_name: which of them sentence-transformers puts before texts that are given without one.
        similarity: name of the function by which vectors are to be compared.
        truncate_dim: numbers of a vector that are kept.
        lower_case: whether texts are lowered before they are tokenised.
        length: tokens at which texts are cut.
        query_length: the same of queries alone.
        passage_length: the same of passages alone.
        padding_side: of the tokenizer, where it is said beside the tokenizer's own files.
        truncation_side: likewise.

    Example: see `read_published`.
    """

    name: str
    modules: bool = False
    asked: bool = True
    subfolder: str = ""
    adapter_of: str | None = None
    pooling: str | None = None
    include_prompt: bool = True
    heads: tuple[Dense | Normalize, ...] = ()
    unit: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity: str | None = None
    truncate_dim: int | None = None
    lower_case: bool = False
    length: int | None = None
    query_length: int | None = None
    passage_length: int | None = None
    padding_side: str | None = None
    truncation_side: str | None = None

    @property
    def query_prompt(self) -> str:
        """The prompt that ``encode_query`` of sentence-transformers puts before a query."""
        return self.prompts.get("query", "")

    @property
    def passage_prompt(self) -> str:
        """The prompt that ``encode_document`` puts before a passage; of older names the first that is there."""
        return next((self.prompts[name] for name in ("document", "passage", "corpus") if name in self.prompts), "")

    @property
    def idle_prompts(self) -> list[str]:
        """Names of prompts that are neither a query's nor a passage's."""
        used = {self.query_prompt, self.passage_prompt}
        return [name for name, prompt in self.prompts.items() if prompt not in used]


def read_published(name: str) -> Published:
    """Read the settings of a model folder or hub name, without its weights.

    Args:
        name: path of a folder, or a hub name.

    Raises:
        InputError: there is no such model, or it says something that is not done here: then by the module's name.

    Example:
        >>> read_published("path/to/LaBSE").heads                               # doctest: +SKIP
        (Dense(path='2_Dense', in_features=768, out_features=768, bias=True, activation='Tanh', residual=False),)
    """
    repository = Repository(name)
    return _of_hub_name(name) if repository.folder is None else _of_repository(repository)


@functools.cache
def _of_hub_name(name: str) -> Published:
    """Read a hub name once a process: every file of it is a question to the network."""
    return _of_repository(Repository(name))


def _of_repository(repository: Repository) -> Published:
    name = repository.name
    listed = repository.any_json("modules.json")
    if listed is None:
        return _plain(repository)
    modules = _modules(listed, name)
    transformer, pooling, *others = modules
    settings = {
        **_of_transformer(repository, transformer["path"]),
        **_of_pooling(repository, pooling["path"]),
        **_of_model(repository),
    }
    heads = [_head(repository, module) for module in others]
    unit = bool(heads) and isinstance(heads[-1], Normalize)
    similarity = settings["similarity"]
    if similarity == "manhattan" or (similarity in ("dot", "euclidean") and not unit):
        raise InputError(
            f"encoder {name}: compares vectors by {similarity} (similarity_fn_name) and has no Normalize module that "
            "would make it the cosine; scores here are cosines, so its ranks would be others than its own"
        )
    path = transformer["path"]
    return Published(
        name=name,
        modules=True,
        subfolder=path,
        adapter_of=_adapter_of(repository, path),
        heads=tuple(heads[:-1] if unit else heads),
        unit=unit,
        **settings,
    )


def _plain(repository: Repository) -> Published:
    """A model without a ``modules.json``: nothing is known but what kind of model it is."""
    adapter_of = _adapter_of(repository, "")
    config = repository.json("config.json")
    for architecture in config.get("architectures") or []:
        if str(architecture).endswith("ForSequenceClassification"):
            raise InputError(
                f"encoder {repository.name}: is a cross-encoder or classifier ({architecture}), which scores a pair "
                "and gives no vectors; give a dual encoder"
            )
    causal = any(str(kind).endswith("ForCausalLM") for kind in config.get("architectures") or [])
    lasttoken = causal and config.get("is_causal", True)
    pooling = "lasttoken" if lasttoken else None
    return Published(repository.name, asked=repository.asks, adapter_of=adapter_of, pooling=pooling)


def _modules(listed: Any, name: str) -> list[dict[str, str]]:
    """The modules in order, each with its ``path`` and the last part of its type as ``kind``."""
    if not isinstance(listed, list) or not all(isinstance(module, dict) and "type" in module for module in listed):
        raise InputError(f"{name}/modules.json: not a list of modules, each with its type and path")
    modules = []
    for module in listed:
        kind = str(module["type"])
        ours = kind.startswith("sentence_transformers.")
        last = kind.rsplit(".", 1)[-1]
        if not ours or last not in ("Transformer", "Pooling", "Dense", "Normalize"):
            raise InputError(
                f"encoder {name}: has a module {kind}, which is not done here; known are Transformer, Pooling, Dense "
                "and Normalize of sentence-transformers"
            )
        modules.append({"kind": last, "path": str(module.get("path", "")), "type": kind})
    kinds = [module["kind"] for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or {"Transformer", "Pooling"} & set(kinds[2:]):
        raise InputError(
            f"encoder {name}: its modules are {', '.join(kinds)}; known: Transformer, Pooling, then Dense or Normalize"
        )
    return modules


def _of_transformer(repository: Repository, path: str) -> dict[str, Any]:
    """What ``sentence_bert_config.json`` says, under the names of `Published`."""
    files = ((name, repository.json(_join(path, name))) for name in _TRANSFORMER_FILES)
    file, said = next(((name, found) for name, found in files if found), (_TRANSFORMER_FILES[0], {}))
    where = f"encoder {repository.name}: {_join(path, file)}"
    _refuse_unknown(said, _TRANSFORMER_KEYS, where)
    if said.get("transformer_task", "feature-extraction") != "feature-extraction":
        raise InputError(f"{where}: transformer_task {said['transformer_task']!r} is not done here")
    for key in ("query_expansion", "processing_kwargs", "tokenizer_name_or_path"):
        if said.get(key):
            raise InputError(f"{where}: {key} is not done here")
    read = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    modality = said.get("modality_config", read)
    if modality != read or said.get("module_output_name", "token_embeddings") != "token_embeddings":
        raise InputError(
            f"{where}: modality_config {', '.join(modality)} with {said.get('module_output_name')} is not done here; "
            "known are texts, by the model's last hidden state"
        )
    sides = _arguments(said, where)
    return {
        "lower_case": bool(said.get("do_lower_case")),
        "length": said.get("max_seq_length") or sides.get("model_max_length"),
        "query_length": said.get("query_length"),
        "passage_length": said.get("document_length"),
        "padding_side": sides.get("padding_side"),
        "truncation_side": sides.get("truncation_side"),
    }


def _arguments(said: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The processor's arguments; those that are not understood, of it or of the others, are refused."""
    for kind, known in _KWARGS.items():
        for key in (f"{kind}_kwargs", _OLD_KWARGS[kind]):
            _refuse_unknown(said.get(key) or {}, known, f"{where}: {key}")
    return dict(said.get("processor_kwargs") or said.get(_OLD_KWARGS["processor"]) or {})


def _of_pooling(repository: Repository, path: str) -> dict[str, Any]:
    said = repository.json(_join(path, "config.json"))
    where = f"encoder {repository.name}: {_join(path, 'config.json')}"
    _refuse_unknown(said, _POOLING_KEYS, where)
    names = {old: name for name, old in POOLINGS.items()} | {"mean_sqrt_len_tokens": "mean_sqrt_len"}
    modes = said.get("pooling_mode")
    if modes is None:
        modes = [key for key in said if key in names and said[key]] or ["mean"]
    modes = [names.get(mode, mode) for mode in ([modes] if isinstance(modes, str) else modes)]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise InputError(f"{where}: pools by {' + '.join(map(str, modes))}; known is one of {', '.join(POOLINGS)}")
    return {"pooling": modes[0], "include_prompt": said.get("include_prompt", True) is not False}


def _of_model(repository: Repository) -> dict[str, Any]:
    """What ``config_sentence_transformers.json`` says."""
    said = repository.json("config_sentence_transformers.json")
    kind = said.get("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        raise InputError(f"encoder {repository.name}: is a {kind}; a SentenceTransformer is needed, one vector a text")
    prompts = said.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise InputError(f"encoder {repository.name}: config_sentence_transformers.json: prompts are no texts by name")
    cut = said.get("truncate_dim")
    return {
        "prompts": {name: text for name, text in prompts.items() if text is not None},
        "default_prompt_name": said.get("default_prompt_name"),
        "similarity": said.get("similarity_fn_name"),
        "truncate_dim": int(cut) if cut else None,
    }


def _head(repository: Repository, module: Mapping[str, str]) -> Dense | Normalize:
    """A module behind the pooling."""
    path = module["path"]
    said = repository.json(_join(path, "config.json"))
    where = f"encoder {repository.name}: {_join(path, 'config.json')}"
    for key in ("module_input_name", "module_output_name"):
        if said.get(key) not in (None, "sentence_embedding"):
            raise InputError(f"{where}: {key} {said[key]} is not done here; known is sentence_embedding")
    if module["kind"] == "Normalize":
        return Normalize()
    _refuse_unknown(said, _DENSE_KEYS, where)
    activation = str(said.get("activation_function", "torch.nn.modules.activation.Tanh"))
    owner, _, last = activation.rpartition(".")
    if not owner.startswith("torch.nn") or last not in ACTIVATIONS:
        raise InputError(
            f"{where}: activation_function {activation} is not done here; known of torch.nn: {', '.join(ACTIVATIONS)}"
        )
    for key in ("in_features", "out_features"):
        if not isinstance(said.get(key), int) or said[key] < 1:
            raise InputError(f"{where}: {key} must be a whole number above 0 (got {said.get(key)!r})")
    residual = bool(said.get("use_residual"))
    return Dense(path, said["in_features"], said["out_features"], said.get("bias", True) is not False, last, residual)


def _adapter_of(repository: Repository, path: str) -> str | None:
    """The model that a folder's adapters belong to."""
    said = repository.json(_join(path, "adapter_config.json"))
    if not said:
        return None
    base = said.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise InputError(
            f"encoder {repository.name}: holds adapters (adapter_config.json) and does not say of which model; merge "
            "them by peft's merge_and_unload and give the merged folder"
        )
    return base


def _refuse_unknown(said: Mapping[str, Any], known: set[str], where: str) -> None:
    """Refuse keys that would change vectors in a way that nobody here knows; empty values say nothing."""
    for key, value in said.items():
        if key not in known and value not in (None, False, {}, []) and not key.startswith("_"):
            raise InputError(f"{where}: {key} = {value!r} is not known here; without it the vectors could be wrong")


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
