import pytest

from hybridtune.config.study import load_study
from hybridtune.errors import InputError
from hybridtune.runtime import local
from hybridtune.runtime.resources import NodeType, Shape
from hybridtune.study.preflight import run_preflight
from hybridtune.study.summary import describe_plan, notices, opening_lines, trials_line

BOTH = ["de", "en"]


def rows(*kinds):
    """Groups of (count, query languages, passage languages); no two share a text."""
    languages = [kind for count, *kind in kinds for _ in range(count)]
    return [
        {"group_id": str(i), "queries": {x: f"q{i}{x}" for x in queries}, "passages": {x: f"p{i}{x}" for x in passages}}
        for i, (queries, passages) in enumerate(languages)
    ]


@pytest.fixture
def prepared(study_file, groups_file):
    """Prepares a study of handmade groups and of the benchmark `newsroom:dev`."""

    def make(
        kinds,
        mix=(),
        space=None,
        searching=True,
        batch_size=4,
        train=(),
        resources=(),
        shape=None,
        encoder=None,
        **search,
    ):
        data = {"train": str(groups_file(rows(*kinds), "train.jsonl"))}
        train = {"batch_size": batch_size, "max_steps": 20, **dict(train)}
        search = {**search, "space": {"temperature": {"loguniform": [0.01, 0.1]}} if space is None else space}
        sections = {"data": data, "mix": dict(mix), "train": train, "search": search, "resources": dict(resources)}
        sections |= {} if encoder is None else {"encoder": encoder}
        return run_preflight(load_study(study_file(**sections)), searching, shape)

    return make


def without_zero_shot(found):
    return [line for line in notices(found) if not line.startswith("zero-shot")]


MANY = [(9, BOTH, BOTH), (2, ["sw"], ["sw", "en"])]


@pytest.mark.parametrize(
    ("kinds", "mix", "lines"),
    [
        ([(9, BOTH, BOTH)], {}, []),
        (MANY, {}, ["left out of mono batches: sw (fewer distinct groups than train.batch_size 4)"]),
        (
            MANY,
            {"cross_batch": "single_pair"},
            [
                "left out of mono batches: sw (fewer distinct groups than train.batch_size 4)",
                "left out of cross batches: sw-en (fewer distinct groups than train.batch_size 4)",
            ],
        ),
        (
            [(9, BOTH, BOTH), (3, [], BOTH)],
            {},
            ["3 groups have no question-passage pair and are not used: mix.align_share trains on them"],
        ),
        ([(9, BOTH, BOTH), (3, [], BOTH)], {"align_share": 0.2}, []),
        (
            [(9, BOTH, BOTH), (2, ["sw"], ["sw"])],
            {"weights": {"sw": 3.0, "sw-en": 2.0, "de": 2.0}},
            [
                "left out of mono batches: sw (fewer distinct groups than train.batch_size 4)",
                "mix.weights without effect: sw, sw-en (no batch draws from them)",
            ],
        ),
        (
            [(9, BOTH, BOTH)],
            {"weights": {"en-de": 0, "de-en": 2}, "translated_weight": 2.0, "bitext_weight": 2.0},
            [
                "held out, though the data has them: en-de (data.unseen_pairs, or a weight of 0)",
                "mix.translated_weight has no effect: no training text says that a machine translated it",
                "mix.bitext_weight has no effect: no training group is without a query",
            ],
        ),
        (
            [(9, BOTH, BOTH), (9, [], BOTH)],
            {"bitext_weight": 2.0, "align_share": 0.2},
            [],
        ),
        ([(9, BOTH, BOTH)], {"final_ratio": 0.1}, ["mix.final_ratio 0.1 has no effect: mix.schedule is constant"]),
        (
            [(9, BOTH, BOTH)],
            {"schedule": "step", "final_ratio": 0.1, "step_at": 1},
            ["mix.step_at 1: the mixing ratio never changes within the training"],
        ),
        (
            [(9, BOTH, BOTH)],
            {"learned_step": 0.2},
            ["mix.learned_step has no effect: no training has mix.schedule learned"],
        ),
        (
            [(9, BOTH, BOTH)],
            {"schedule": "learned", "final_ratio": 0.1},
            [
                "mix.final_ratio 0.1 has no effect: mix.schedule is learned",
                "mix.schedule learned: the batches shown are those of the first ratio; it can change 9 times, after "
                "each score (train.eval_steps 2)",
            ],
        ),
    ],
)
def test_what_is_left_out_or_without_effect_is_reported(prepared, kinds, mix, lines):
    assert without_zero_shot(prepared(kinds, mix)) == lines


