"""The plan of a study's batches, without torch: whoever hands in a training writes it down too."""

from collections.abc import Sequence

from hybridtune.config.study import Study
from hybridtune.data.corpus import Corpus
from hybridtune.data.learned_mix import first_segment
from hybridtune.data.plan import HybridPlan
from hybridtune.data.segments import Segment


def data_weights(study: Study) -> dict[str, float]:
    """Return the weight of each data set of a study by its name, in the order of ``data.train``."""
    return {one.name: study.mix.data_set_weights.get(one.name, 1.0) for one in study.data.train}


def make_plan(corpus: Corpus, study: Study, segments: Sequence[Segment] = ()) -> HybridPlan:
    """Make the plan of a study's batches; with a learned schedule also of the segments so far, see `first_segment`."""
    mix, train = study.mix, study.train
    learned = mix.schedule == "learned"
    plan = HybridPlan(
        corpus,
        mixing_ratio=first_segment(mix).mixing_ratio if learned else mix.mixing_ratio,
        sampling_exponent=mix.sampling_exponent,
        batch_size=train.batch_size,
        seed=study.seed,
        cross_batch=mix.cross_batch,
        schedule=mix.schedule,
        final_ratio=mix.final_ratio,
        step_at=mix.step_at,
        steps=train.max_steps,
        weights=mix.weights,
        unseen_pairs=study.data.unseen_pairs,
        data_weights=data_weights(study),
        translated_weight=mix.translated_weight,
        bitext_weight=mix.bitext_weight,
        align_share=mix.align_share,
        teacher_languages=train.teacher_languages,
        scored_by_teacher=study.scored_by_teacher,
        second_queries=train.consistency > 0,
        answer_sets=train.answer_sets,
    )
    return plan.with_segments(segments or [first_segment(mix)]) if learned else plan
