"""Read what a model folder or hub name publishes of itself: sentence-transformers' files, or plain transformers'.

`Repository` finds the files; `read_published` takes each setting over into `Published` or refuses it by name, and
ignores none. `folder` makes a study's settings of it, `encoder` and `tokenizer` load what it describes. Nothing here
needs torch or transformers.

Source: sentence-transformers 6.2, ``base/model.py``, ``base/modules/{transformer,dense,normalize}.py`` and
``sentence_transformer/modules/pooling.py``, read; folders of its versions 0.3 to 6 are understood.
"""

import contextlib
import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import join
from typing import Any

from hybridtune.config.fields import REVISION
from hybridtune.config.json_text import json_kind, parse_json
from hybridtune.errors import InputError, model_not_loaded, short_repr
from hybridtune.model.hub import why_unreachable

TRAINING_TEXTS = "training_texts.npz"  # hashes of the texts that a model was trained on

# Models whose positions count from pad_token_id + 1: those that `packing` packs, and all.
PACKED_FROM_PADDING = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm"}
POSITIONS_FROM_PADDING = PACKED_FROM_PADDING | {"mpnet", "longformer", "xmod", "data2vec-text", "ibert", "luke"}

POOLINGS = {  # the name of a pooling -> what sentence-transformers up to version 5 calls it
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
}
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid", "LeakyReLU", "ELU", "Mish", "Softplus")

_LARGEST = 2**31 - 1  # of a size; tokenizers write 10^30 where there is no limit, which is read elsewhere
_MODEL_FILE = "config_sentence_transformers.json"
_MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
_TRANSFORMER_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_ARGUMENTS = {  # new and old name of what transformers is handed, by file: keys that change no vector, and the sides
    ("model_kwargs", "model_args"): {
        *("dtype", "torch_dtype", "attn_implementation", "use_safetensors", "add_pooling_layer"),
    },
    ("config_kwargs", "config_args"): {"use_cache", "add_pooling_layer"},
    ("processor_kwargs", "tokenizer_args"): {"padding_side", "truncation_side", "model_max_length", "use_fast"},
}
_DENSE_KEYS = {
    *("in_features", "out_features", "bias", "activation_function", "use_residual"),
    *("module_input_name", "module_output_name"),
}
_POOLING_KEYS = {
    *("word_embedding_dimension", "embedding_dimension", "pooling_mode", "include_prompt"),
    *POOLINGS.values(),
}
_TRANSFORMER_KEYS = {  # keys of sentence_bert_config.json that are understood
    *("max_seq_length", "do_lower_case", "query_length", "document_length", "unpad_inputs", "transformer_task"),
    *("modality_config", "module_output_name", "query_expansion", "processing_kwargs", "tokenizer_name_or_path"),
    *itertools.chain.from_iterable(_ARGUMENTS),
}


