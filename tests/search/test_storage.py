"""Where the trials are kept, what a dashboard sees of them, and what a later study learns from them."""

import shutil
import sqlite3
import warnings

import optuna
import pytest
from optuna.trial import TrialState
from small_study import small_study

from hybridtune.config.search import masked_url
from hybridtune.config.study import dump_study
from hybridtune.errors import InputError
from hybridtune.search.optuna_search import searcher
from hybridtune.search.samplers import borrowed, check_search
from hybridtune.search.space import optuna_params
from hybridtune.search.trial import trial_values
from hybridtune.storage.optuna_storage import load_optuna_study, open_storage, storage_url
from hybridtune.study.folder import write_study

ONE = {"balanced/AP": "max"}
TWO = {"multi/AP": "max", "multi/rank_distance": "min"}
SPACE = {"mixing_ratio": {"uniform": [0.2, 0.8]}, "temperature": {"loguniform": [0.01, 0.2]}}


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental parts, the file's values outside the range
        yield


def study_of(train=(), **search):
    return small_study(train=dict(train), search={"space": SPACE, "storage": "journal", **search})


def run(study, goals, folder, trials=6):
    """Trials 0, 1, ... of which the fourth is stopped early and the fifth fails; the study folder."""
    folder.mkdir(exist_ok=True)
    if not (folder / "study.yaml").exists():
        write_study(study, folder)
    found = searcher(study, goals, folder, set())
    for place in range(trials):
        config = found.suggest(f"t{place}")
        for step in (5, 10):
            values = dict.fromkeys(goals, place + step / 10)
            found.on_trial_result(f"t{place}", {**values, "step": step, "realised_ratio": 0.25, "final": 0.0})
        last = {**dict.fromkeys(goals, place + 0.5), "step": 10, "realised_ratio": 0.25, "final": 1.0}
        if config["number"] == 4:
            found.on_trial_complete(f"t{place}", error=True)
        elif config["number"] == 3:
            stopped = {**last, **dict.fromkeys(goals, place + 1.0), "final": 0.0}  # Tune tells the last score here
            found.on_trial_complete(f"t{place}", stopped)
        else:
            found.on_trial_result(f"t{place}", last)
            found.on_trial_complete(f"t{place}", last)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("goals", [ONE, TWO], ids=["one", "two"])
@pytest.mark.parametrize("storage", ["sqlite", "journal", "url"])
def test_dashboards_see_states_values_and_names(tmp_path, storage, goals):
    place = f"sqlite:///{tmp_path / 'all.db'}" if storage == "url" else storage
    study = study_of(objective=list(goals), storage=place)
    folder = run(study, goals, tmp_path / "study")
    optuna_study = load_optuna_study(study, folder)
    done, stopped, failed = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
    assert [trial.state for trial in optuna_study.trials] == [done, done, done, stopped, failed, done]
    assert [trial.values for trial in optuna_study.trials if trial.state == done] == [
        [number + 0.5] * len(goals) for number in (0, 1, 2, 5)
    ]
    for number, trial in enumerate(optuna_study.trials):
        assert trial.intermediate_values == {5: number + 0.5, 10: number + 1.0}
        assert (trial.user_attrs["step"], trial.user_attrs["realised_ratio"]) == (10, 0.25)
    named = [(trial.user_attrs["arm"], trial.user_attrs["proposed"]) for trial in optuna_study.trials]
    assert named[:4] == [(arm, "file") for arm in ("mono-only", "half-half", "cross-only")] + [("tuned", "random")]
    assert optuna_study.metric_names == list(goals)
    assert "hybridtune" in optuna_study.user_attrs
    assert (
        storage_url(study, folder)
        == {
            "sqlite": f"sqlite:///{folder / 'optuna.db'}",
            "journal": str(folder / "optuna.log"),
            "url": place,
        }[storage]
    )


def test_a_folder_without_trials_has_no_ledger_and_gets_none(tmp_path):
    for storage in ("sqlite", "journal", f"sqlite:///{tmp_path / 'all.db'}"):
        with pytest.raises(InputError, match=r"holds no trials yet: no Optuna study 'small' in "):
            load_optuna_study(study_of(storage=storage), tmp_path)
    assert not (tmp_path / "optuna.db").exists()
    assert not (tmp_path / "optuna.log").exists()


