"""The check of the languages of training texts before a study starts: a wrong code spoils every table by language."""

from itertools import islice

from hybridtune.callbacks import StudyCallback
from hybridtune.config.study import Study
from hybridtune.data.language_check import GROUPS, TEXTS, mostly_mislabelled
from hybridtune.data.store import StoreRecipe, existing_store, store_root
from hybridtune.data.text_sample import TextSample
from hybridtune.errors import InputError


def check_languages(study: Study, made_of: StoreRecipe, callback: StudyCallback) -> None:
    """Look whether most texts of a language are in another one; data of which a token store was made were checked.

    Raises:
        InputError: they are, and ``data.on_wrong_language`` is error.
    """
    if existing_store(store_root(study.data), made_of) is not None:
        return
    groups = (group for _, group in islice(made_of.groups(), GROUPS))
    wrong = mostly_mislabelled(TextSample.of(groups, TEXTS))
    if wrong is None:
        return
    if study.data.on_wrong_language == "error":
        raise InputError(
            f"data.train: {wrong.describe()}. --set data.on_wrong_language=warn trains on them as they are"
        )
    callback.on_message(f"data.train: {wrong.describe()}")