class Repository:
    """The files of a model folder or hub name.

    Offline, and where the network does not answer, a hub name has the files that are in the cache, and no others:
    then ``online`` is false, and a file that is not found may still be published. ``folder`` is None for a hub name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        path = Path(name).expanduser()
        self.folder = path if path.is_dir() else None
        self.source, self.revision = hub_source(name)
        self.online = True

    def file(self, path: str) -> Path | None:
        """Return the local path of a file of the model, fetched where necessary; None: there is no such file.

        Raises:
            InputError: the path leads out of the model, or there is neither such a folder nor such a hub name.
        """
        if path.startswith(("/", "~")) or "\\" in path or ".." in path.split("/"):
            raise InputError(f"encoder {self.name}: names a file outside itself, {path!r}, which is not opened")
        if self.folder is not None:
            found = self.folder / path
            with contextlib.suppress(OSError):  # a name that no file system takes
                return found if found.is_file() else None
            return None
        if self.name.startswith((".", "/", "~")) or self.name.count("/") > 1:
            raise model_not_loaded("model", self.name, "no such folder")  # asking a hub for a path would only cost time
        from huggingface_hub import errors, hf_hub_download

        self.online = self.online and why_unreachable() is None
        try:
            options: dict[str, Any] = {"revision": self.revision, "local_files_only": not self.online}
            return Path(hf_hub_download(self.source, path, **options))  # nosec B615 # the user's revision
        except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
            # The network was tried in vain; the other files are looked for in the cache alone.
            self.online = False
            return None
        except errors.EntryNotFoundError:
            return None
        except errors.RevisionNotFoundError:
            raise InputError(f"encoder {self.source}: has no revision {self.revision}; give one that it has") from None
        except (errors.HFValidationError, OSError) as error:
            raise model_not_loaded("model", self.name, error) from None

    def json(self, path: str) -> dict[str, Any]:
        """Return a JSON object of the model, empty where it has no such file; no object: an InputError."""
        content = self.any_json(path)
        if content is not None and not isinstance(content, dict):
            raise InputError(f"{self.name}/{path}: not a JSON object but {json_kind(content)}")
        return content or {}

    def any_json(self, path: str) -> Any:
        """Return the content of a JSON file of the model, None where it has no such file; no JSON: an InputError."""
        file = self.file(path)
        if file is None:
            return None
        try:
            return parse_json(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{self.name}/{path}: not readable JSON: {' '.join(str(error).split())}") from None


@dataclass(frozen=True)
class Dense:
    """A Dense module in folder ``path``: a linear layer, its activation (of `ACTIVATIONS`), and maybe its input."""

    path: str
    in_features: int
    out_features: int
    bias: bool
    activation: str
    residual: bool


@dataclass(frozen=True)
class Normalize:
    """A Normalize module: its output has unit length."""


@dataclass(frozen=True)
class Published:
    """The settings that a model folder states; None and the defaults stand for what it does not say."""

    name: str
    modules: bool = False  # it has a modules.json, and so settings of its own
    online: bool = True  # of its `Repository`
    subfolder: str = ""  # of the transformer's files
    adapter_of: str | None = None  # the model that the folder's adapters belong to; None: it has whole weights
    pooling: str | None = None  # a key of POOLINGS
    include_prompt: bool = True  # a prompt's tokens are pooled like the others
    heads: tuple[Dense | Normalize, ...] = ()  # modules after the pooling, in order, without a last Normalize
    unit: bool = False  # the last module is Normalize, or there is no modules.json
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None  # of texts that sentence-transformers is given without a prompt
    similarity: str | None = None
    truncate_dim: int | None = None  # numbers of a vector that are used, the first ones
    lower_case: bool = False
    length: int | None = None  # tokens at which texts are cut
    query_length: int | None = None
    passage_length: int | None = None
    padding_side: str | None = None  # where it is said beside the tokenizer's own files
    truncation_side: str | None = None  # likewise

    @property
    def source(self) -> dict[str, Any]:
        """The arguments of ``from_pretrained`` that say which model it is."""
        return pretrained(self.name, self.subfolder)

    @property
    def query_prompt(self) -> str:
        """The prompt that ``encode_query`` of sentence-transformers puts before a query."""
        return self.prompts.get("query", "")

    @property
    def passage_prompt(self) -> str:
        """The prompt that ``encode_document`` puts before a passage; of older names the first that exists."""
        return next((self.prompts[name] for name in ("document", "passage", "corpus") if name in self.prompts), "")


def hub_source(name: str) -> tuple[str, str | None]:
    """Return the hub name and the revision of ``ORG/NAME@REVISION``; of a folder its path and None.

    Raises:
        InputError: what follows the @ is no revision, or a folder is given one.
    """
    if Path(name).expanduser().is_dir():
        return name, None
    source, at, revision = name.rpartition("@")
    if not at:
        return name, None
    if Path(source).expanduser().is_dir():
        raise InputError(f"encoder {source}: is a folder, which has no revision {revision}; leave it out")
    if not re.fullmatch(REVISION, revision) or ".." in revision:
        raise InputError(f"encoder {name}: {revision!r} is no revision; give a commit, tag or branch of {source}")
    return source, revision


def pretrained(name: str, subfolder: str = "") -> dict[str, Any]:
    """Return the arguments of ``from_pretrained`` for a model, at its revision."""
    source, revision = hub_source(name)
    offline = not Path(source).expanduser().is_dir() and why_unreachable() is not None
    return {
        "pretrained_model_name_or_path": source,
        "subfolder": subfolder,
        "revision": revision or "main",
        "local_files_only": offline,
    }


def commit_of(name: str) -> str | None:
    """Return the commit of a hub name that lies in this machine's cache; None of a folder, or where none does."""
    repository = Repository(name)
    if repository.folder is not None or name == "tiny":
        return None
    repository.online = False
    place = next(filter(None, map(repository.file, ("config.json", "modules.json", "adapter_config.json"))), None)
    parts = place.parts if place is not None else ()
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None