@pytest.mark.parametrize(
    ("train", "mix", "lines"),
    [
        ({"teacher": "x"}, {}, ["train.teacher has no effect: mix.align_share is 0, and train.distil null"]),
        (
            {"teacher_languages": ["en"]},
            {},
            ["train.teacher_languages has no effect: mix.align_share is 0, and train.distil null"],
        ),
        (
            {"distil_from": "data", "distil_temperature": 2.0},
            {},
            [f"train.distil_{name} has no effect: train.distil is null" for name in ("from", "temperature")],
        ),
        (
            {"teacher_projection": "kept"},
            {},
            ["train.teacher_projection has no effect: the teacher's vectors have the width of the encoder's"],
        ),
        ({"freeze_dense": True}, {}, ["train.freeze_dense has no effect: the encoder has no Dense layer"]),
        ({"lora_alpha": 4.0}, {}, ["train.lora_alpha has no effect: train.lora_rank is 0"]),
        (
            {"temperature_range": [0.01, 1]},
            {},
            ["train.temperature_range has no effect: train.learn_temperature is false"],
        ),
        ({"patience": 2}, {}, ["train.patience 2 has no effect: there are 3 scores, see train.eval_steps"]),
        ({"patience": 2, "eval_steps": 5}, {}, []),
        ({}, {"align_share": 0.01}, ["mix.align_share 0.01: no align batch within 20 steps"]),
        (
            {"teacher": None, "lora_alpha": None, "temperature_range": [0.005, 1.0]},
            {},
            [],
        ),  # written out, as by --dry-run
    ],
)
def test_training_that_changes_nothing_is_reported(prepared, train, mix, lines):
    assert without_zero_shot(prepared([(9, BOTH, BOTH)], mix, train=train)) == lines


@pytest.mark.parametrize(("queries", "told"), [(["en"], True), (BOTH, False)])
def test_consistency_needs_queries_in_two_languages(prepared, queries, told):
    line = "train.consistency has no effect: no training group has its query in two languages"
    assert without_zero_shot(prepared([(9, queries, BOTH)], train={"consistency": 0.1})) == [line] * told


@pytest.mark.parametrize(("languages", "told"), [(["en"], True), (["de", "en"], False), ([], False)])
def test_groups_whose_scores_the_teacher_cannot_give_are_counted(prepared, tiny, languages, told):
    train = {"distil": "kl", "teacher": str(tiny[0]), "teacher_languages": languages}
    line = "left out of train.distil: 5 of 14 groups, which have no query or no passage in train.teacher_languages"
    small = {"encoder": {"name": str(tiny[0]), "query_length": 16, "passage_length": 24}}
    found = prepared([(9, BOTH, BOTH), (5, ["de"], BOTH)], train=train, **small)
    assert [notice for notice in notices(found) if "train.distil" in notice] == [line] * told


