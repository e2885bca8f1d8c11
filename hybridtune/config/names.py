"""Names of fields, data sets, arms and contestants.

They are apart from the models, since `hybridtune status` shows them and loads no model.
"""

import re
from collections.abc import Sequence

from hybridtune.errors import InputError, short_repr

TUNED = "tuned"  # the arm whose mixing ratio is searched, and the best trial of it
FIXED_ARMS = {"mono-only": 1.0, "half-half": 0.5, "cross-only": 0.0}  # the others, by their mixing ratio
LEARNED = "learned"  # the mix that follows the dev scores: a schedule, and its training with the tuned trial's values
LEARNED_FILE_VALUES = "learned-file-values"  # and its training with the study file's own values
ENDING = ("linear", "cosine", "step")  # schedules that go to a final ratio
SAME_VALUES = "same-values"  # the strongest fixed ratio, trained with the other values of the tuned trial
FILE_VALUES = "file-values"  # the strongest fixed ratio, trained with the study file's own values
LONGEST_NAME = 255  # bytes of a name that file systems take
_LONGEST_ID = 200  # characters of a name in a record
ORIGINS = ("native", "translated", "bitext")  # of a training pair: see `Corpus.origins`
SOUP = "soup"  # the average of trainings' weights that is best on dev
START = "start"  # the untrained encoder
CENTRED = "-centred"  # behind a contestant's name: the same without its languages' means
# What is done to a contestant's vectors or scores without training, in its slug -> in words.
WITHOUT_TRAINING = {
    CENTRED: "centred",
    "-together": "centred together",
    "-shift": "shifted",
    "-standardised": "centred, scores standardised",
}


def check_file_name(name: object, what: str) -> None:
    """Check that a name out of a record may name a file in a folder of ours, before it becomes part of a path.

    Raises:
        InputError: it is a path, hidden, empty, too long, or holds control characters; ``what`` says whose name it is.

    Example:
        >>> check_file_name("../../etc", "the id of a trial")
        Traceback (most recent call last):
        hybridtune.errors.InputError: the id of a trial, '../../etc', is not the name of a file
    """
    usable = isinstance(name, str) and 0 < len(name) <= _LONGEST_ID and name.isprintable() and name[0] != "."
    if not usable or set(str(name)) & set("/\\"):
        raise InputError(f"{what}, {short_repr(name)}, is not the name of a file")


def short_name(name: str) -> str:
    """Return the name of a field for tables and charts: without its section."""
    return name.partition(".")[2] or name


def data_set_names(paths: Sequence[str], given: Sequence[str]) -> list[str]:
    """Return a name for each data set: the given one or, where that is empty, one made of the end of its path.

    Example:
        >>> data_set_names(["hf://a/news.v2.jsonl.gz", "faq/*.parquet", "b/news.csv"], ["", "", ""])
        ['news', 'faq', 'news-2']
    """
    names: list[str] = []
    for path, own in zip(paths, given, strict=True):
        parts = (re.sub(r"\W+", "-", part.partition(".")[0]).strip("-_") for part in reversed(path.split("/")))
        name = base = own or next(filter(None, parts), "data")
        while not own and name in (*names, *given):
            number = int(name.removeprefix(base).strip("-") or 1) + 1
            name = f"{base}-{number}"
        names.append(name)
    return names


def contestant_name(slug: str, ratio: str | None) -> str:
    """Return the words for a contestant; ``ratio`` is the fixed ratio of its trial, like ``half-half``, if any.

    Example:
        >>> contestant_name("same-values", "half-half")
        'half-half, same values'
        >>> contestant_name("start-centred", None)
        'start, centred'
    """
    plain, way = split_way(slug)
    words = {
        SAME_VALUES: f"{ratio}, same values",
        FILE_VALUES: f"{ratio}, file's values",
        LEARNED_FILE_VALUES: "learned, file's values",
    }
    return words.get(plain, plain) + (f", {WITHOUT_TRAINING[way]}" if way else "")


def split_way(slug: str) -> tuple[str, str]:
    """Return a contestant without what is done to its vectors, and that, a key of `WITHOUT_TRAINING`; empty: nothing.

    Example:
        >>> split_way("same-values-centred")
        ('same-values', '-centred')
    """
    way = next((one for one in WITHOUT_TRAINING if slug.endswith(one)), "")
    return slug.removesuffix(way), way