def read_published(name: str) -> Published:
    """Read the settings of a model folder or hub name, without its weights.

    Raises:
        InputError: there is no such model, or it has a setting that is not supported.
    """
    repository = Repository(name)
    return _read_hub_name(name) if repository.folder is None else _read(repository)


def licence_of(name: str) -> str | None:
    """Return the licence that the card of a model folder or hub name gives; None: it has no card, or that none."""
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    try:
        card = Repository(name).file("README.md")
        said = metadata_load(card) if card is not None else None
    except (InputError, OSError, ValueError, YAMLError):  # the trained model's card is written all the same
        return None
    licence = (said or {}).get("license")
    return licence if isinstance(licence, str) else None


@functools.cache
def _read_hub_name(name: str) -> Published:
    """Read a hub name once a process: every file of it is a request to the network."""
    return _read(Repository(name))


def _read(repository: Repository) -> Published:
    listed = repository.any_json("modules.json")
    if listed is None:
        return _read_plain(repository)
    (_, path), (_, pooling), *others = _modules(listed, repository.name)
    settings = {
        **_transformer_settings(repository, path),
        **_pooling_settings(repository, pooling),
        **_model_settings(repository),
    }
    heads = [_head(repository, kind, folder) for kind, folder in others]
    unit = bool(heads) and isinstance(heads[-1], Normalize)
    similarity = settings["similarity"]
    if similarity == "manhattan" or (similarity in ("dot", "euclidean") and not unit):
        raise InputError(
            f"encoder {repository.name}: compares vectors by {similarity} (similarity_fn_name) and has no Normalize "
            "module that would make it the cosine; scores here are cosines, so its ranks would be others than its own"
        )
    adapter_of, last = _adapter_of(repository, path), len(heads) - unit
    return Published(
        repository.name, True, subfolder=path, adapter_of=adapter_of, heads=tuple(heads[:last]), unit=unit, **settings
    )


def _read_plain(repository: Repository) -> Published:
    """Read a model without a ``modules.json``: nothing is known but what kind of model it is."""
    adapter_of = _adapter_of(repository, "")
    config = repository.json("config.json")
    architectures = [str(architecture) for architecture in config.get("architectures") or []]
    for architecture in architectures:
        if architecture.endswith("ForSequenceClassification"):
            raise InputError(
                f"encoder {repository.name}: is a cross-encoder or classifier ({architecture}), which scores a pair "
                "and gives no vectors; give a dual encoder"
            )
    causal = any(architecture.endswith("ForCausalLM") for architecture in architectures)
    pooling = "lasttoken" if causal and config.get("is_causal", True) else None
    return Published(repository.name, online=repository.online, adapter_of=adapter_of, pooling=pooling, unit=True)