def test_answer_sets_that_are_ignored_are_counted(study_file, groups_file):
    groups = rows((9, BOTH, BOTH))
    groups[1]["passages"]["en"] = "p0en"  # of the first group too
    groups[2]["negatives"] = {"de": ["p5de", "wrong"]}

    def told(rows, train, **search):
        data = {"train": str(groups_file(rows, "train.jsonl"))}
        study = load_study(study_file(data=data, train={"batch_size": 4, **train}, search=search))
        return [line for line in notices(run_preflight(study, True)) if "answer_sets" in line]

    line = (
        "train.answer_sets ignored: 2 of 9 groups and {} of 2 hard negatives answer queries of other groups, and may "
        "be their negatives"
    )
    assert told(groups, {"answer_sets": "ignored"}) == [line.format(1)]
    assert told(groups, {"answer_sets": "ignored", "negatives": 0}) == [line.format(0)]
    assert told(groups, {}, space={"answer_sets": {"choice": ["apart", "ignored"]}}) == [line.format(1)]
    assert told(groups, {}) == []
    none = "train.answer_sets has no effect: no training group, and no hard negative, answers another's query"
    assert told(rows((9, BOTH, BOTH)), {"answer_sets": "ignored"}) == [none]


def test_a_batch_that_only_ignored_answer_sets_fill_is_refused_where_a_trial_keeps_them_apart(study_file, groups_file):
    groups = rows((9, BOTH, BOTH))
    for group in groups[1:]:
        group["passages"]["en"] = "p0en"
    data = {"train": str(groups_file(groups, "train.jsonl"))}
    sections = {"data": data, "train": {"batch_size": 4, "answer_sets": "ignored"}}
    run_preflight(load_study(study_file(**sections)), True)
    space = {"answer_sets": {"choice": ["apart", "ignored"]}}
    with pytest.raises(InputError, match=r"train\.batch_size 4 is larger than the 1 distinct groups"):
        run_preflight(load_study(study_file(**sections, search={"space": space})), True)


def test_languages_that_the_teacher_cannot_read_are_reported(prepared):
    kinds = [(9, BOTH, BOTH), (3, [], ["sw", "yo"])]
    lines = without_zero_shot(prepared(kinds, {"align_share": 0.2}, train={"teacher_languages": ["en"]}))
    assert lines == ["left out of align batches: sw, yo (no translation that the teacher can read)"]


