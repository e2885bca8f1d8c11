"""The check of the languages of training texts before a study starts: a wrong code spoils every table by language."""

from hybridtune.callbacks import StudyCallback
from hybridtune.config.study import Study
from hybridtune.data.language_check import GROUPS, TEXTS, mostly_mislabelled
from hybridtune.data.readers.native import Group
from hybridtune.data.text_sample import TextSample
from hybridtune.errors import InputError


class LanguageGuard:
    """Looks at the first groups of a study's training data, and says whether most texts of a language are another's."""

    def __init__(self) -> None:
        self._sample, self._groups = TextSample(TEXTS), 0

    def look(self, group: Group) -> None:
        """Take the next group."""
        self._groups += 1
        if self._groups <= GROUPS:
            self._sample.add(group)

    def check(self, study: Study, callback: StudyCallback) -> None:
        """Refuse the data, or tell of it, by ``data.on_wrong_language``.

        Raises:
            InputError: most texts of a language are in another one, and the setting is error.
        """
        wrong = mostly_mislabelled(self._sample)
        if wrong is None:
            return
        if study.data.on_wrong_language == "error":
            raise InputError(
                f"data.train: {wrong.describe()}. --set data.on_wrong_language=warn trains on them as they are"
            )
        callback.on_message(f"data.train: {wrong.describe()}")