def _modules(listed: Any, name: str) -> list[tuple[str, str]]:
    """Return the modules in order: the last part of each one's type, and its path."""
    if not isinstance(listed, list) or not all(isinstance(module, dict) and "type" in module for module in listed):
        raise InputError(f"{name}/modules.json: not a list of modules, each with its type and path")
    modules = []
    for module in listed:
        kind = str(module["type"])
        last = kind.rsplit(".", 1)[-1]
        if not kind.startswith("sentence_transformers.") or last not in _MODULES:
            raise InputError(
                f"encoder {name}: has a module {kind}, which is not supported; supported are Transformer, Pooling, "
                "Dense and Normalize of sentence-transformers"
            )
        modules.append((last, str(module.get("path", ""))))
    kinds = [kind for kind, _ in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or {"Transformer", "Pooling"} & set(kinds[2:]):
        raise InputError(
            f"encoder {name}: its modules are {', '.join(kinds)}; supported: Transformer, Pooling, then Dense or "
            "Normalize"
        )
    return modules


def _transformer_settings(repository: Repository, path: str) -> dict[str, Any]:
    """Return what ``sentence_bert_config.json`` says, under the names of `Published`."""
    files = ((name, repository.json(join(path, name))) for name in _TRANSFORMER_FILES)
    file, said = next(((name, found) for name, found in files if found), (_TRANSFORMER_FILES[0], {}))
    where = f"encoder {repository.name}: {join(path, file)}"
    _refuse_unknown(said, _TRANSFORMER_KEYS, where)
    if said.get("transformer_task", "feature-extraction") != "feature-extraction":
        raise InputError(f"{where}: transformer_task {said['transformer_task']!r} is not supported")
    for key in ("query_expansion", "processing_kwargs", "tokenizer_name_or_path"):
        if said.get(key):
            raise InputError(f"{where}: {key} is not supported")
    hidden_state = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    modality = said.get("modality_config", hidden_state)
    if modality != hidden_state or said.get("module_output_name", "token_embeddings") != "token_embeddings":
        raise InputError(
            f"{where}: modality_config {', '.join(modality)} with {said.get('module_output_name')} is not supported; "
            "supported are texts, by the model's last hidden state"
        )
    for names, known in _ARGUMENTS.items():
        for key in names:
            _refuse_unknown(_object(said, key, where), known, f"{where}: {key}")
    processor = _object(said, "processor_kwargs", where) or _object(said, "tokenizer_args", where)
    return {
        "lower_case": bool(said.get("do_lower_case")),
        "length": _whole(said, "max_seq_length", where) or _whole(processor, "model_max_length", where),
        "query_length": _whole(said, "query_length", where),
        "passage_length": _whole(said, "document_length", where),
        "padding_side": _text(processor, "padding_side", where, ("left", "right")),
        "truncation_side": _text(processor, "truncation_side", where, ("left", "right")),
    }


def _pooling_settings(repository: Repository, path: str) -> dict[str, Any]:
    file = join(path, "config.json")
    said, where = repository.json(file), f"encoder {repository.name}: {file}"
    _refuse_unknown(said, _POOLING_KEYS, where)
    names = {old: name for name, old in POOLINGS.items()} | {"mean_sqrt_len_tokens": "mean_sqrt_len"}
    modes = said.get("pooling_mode")
    if modes is None:
        modes = [key for key in said if key in names and said[key]] or ["mean"]
    modes = [names.get(str(mode), str(mode)) for mode in (modes if isinstance(modes, list) else [modes])]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise InputError(f"{where}: pools by {' + '.join(modes)}; supported is one of {', '.join(POOLINGS)}")
    return {"pooling": modes[0], "include_prompt": said.get("include_prompt", True) is not False}


def _model_settings(repository: Repository) -> dict[str, Any]:
    """Return what ``config_sentence_transformers.json`` says."""
    said, where = repository.json(_MODEL_FILE), f"encoder {repository.name}: {_MODEL_FILE}"
    kind = said.get("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        raise InputError(f"encoder {repository.name}: is a {kind}; a SentenceTransformer is needed, one vector a text")
    prompts = said.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise InputError(f"{where}: prompts are no texts by name")
    return {
        "prompts": {name: text for name, text in prompts.items() if text is not None},
        "default_prompt_name": _text(said, "default_prompt_name", where),
        "similarity": _text(said, "similarity_fn_name", where),
        "truncate_dim": _whole(said, "truncate_dim", where),
    }


def _head(repository: Repository, kind: str, path: str) -> Dense | Normalize:
    """Return a module after the pooling."""
    file = join(path, "config.json")
    said, where = repository.json(file), f"encoder {repository.name}: {file}"
    for key in ("module_input_name", "module_output_name"):
        if said.get(key) not in (None, "sentence_embedding"):
            raise InputError(f"{where}: {key} {said[key]} is not supported; supported is sentence_embedding")
    if kind == "Normalize":
        return Normalize()
    _refuse_unknown(said, _DENSE_KEYS, where)
    activation = str(said.get("activation_function", "torch.nn.modules.activation.Tanh"))
    owner, _, last = activation.rpartition(".")
    if not owner.startswith("torch.nn") or last not in ACTIVATIONS:
        raise InputError(
            f"{where}: activation_function {activation} is not supported; supported of torch.nn: "
            f"{', '.join(ACTIVATIONS)}"
        )
    for key in ("in_features", "out_features"):
        if type(said.get(key)) is not int or not 1 <= said[key] <= _LARGEST:
            raise InputError(f"{where}: {key} must be a whole number above 0 (got {short_repr(said.get(key))})")
    residual = bool(said.get("use_residual"))
    return Dense(path, said["in_features"], said["out_features"], said.get("bias", True) is not False, last, residual)


def _adapter_of(repository: Repository, path: str) -> str | None:
    """Return the name of the model that a folder's adapters belong to; None: it holds no adapters."""
    said = repository.json(join(path, "adapter_config.json"))
    base: str | None = said.get("base_model_name_or_path")
    if said and (not isinstance(base, str) or not base):
        raise InputError(
            f"encoder {repository.name}: holds adapters (adapter_config.json) and does not say of which model; merge "
            "them by peft's merge_and_unload and give the merged folder"
        )
    if said.get("megatron_config"):  # peft would import the module that `megatron_core` names
        raise InputError(f"encoder {repository.name}: holds adapters of Megatron, which are not supported")
    return base


def _whole(said: Mapping[str, Any], key: str, where: str) -> int | None:
    """Return a size that a file says, None where it says none."""
    value = said.get(key)
    if value is not None and (type(value) is not int or not 0 <= value <= _LARGEST):
        raise InputError(f"{where}: {key} must be a whole number up to {_LARGEST} (got {short_repr(value)})")
    return value


def _text(said: Mapping[str, Any], key: str, where: str, known: Sequence[str] = ()) -> str | None:
    """Return a text that a file says, of those that are ``known``, if any are; None where it says none."""
    value = said.get(key)
    if value is not None and (not isinstance(value, str) or (known and value not in known)):
        raise InputError(f"{where}: {key} must be {' or '.join(known) or 'a text'} (got {short_repr(value)})")
    return value


def _object(said: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    """Return an object that a file holds, an empty one where it has none."""
    value = said.get(key) or {}
    if not isinstance(value, dict):
        raise InputError(f"{where}: {key} must be an object (got {short_repr(value)})")
    return value


def _refuse_unknown(said: Mapping[str, Any], known: set[str], where: str) -> None:
    """Refuse keys that could change vectors in an unknown way; empty values say nothing."""
    for key, value in said.items():
        if key not in known and value not in (None, False, {}, []) and not key.startswith("_"):
            raise InputError(f"{where}: {key} = {value!r} is not supported; without it the vectors could be wrong")