def test_stores_that_nothing_reads_any_more_are_reported(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRIDTUNE_CACHE", str(tmp_path / "cache"))
    found = prepared([(9, BOTH, BOTH)])
    old = tmp_path / "cache" / "0123"
    old.mkdir(parents=True)
    (old / "store.json").write_text("{}")
    line = f"{tmp_path / 'cache'}: token stores of another version of hybridtune, not read and free to be removed: 1"
    assert without_zero_shot(found) == [line]


@pytest.mark.parametrize(("trials", "stopping", "told"), [(7, {}, True), (8, {}, False), (7, None, False)])
def test_small_arms_are_not_stopped_early_and_that_is_told(prepared, trials, stopping, told):
    lines = without_zero_shot(prepared([(9, BOTH, BOTH)], trials=trials, early_stopping=stopping))
    line = "search.early_stopping is off: it stops the best too often in arms of fewer than 8 trials"
    assert lines == [line] * told


def test_data_without_a_question_is_refused_in_one_go(prepared):
    with pytest.raises(InputError, match="the training data has no question-passage pair: no group has both"):
        prepared([(9, [], BOTH)], {"align_share": 0.9})


def test_what_the_search_may_use_is_not_called_without_effect(prepared):
    space = {"schedule": {"choice": ["constant", "linear"]}, "align_share": {"uniform": [0.0, 0.3]}}
    train = {"teacher_languages": ["en"]}
    assert without_zero_shot(prepared([(9, BOTH, BOTH)], {"final_ratio": 0.1}, space, train=train)) == []


def test_a_searched_end_of_a_schedule_needs_no_fixed_one(prepared):
    space = {"final_ratio": {"uniform": [0.0, 0.4]}}
    found = prepared([(9, BOTH, BOTH)], {"schedule": "linear", "mixing_ratio": 0.8}, space)
    assert found.plan.requested_ratio(20) == pytest.approx(0.6)  # shown: from the fixed start to the end of the range
    assert found.study.mix.final_ratio is None
    with pytest.raises(InputError, match=r"^mix\.schedule linear needs a mixing ratio to end with"):
        prepared([(9, BOTH, BOTH)], {"schedule": "linear", "mixing_ratio": 0.8}, space, searching=False)


@pytest.mark.parametrize(
    ("kinds", "mix", "space", "line"),
    [
        (
            [(9, ["en"], ["en"])],
            {"mixing_ratio": 1.0, "schedule": "constant"},
            {"schedule": {"choice": ["constant", "step"]}, "final_ratio": {"uniform": [0.5, 1.0]}},
            "final_ratio 0.5 asks for cross batches",
        ),
        (
            [(9, BOTH, BOTH)],
            {},
            {"batch_size": {"choice": [4, 16]}},
            "train.batch_size 16 is larger than the 9 distinct",
        ),
        (
            [(9, ["en"], ["en", "de"])],
            {},
            {"teacher_languages": {"choice": [[], ["fr"]]}, "align_share": {"uniform": [0.0, 0.5]}},
            "train.teacher_languages: the training data has no text in 'fr'; known here: de, en",
        ),
        (
            [(9, BOTH, ["en"])],
            {},
            {"align_share": {"uniform": [0.0, 0.5]}},
            "no group with passages in two languages, and align_share 0.5 asks for align batches",
        ),
    ],
)
def test_the_ends_of_the_search_are_tried_before_anything_starts(prepared, kinds, mix, space, line):
    with pytest.raises(InputError) as caught:
        prepared(kinds, mix, space, arms="none")
    assert line in str(caught.value)


def test_fixed_ratios_are_tried_with_a_constant_schedule(prepared):
    mix = {"mixing_ratio": 1.0, "schedule": "linear", "final_ratio": 1.0}
    assert without_zero_shot(prepared([(9, ["en"], ["en"])], mix, arms="none")) == []
    with pytest.raises(InputError, match=r"no cross pair, and mixing_ratio 0\.5 asks for cross batches"):
        prepared([(9, ["en"], ["en"])], mix)


@pytest.mark.parametrize(
    ("mix", "search"),
    [
        ({"schedule": "learned"}, {}),
        ({}, {"learned": True, "arms": "none"}),
        ({}, {"space": {"schedule": {"choice": ["constant", "learned"]}}, "arms": "none"}),
    ],
)
def test_a_learned_mix_needs_both_kinds_of_batch_and_all_settings(study_file, prepared, mix, search):
    kinds = [(9, ["en"], ["en"])]
    with pytest.raises(InputError, match="no cross pair"):
        prepared(kinds, {**mix, "mixing_ratio": 1.0}, **search)
    dev = {"path": "newsroom:dev", "languages": ["en"]}
    with pytest.raises(
        InputError, match=r"benchmarks\.dev: has no cross and no multi setting, and a learned mix follows"
    ):
        run_preflight(
            load_study(study_file(benchmarks={"dev": dev}, mix=mix, search={**search, "objective": "mono/AP"})),
            searching=True,
        )


def test_a_study_with_a_learned_mix_is_scored_ten_times(prepared):
    both = [(9, BOTH, BOTH)]
    assert prepared(both).study.eval_steps == 7
    assert prepared(both, {"schedule": "learned"}).study.eval_steps == 2
    learned = prepared(both, learned=True).study
    assert learned.eval_steps == learned.with_values({"mix.mixing_ratio": 0.2}).eval_steps == 2
    assert prepared(both, {"schedule": "learned"}, train={"eval_steps": 5}).study.eval_steps == 5
    few = notices(prepared(both, {"schedule": "learned"}, train={"eval_steps": 10}))
    assert "a learned mix can change 1 times only: a smaller train.eval_steps lets it follow sooner" in few


NODES = Shape((NodeType("head", 0, 0, None, 1, 1, head=True), NodeType("gpu", 8, 6, "A10G", 0, 3)), None)
AUTO = {"workers": "auto", "cpus_per_worker": "auto", "gpus_per_worker": "auto"}


def test_auto_is_worked_out_from_the_cluster(prepared):
    found = prepared([(9, BOTH, BOTH)], resources=AUTO, shape=NODES, trials=9)
    resources = found.study.resources
    assert (resources.workers, resources.gpus_per_worker) == (4, 1)  # of 6 GPUs: they divide the batch of 4
    assert isinstance(resources.cpus_per_worker, int)
    assert found.allocation.at_once == 3
    assert found.allocation.nodes == {"head": 1, "gpu": 3}
    one = prepared([(9, BOTH, BOTH)], resources=AUTO, shape=NODES, searching=False)
    assert (one.allocation.at_once, one.allocation.nodes) == (1, {"head": 1, "gpu": 1})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, True),
        ({"train": {"dropout": 0.1}}, False),
        ({"train": {"precision": "tf32"}}, False),
        ({"resources": AUTO | {"gpus_per_worker": 0}}, False),
    ],
)
def test_it_is_told_that_gpus_drop_no_attention_weights(prepared, changes, told):
    found = prepared([(9, BOTH, BOTH)], **{"resources": AUTO, "shape": NODES} | changes)
    assert any("no attention weights are dropped" in line for line in notices(found)) == told


