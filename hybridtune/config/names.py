"""Names of fields, arms and contestants; apart from the models, since `hybridtune status` shows them and loads none."""

TUNED = "tuned"  # the arm whose mixing ratio is searched, and the best trial of it
FIXED_ARMS = {"mono-only": 1.0, "half-half": 0.5, "cross-only": 0.0}  # the others, by their mixing ratio
SAME_VALUES = "same-values"  # the strongest fixed ratio, trained with the other values of the tuned trial
FILE_VALUES = "file-values"  # the strongest fixed ratio, trained with the study file's own values
START, CENTRED = "start", "start-centred"  # the untrained encoder, and the same without its languages' means


def short_name(name: str) -> str:
    """Return the name of a field for tables and charts: without its section."""
    return name.rpartition(".")[2]


def contestant_name(slug: str, ratio: str | None) -> str:
    """Return the words for a contestant; ``ratio`` is the fixed ratio of its trial, like ``half-half``, if any.

    Example:
        >>> contestant_name("same-values", "half-half")
        'half-half, same values'
    """
    words = {SAME_VALUES: f"{ratio}, same values", FILE_VALUES: f"{ratio}, file's values", CENTRED: "start, centred"}
    return words.get(slug, slug)