def test_studies_of_two_folders_do_not_mix_in_one_database(tmp_path):
    study = study_of(storage=f"sqlite:///{tmp_path / 'all.db'}")
    run(study, ONE, tmp_path / "a", 1)
    with pytest.raises(InputError, match=r"all\.db: holds the study 'small' of .*/a; give this one another name"):
        run(study, ONE, tmp_path / "b", 1)
    other = study.model_copy(update={"name": "other"})
    run(other, ONE, tmp_path / "b", 1)
    assert len(load_optuna_study(study, tmp_path / "a").trials) == 1
    run(study, ONE, tmp_path / "a", 1)  # goes on


def test_a_moved_study_goes_on_in_its_database_and_a_copy_beside_it_does_not(tmp_path):
    study = study_of(storage=f"sqlite:///{tmp_path / 'all.db'}")
    run(study, ONE, tmp_path / "a", 1).rename(tmp_path / "moved")
    run(study, ONE, tmp_path / "moved", 1)
    copy = shutil.copytree(tmp_path / "moved", tmp_path / "copy")
    with pytest.raises(InputError, match=r"of .*/moved, of which .*/copy is a copy: one of them alone can go on"):
        run(study, ONE, copy, 1)
    shutil.rmtree(tmp_path / "moved")
    run(study, ONE, copy, 1)
    (copy / "environment.json").write_text('{"format": 5}')
    with pytest.raises(InputError, match=r"environment\.json: is missing, or says no id of the study"):
        run(study, ONE, copy, 1)


def test_a_password_is_read_from_the_environment_and_never_told(tmp_path, monkeypatch):
    study = study_of(storage="postgresql+psycopg2://me:${DB_PASSWORD}@localhost:1/trials")
    assert "s3cret" not in dump_study(study)
    with pytest.raises(InputError, match=r"the variable DB_PASSWORD is not set; set it \(export DB_PASSWORD="):
        storage_url(study, tmp_path)
    monkeypatch.setenv("DB_PASSWORD", "s3cret")
    assert storage_url(study, tmp_path) == "postgresql+psycopg2://me:s3cret@localhost:1/trials"
    for attempt in (lambda: check_search(study), lambda: open_storage(study, tmp_path)):
        with pytest.raises(InputError) as caught:
            attempt()  # no driver, or nobody there
        assert "postgresql+psycopg2://me:***@localhost:1/trials" in str(caught.value)
        assert "s3cret" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_missing_driver_is_named(monkeypatch):
    def missing():
        raise ModuleNotFoundError("No module named 'MySQLdb'", name="MySQLdb")

    monkeypatch.setattr("sqlalchemy.dialects.mysql.mysqldb.MySQLDialect_mysqldb.import_dbapi", missing)
    with pytest.raises(InputError, match=r"needs the package MySQLdb, .* pip install mysqlclient; or name another"):
        check_search(study_of(storage="mysql://localhost/trials"))