def test_workers_that_are_worked_out_divide_every_batch_that_is_tried(prepared):
    space = {"batch_size": {"choice": [4, 6]}}
    found = prepared([(9, BOTH, BOTH)], space=space, resources=AUTO, shape=NODES)
    assert found.study.resources.workers == 2


def test_a_trial_that_no_node_holds_is_refused(prepared):
    with pytest.raises(InputError, match=r"8 GPUs .* has 6 GPUs"):
        prepared([(9, BOTH, BOTH)], resources={"gpus_per_worker": 8.0}, shape=NODES)


def test_this_machine_shares_its_evaluators_out(prepared, monkeypatch):
    monkeypatch.setattr(local, "cores", lambda: 8)
    monkeypatch.setattr(local, "gpus", lambda: 0)
    assert prepared([(9, BOTH, BOTH)], resources={"concurrent_trials": 3}).allocation.evaluators == 2
    assert prepared([(9, BOTH, BOTH)], resources={"concurrent_trials": 3, "evaluators": 1}).allocation.evaluators == 1
    assert prepared([(9, BOTH, BOTH)], resources={"concurrent_trials": 3}, searching=False).allocation.evaluators == 8


def test_what_a_benchmark_has_to_say_is_reported(study_file, groups_file):
    """Two groups of one query: as a benchmark one query, and a line says so before the study starts."""
    again = {"group_id": "x", "queries": {"en": "q0en"}, "passages": {"en": "more"}}
    path = groups_file([*rows((9, BOTH, BOTH)), again])
    study = load_study(study_file(benchmarks={"dev": {"path": str(path)}}))
    (line,) = (line for line in notices(run_preflight(study, False)) if line.startswith("benchmarks.dev: "))
    assert line.startswith("benchmarks.dev: 1 of the queries repeat the text of another in their language")


def test_freezing_the_dense_layer_of_an_encoder_that_has_one_needs_no_word(study_file, dense):
    encoder = {"name": str(dense[0]), "query_length": 16, "passage_length": 24}
    study = load_study(study_file(encoder=encoder, train={"batch_size": 8, "max_steps": 4, "freeze_dense": True}))
    assert not [line for line in notices(run_preflight(study, False)) if "freeze_dense" in line]


TRANSLATED = {
    "translated": {"passages": {"sw": "en"}},
    "translation": {"engine": "ctranslate2", "model": "madlad", "licence": "Apache-2.0"},
}


