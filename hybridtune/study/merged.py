"""A merged model: what went into it, its card, and its folder. `merge` and the soups of a study write it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hybridtune.config.fields import Encoder
from hybridtune.config.yaml_text import dump_yaml
from hybridtune.data.training_texts import TrainingTexts
from hybridtune.metrics.groups import pairs_by_sides, sides_of
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.folder import save_folder, save_language_vectors
from hybridtune.model.language_vectors import LanguageVectors
from hybridtune.model.published import TRAINING_TEXTS
from hybridtune.report.render import render
from hybridtune.study.card import SHOWN, card_data, language_vectors_section, scores_row, versions
from hybridtune.study.folder import environment, write_json

PROVENANCE = "merged.json"  # in the folder of a merged model: what was merged, with which weights


@dataclass(frozen=True)
class Part:
    """One of the models that were merged; ``sha256`` is `weights_digest` of its weights."""

    model: str  # its name for people, without a folder of this machine
    weight: float  # the weights of a merged model add up to 1
    sha256: str


@dataclass(frozen=True)
class Merged:
    """A merged model, for its folder."""

    name: str
    encoder: Encoder  # how it is used
    parts: Sequence[Part]
    training_pairs: Mapping[str, int] | None  # see `unite_pairs`
    texts: TrainingTexts | None  # fingerprints of the texts of all models that say theirs
    all_texts: bool  # all of them do
    matryoshka: Sequence[int] = ()  # widths at which all of them were trained to be cut off
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # benchmark -> see `full_scores`
    chosen: str = ""  # how the weights were chosen, in a sentence
    moved: LanguageVectors | None = None  # fitted on training texts, to be written beside it


def unite_pairs(trained: Sequence[Mapping[str, int] | None]) -> dict[str, int] | None:
    """Return the distinct pairs that merged models were trained on, by "query language-passage language".

    Of a pair that several were trained on it is the largest of their numbers, which is no more than the truth: the same
    pairs of texts may be in each. None where one of them is not known: a pair that is missing would pass for zero-shot.

    Example:
        >>> unite_pairs([{"en-en": 7, "en-de": 2}, {"en-de": 5}])
        {'en-de': 5, 'en-en': 7}
    """
    known = [pairs for pairs in trained if pairs is not None]
    if len(known) < len(trained):
        return None
    names = sorted({name for pairs in known for name in pairs})
    return {name: max(pairs.get(name, 0) for pairs in known) for name in names}


def common_widths(widths: Sequence[Sequence[int]]) -> list[int]:
    """Return the widths at which all merged models, one at least, were trained to be cut off."""
    return [width for width in widths[0] if all(width in others for others in widths)]


def unite_texts(texts: Sequence[TrainingTexts | None]) -> TrainingTexts | None:
    """Return the fingerprints of the texts of several trainings, of those that are known; None: of none."""
    united: TrainingTexts | None = None
    for one in texts:
        if one is not None:
            united = one if united is None else one.after(united)
    return united


def write_merged(model: DualEncoder, source: str, merged: Merged, folder: Path) -> None:
    """Write the folder of a merged model: weights, card, provenance, and what it says of its training.

    Args:
        model: with the averaged weights.
        source: folder or name of a model whose settings and tokenizer all parts share.
        merged: what it is.
        folder: new or empty.
    """
    card = merged_card(merged, model.pooled_alone)
    save_folder(model, source, merged.encoder, folder, card, merged.training_pairs, merged.matryoshka)
    write_json({"models": [asdict(part) for part in merged.parts]}, folder / PROVENANCE)
    save_language_vectors(folder, merged.moved)
    if merged.scores:
        write_json(dict(merged.scores), folder / "scores.json")
    if merged.texts is not None:
        merged.texts.save(folder / TRAINING_TEXTS)


def merged_card(merged: Merged, pooled_alone: bool = True) -> str:
    """Return README.md of a merged model; see `model_card`."""
    known = merged.training_pairs or {}
    languages = sorted({language for pair in known for language in sides_of(pair, ())})
    front = card_data(merged.name, languages, merged.scores, tags=["merge"])
    sides = pairs_by_sides(known, languages)
    pairs = [[f"**{x}**", *(sides.get((x, y), 0) for y in languages)] for x in languages]
    return render(
        "hybridtune.study",
        "merged.md.j2",
        front_matter=dump_yaml(front).strip(),
        name=merged.name,
        parts=[[part.model, f"{part.weight:.4g}", part.sha256[:16]] for part in merged.parts],
        encoder=merged.encoder,
        matryoshka=list(merged.matryoshka),
        pooled_alone=pooled_alone,
        metrics=list(SHOWN),
        scores=[scores_row(name, scores) for name, scores in merged.scores.items()],
        chosen=merged.chosen,
        **language_vectors_section(merged.moved),
        pairs=None if merged.training_pairs is None else pairs,
        languages=languages,
        texts=merged.all_texts,
        versions=versions(environment()),
    )