def test_a_database_that_is_none(tmp_path):
    (tmp_path / "text.db").write_text("no database, but long enough a text to be sure of it")
    with pytest.raises(InputError, match=r"text\.db: the database cannot be opened: file is not a database"):
        open_storage(study_of(storage=f"sqlite:///{tmp_path / 'text.db'}"), tmp_path)
    with pytest.raises(InputError, match=r"there is no folder .*/none; make it first"):
        check_search(study_of(storage=f"sqlite:///{tmp_path / 'none' / 'all.db'}"))
    check_search(study_of(storage=f"sqlite:///{tmp_path / 'all.db'}"))
    assert not (tmp_path / "all.db").exists()  # a check writes nothing


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:a@b:c@host/x", "postgresql://me:***@host/x"),
        ("mysql+pymysql://me:p/w@host:3306/x", "mysql+pymysql://me:***@host:3306/x"),
        ("postgresql://host/x?user=me&password=secret", "postgresql://host/x?user=me&password=***"),
        ("postgresql://me@host:5432/x", "postgresql://me@host:5432/x"),
        ("postgresql://me:${P}@host/x", "postgresql://me:${P}@host/x"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_passwords_of_urls_are_masked(url, shown):
    assert masked_url(url) == shown


def tried(trials):
    return [trial.params for trial in trials]


def test_a_warm_start_takes_the_overlap_and_fills_in_fixed_values(tmp_path):
    folder = run(study_of(train={"learning_rate": 2e-4, "temperature": 0.03}), ONE, tmp_path / "old", 12)
    own = load_optuna_study(study_of(), folder).get_trials(states=[TrialState.COMPLETE])
    space = {
        "mix.mixing_ratio": {"uniform": [0.0, 0.6]},
        "learning_rate": {"loguniform": [1e-5, 1e-3]},
        "final_ratio": {"uniform": [0.0, 1.0]},  # null then: left to the sampler
    }
    study = study_of(warm_start=str(folder), space=space)
    check_search(study)
    ratios = {"mono-only": 1.0, "half-half": 0.5, "cross-only": 0.0}
    by_ratio = [(ratios.get(trial.user_attrs["arm"], trial.params.get("mixing_ratio")), trial) for trial in own]
    expected = [(ratio, trial) for ratio, trial in by_ratio if ratio <= 0.6]
    assert 2 < len(expected) < len(own)
    assert tried(borrowed(study)) == [{"mixing_ratio": ratio, "learning_rate": 2e-4} for ratio, _ in expected]
    assert [trial.values for trial in borrowed(study)] == [trial.values for _, trial in expected]
    halves = [trial for ratio, trial in expected if ratio == 0.5]
    assert [trial.values for trial in borrowed(study, "half-half")] == [trial.values for trial in halves]
    assert tried(borrowed(study, "half-half")) == [{"learning_rate": 2e-4}] * len(halves)


def test_a_fixed_arm_lends_its_own_ratio(tmp_path):
    space = {"temperature": SPACE["temperature"]}
    folder = run(study_of(space=space), ONE, tmp_path / "old", 4)
    study = study_of(warm_start=str(folder), space={"mixing_ratio": {"uniform": [0.0, 1.0]}})
    assert tried(borrowed(study)) == [{"mixing_ratio": ratio} for ratio in (1.0, 0.5, 0.0)]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_a_warm_start_teaches_the_sampler_and_stays_out_of_the_study(tmp_path, sampler):
    old = run(study_of(trials=9), ONE, tmp_path / "old", 12)
    cold, warm = (study_of(sampler=sampler, arms="none", warm_start=place) for place in (None, str(old)))
    values = {}
    for name, study in (("cold", cold), ("warm", warm), ("again", warm)):
        (tmp_path / name).mkdir()
        found = searcher(study, ONE, tmp_path / name, set())
        values[name] = []
        for place in range(3):
            config = found.suggest(f"t{place}")
            values[name].append(optuna_params(trial_values(config)))
            found.on_trial_complete(f"t{place}", {"balanced/AP": 0.1, "step": 3, "final": 1.0})
    assert values["warm"] == values["again"] != values["cold"]
    trials = load_optuna_study(warm, tmp_path / "warm").trials
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert tried(trials) == values["warm"]


def test_a_warm_start_from_a_url(tmp_path):
    url = f"sqlite:///{tmp_path / 'all.db'}"
    run(study_of(storage=url), ONE, tmp_path / "old")
    study = study_of(warm_start=url).model_copy(update={"name": "new"})
    assert len(borrowed(study)) == 2  # inside the range, of four that ended
    run(study_of(storage=url).model_copy(update={"name": "third"}), ONE, tmp_path / "third")
    with pytest.raises(InputError, match=r"has several studies or none \(there: small, third\); give the folder"):
        borrowed(study)
    assert len(borrowed(study_of(warm_start=url))) == 2  # the one of its own name


@pytest.mark.parametrize(
    ("search", "line"),
    [
        ({"objective": "multi/AP"}, "searched for balanced/AP, not for multi/AP; search.objective must be the same"),
        ({"space": {"symmetric": {"choice": [True]}}}, "none of its finished trials lies in this study's search space"),
    ],
)
def test_a_warm_start_that_teaches_nothing_is_refused(tmp_path, search, line):
    folder = run(study_of(), ONE, tmp_path / "old")
    with pytest.raises(InputError, match=line):
        check_search(study_of(warm_start=str(folder), arms="none", **search))
    with pytest.raises(InputError, match=r"warm_start .*/none: is no study folder \(no study.yaml\) and no storage"):
        check_search(study_of(warm_start=str(tmp_path / "none"), arms="none", **search))


def test_one_of_several_objectives_may_be_learned_from(tmp_path):
    folder = run(study_of(objective=list(TWO)), TWO, tmp_path / "old")
    study = study_of(objective="multi/rank_distance", warm_start=str(folder))
    assert [len(trial.values) for trial in borrowed(study)] == [1, 1]


def test_the_first_version_of_the_database_is_still_read(tmp_path):
    study = study_of(storage="sqlite")
    folder = run(study, ONE, tmp_path / "study", 3)
    with sqlite3.connect(folder / "optuna.db") as database:  # neither metric names nor attributes of the study then
        database.execute("delete from study_user_attributes")
        database.execute("delete from study_system_attributes")
    assert len(borrowed(study_of(warm_start=str(folder)))) == 1
    assert run(study, ONE, folder, 1) == folder