def test_the_opening_tells_origins_low_resource_languages_and_what_is_held_out(study_file, groups_file):
    groups = rows((9, BOTH, BOTH), (8, [*BOTH, "sw"], ["en", "sw"]), (3, [], ["en", "sw"]))
    for group in groups[13:17]:
        group |= TRANSLATED
    data = {"train": str(groups_file(groups, "train.jsonl")), "unseen_pairs": ["de-sw"]}
    train = {"batch_size": 4, "max_steps": 20}
    found = run_preflight(load_study(study_file(data=data, train=train, low_resource={"fewer_than": 30})), False)
    lines = opening_lines(found)
    assert "20 groups in 3 languages (3 of bitext), 34 mono and 50 cross pairs (72 native, 12 translated)" in lines[0]
    assert "texts translated by machine, en to sw: 4 by madlad (Apache-2.0)" in lines
    assert "low-resource languages (fewer than 30 training pairs), by training pairs: es 0, ha 0, ru 0, sw 24" in lines
    assert "held out, though the data has them: de-sw (data.unseen_pairs, or a weight of 0)" in lines
    described = describe_plan(found)
    assert described["study"]["low_resource"] == found.study.low_resource == ["es", "ha", "ru", "sw"]
    assert described["low_resource"] == {"es": 0, "ha": 0, "ru": 0, "sw": 24}
    (swahili,) = [row for row in described["languages"] if row["language"] == "sw"]
    assert (swahili["mono"], swahili["mono translated"], swahili["bitext"]) == (8, 4, 3)
    assert {row["origin"] for row in described["plan"]["table"]} == {"native", "translated"}
    assert not {"de-sw", "sw-de"} & {row["pair"] for row in described["plan"]["table"]}


def test_no_language_with_few_training_pairs_is_told(study_file, groups_file):
    data = {"train": str(groups_file(rows((9, BOTH, BOTH)), "train.jsonl"))}
    benchmarks = {"dev": {"path": "newsroom:dev", "languages": BOTH}}
    sections = {"data": data, "benchmarks": benchmarks, "train": {"batch_size": 4, "max_steps": 20}}
    found = run_preflight(load_study(study_file(low_resource={"fewer_than": 5}, **sections)), False)
    assert "low-resource languages (fewer than 5 training pairs): none" in opening_lines(found)
    assert found.study.low_resource == []
    named = run_preflight(load_study(study_file(low_resource=["de"], **sections)), False)
    assert "low-resource languages, by training pairs: de 27" in opening_lines(named)


def test_a_weight_of_0_that_may_be_drawn_is_tried_before_the_study_starts(prepared):
    space = {"data_set_weights.train": {"choice": [0, 1]}}
    with pytest.raises(InputError, match=r"the training data has no mono pair but for those that weights of 0 or"):
        prepared([(9, BOTH, BOTH)], {}, space, arms="rerun")
    prepared([(9, BOTH, BOTH)], {}, {"translated_weight": {"choice": [0, 1]}}, arms="rerun")


def test_the_plan_counts_the_screening_and_says_what_it_may_use_of_the_budget(study_file):
    search = {"trials": 4, "screening": {"layers": 1, "trials": 6, "keep": 2}, "step_budget": 96}
    found = run_preflight(load_study(study_file(search=search)), True)
    assert describe_plan(found)["screened"] == 24
    assert "16 trials in 4 arms, before them 24 screened with 1 layer, and up to 1 training after" in trials_line(
        found.study
    )
    (notice,) = [line for line in notices(found) if "step_budget" in line]
    assert notice.startswith("search.step_budget 96: the screening before the search may use up all of it, 96 steps;")
    for more in ({"step_budget": 97}, {"screening": None}):
        asked = load_study(study_file(search=search | more))
        assert not [line for line in notices(run_preflight(asked, True)) if "step_budget" in line]
