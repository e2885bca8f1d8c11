"""The scores that the training data have, where a study learns them: counted, and without any refused."""

from collections.abc import Iterator

from hybridtune.config.space import corners
from hybridtune.config.study import Study
from hybridtune.data.corpus import Corpus
from hybridtune.errors import InputError

_DECIDE = ("train.distil", "train.distil_from", "train.negatives")


def check_data_scores(study: Study, corpus: Corpus) -> None:
    """Check that the training data have the scores that some trial may be asked to learn.

    Raises:
        InputError: they have none, by data set, or a trial is given no hard negative to have one of.
    """
    learning = [trial for trial in _trials(study) if trial.learns_data_scores]
    if not learning:
        return
    if any(trial.train.negatives == 0 for trial in learning):
        raise InputError(
            "train.distil_from data: learns how hard negatives are scored, and train.negatives 0 leaves them out; give "
            "at least 1, or leave train.distil out"
        )
    scored, _ = corpus.scored_pairs(len(study.data.train))
    if not scored.any():
        names = ", ".join(one.name for one in study.data.train)
        raise InputError(
            f"train.distil_from data: no hard negative of data.train ({names}) has a score: pos_scores and neg_scores, "
            "scores, label, or margins of groups (docs/data.md); name their columns (columns: {scores: NAME}), or a "
            "teacher that scores the batches, by train.teacher and distil_from: teacher"
        )


def data_score_lines(study: Study, corpus: Corpus) -> list[str]:
    """Return a line on the pairs that the data have scores of, where a trial may learn them, with data sets apart."""
    if not any(trial.learns_data_scores for trial in _trials(study)):
        return []
    scored, pairs = (counts.tolist() for counts in corpus.scored_pairs(len(study.data.train)))
    line = f"train.distil_from data: {sum(scored):,} of {sum(pairs):,} pairs have a score of a hard negative"
    if len(scored) > 1:
        named = zip(study.data.train, scored, pairs, strict=True)
        line += f" ({', '.join(f'{one.name} {known:,} of {all_:,}' for one, known, all_ in named)})"
    return [line + "; the others add nothing to distil_loss" * (sum(scored) < sum(pairs))]


def _trials(study: Study) -> Iterator[Study]:
    """Yield the study, and it with each choice of what decides about the scores that a trial may get."""
    for values in ({}, *corners(study.search.space, _DECIDE)):
        fields = {name.removeprefix("train."): value for name, value in values.items()}
        # Not validated: other fields have the values of other trials.
        yield study.model_copy(update={"train": study.train.model_copy(update=fields)})
