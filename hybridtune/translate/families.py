"""Families of translation models, and how each is told its languages: read from its tokenizer, no table by hand."""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridtune.config.json_text import parse_json
from hybridtune.config.languages import canonical_code, is_language
from hybridtune.errors import InputError

_NEAR, _RELATED = 3, 25  # distances of langcodes: the same language in other words; one that might do
_SHOWN = 12  # languages in a message


@dataclass(frozen=True)
class Family:
    """Translation models that are told their languages in one way."""

    name: str
    model_type: str  # of their config.json
    tokenizers: tuple[str, ...]  # the classes of their tokenizers
    licence: str  # of the published models
    language: str  # pattern of the tokens that name a language, with its code as the group
    notice: str = ""


FAMILIES = (
    Family("MADLAD-400", "t5", ("T5Tokenizer",), "apache-2.0", r"<2(\w+)>"),
    Family("M2M-100", "m2m_100", ("M2M100Tokenizer",), "mit", r"__([a-z]+)__"),
    Family(
        "NLLB-200",
        "m2m_100",
        ("NllbTokenizer",),
        "cc-by-nc-4.0",
        r"([a-z]{3}_[A-Z][a-z]{3})",
        "NLLB-200 is licensed CC-BY-NC 4.0: its translations, and a model that is trained on them, are not for "
        "commercial use; MADLAD-400 (Apache-2.0) has no such bound",
    ),
    Family("OPUS-MT", "marian", ("MarianTokenizer",), "cc-by-4.0", r">>(\w+)<<"),
)
KNOWN = ", ".join(f"{family.name} ({family.model_type})" for family in FAMILIES)


def recognise(folder: Path, name: str) -> Family:
    """Return the family of a model folder, by its config.json, or of a converted one by its tokenizer.

    Raises:
        InputError: a family that is not known, or no model folder; one line that names it.
    """
    for key in ("attn_implementation", "_attn_implementation"):
        if "/" in str(_setting(folder / "config.json", key)):
            raise InputError(
                f"--model {name}: its config.json has attention computed by code from the hub, which is not run; take "
                f"{key} out of it"
            )
    model_type = _setting(folder / "config.json", "model_type")
    tokenizer = str(_setting(folder / "tokenizer_config.json", "tokenizer_class") or "").removesuffix("Fast")
    found = [family for family in FAMILIES if tokenizer in family.tokenizers]
    if model_type is not None:
        of_type = [family for family in FAMILIES if family.model_type == model_type]
        if not of_type:
            raise InputError(f"--model {name}: a model of type {model_type!r} is no known translator; known: {KNOWN}")
        found = [family for family in of_type if family in found] or of_type
    if not found:
        raise InputError(
            f"--model {name}: its config.json names no model_type and its tokenizer_config.json no known tokenizer "
            f"({tokenizer or 'none there'}); known: {KNOWN}"
        )
    return found[0]


def _setting(file: Path, key: str) -> Any:
    with contextlib.suppress(OSError, ValueError):
        return parse_json(file.read_text(encoding="utf-8")).get(key)
    return None


class FamilyTokenizer:
    """Turns texts into tokens that tell a model of a family its languages, and the tokens that it returns into texts.

    ``name`` is the model's, for messages.
    """

    def __init__(self, family: Family, folder: Path, name: str) -> None:
        import transformers

        self.family, self.name = family, name
        # transformers' own T5 tokenizer takes token 2 for unknown characters, which ends MADLAD's texts.
        whole = family.model_type == "t5" and (folder / "tokenizer.json").is_file()
        kind = transformers.PreTrainedTokenizerFast if whole else transformers.AutoTokenizer
        try:
            self.tokenizer: Any = kind.from_pretrained(str(folder))
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise InputError(f"--model {name}: no tokenizer there: {' '.join(str(error).split())[:200]}") from None
        self.targets = _languages(family, self.tokenizer.get_vocab())
        self.sources = self.targets
        if family.model_type == "marian":
            one = {part: _tag(getattr(self.tokenizer, part, None) or "") for part in ("source_lang", "target_lang")}
            self.sources = {one["source_lang"]: ""} if one["source_lang"] else {}  # none: a group of languages
            if not self.targets and one["target_lang"]:
                self.targets = {one["target_lang"]: ""}
        if not self.targets:
            raise InputError(
                f"--model {name}: its tokenizer has no tokens that name languages, like those of {family.name}; "
                f"known: {KNOWN}"
            )

    def token(self, language: str, target: bool) -> str:
        """Return the token that names a language; empty where the model is not told it.

        Raises:
            InputError: the model does not have the language; with the nearest that it has.
        """
        import langcodes

        known = self.targets if target else self.sources
        if not known:
            return ""
        found, _ = langcodes.closest_match(language, list(known), max_distance=_NEAR)
        if found != "und":
            return known[found]
        related, _ = langcodes.closest_match(language, list(known), max_distance=_RELATED)
        near = f"the nearest that it has is {related}" if related != "und" else _count(sorted(known))
        raise InputError(f"--model {self.name} does not translate {'to' if target else 'from'} {language}; {near}")

    def encode(self, texts: Sequence[str], source: str, target: str) -> list[list[str]]:
        """Return the tokens of texts as the model's encoder takes them."""
        into, tokenizer = self.token(target, True), self.tokenizer
        if self.family.model_type == "m2m_100":
            tokenizer.src_lang = self._own_code(self.token(source, False))
        elif into:
            texts = [f"{into} {text}" for text in texts]
        # Longer texts are left out by their number of tokens, not cut here: the warning would say otherwise.
        ids = tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
        return [tokenizer.convert_ids_to_tokens(row) for row in ids]

    def first(self, target: str) -> str | None:
        """Return the token that the output is made to begin with, if any."""
        return self.token(target, True) if self.family.model_type == "m2m_100" else None

    def decode(self, rows: Sequence[Sequence[str]]) -> list[str]:
        """Return the texts of tokens that a model's decoder returned."""
        tokenizer = self.tokenizer
        ids = [tokenizer.convert_tokens_to_ids(list(row)) for row in rows]
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return [text.strip() for text in texts]

    def _own_code(self, token: str) -> str:
        return token.strip("_") if self.family.name == "M2M-100" else token


def _languages(family: Family, vocabulary: dict[str, int]) -> dict[str, str]:
    """Return language -> token, of the tokens of a vocabulary that name languages."""
    found: dict[str, str] = {}
    for token in sorted(vocabulary, key=vocabulary.__getitem__):
        match = re.fullmatch(family.language, token)
        tag = _tag(match[1]) if match else ""
        if tag:
            found.setdefault(tag, token)
    return found


def _tag(code: str) -> str:
    """Return the code of a language that a model calls by a code of its own; empty where it is none."""
    return canonical_code(code) if is_language(code) else ""


def _count(known: list[str]) -> str:
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"it has {', '.join(known[:_SHOWN])}{more}"
