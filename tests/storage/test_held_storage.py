import pickle

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from hybridtune.storage.held_storage import HeldStorage

SPACE = {"ratio": FloatDistribution(0.0, 1.0), "schedule": CategoricalDistribution(["constant", "linear"])}


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'optuna.db'}"


def held(url):
    return HeldStorage(optuna.storages.RDBStorage(url), "s")


def study_on(storage):
    return optuna.create_study(storage=storage, study_name="s", direction="maximize", load_if_exists=True)


def written(url):
    """What another process sees: of each trial all but its times."""
    trials = optuna.load_study(storage=url, study_name="s").trials
    return [
        (t.number, t.state, t.values, t.params, t.user_attrs, t.system_attrs, t.intermediate_values) for t in trials
    ]


def search(storage, trials):
    """Trials that end in each way, the last one running, and one that waits."""
    study = study_on(storage)
    for number in range(trials):
        study.enqueue_trial({"ratio": number / 10, "schedule": "linear"}, user_attrs={"arm": "tuned"})
        trial = study.ask(SPACE)
        if isinstance(storage, HeldStorage):
            storage.write_new()
        trial.report(0.5 + number, step=10)
        trial.set_user_attr("step", 10)
        if number % 3 == 0:
            study.tell(trial, 0.5 + number)
        elif number % 3 == 1:
            study.tell(trial, state=TrialState.PRUNED)
    study.enqueue_trial({"ratio": 1.0}, user_attrs={"arm": "mono-only"})
    if isinstance(storage, HeldStorage):
        storage.write_new()
    study.set_user_attr("id", "one")
    return study


def test_the_database_has_what_it_would_have_without(url, tmp_path):
    other = f"sqlite:///{tmp_path / 'other.db'}"
    search(optuna.storages.RDBStorage(other), 6)
    search(held(url), 6)
    assert written(url) == written(other)
    assert optuna.load_study(storage=url, study_name="s").user_attrs == {"id": "one"}


@pytest.mark.parametrize("again", [False, True])
def test_it_goes_on_from_what_the_database_holds_and_from_a_pickle(url, again):
    storage = held(url)
    search(storage, 6)
    study = study_on(pickle.loads(pickle.dumps(storage)) if again else held(url))
    assert study.user_attrs == {"id": "one"}
    assert [trial.number for trial in study.get_trials(states=(TrialState.WAITING,))] == [6]
    trial = study.ask(SPACE)
    assert (trial.number, trial.params["ratio"]) == (6, 1.0)
    study.tell(trial, 0.25)
    assert written(url)[6][1:4] == (TrialState.COMPLETE, [0.25], trial.params)


def test_a_new_trial_is_written_whole_or_not_at_all(url):
    storage = held(url)
    study = study_on(storage)
    study.enqueue_trial({"ratio": 0.5}, user_attrs={"arm": "tuned"})
    trial = study.ask(SPACE)
    assert written(url) == []
    storage.write_new()
    storage.write_new()
    ((number, state, _, params, attributes, *_),) = written(url)
    assert (number, state, params, attributes) == (0, TrialState.RUNNING, trial.params, {"arm": "tuned"})


def test_nothing_is_read_from_the_database_after_the_start(url, monkeypatch):
    search(held(url), 6)
    storage = held(url)

    def read(*_, **__):
        raise AssertionError("read from the database")

    for name in ("get_all_trials", "get_trial", "get_study_user_attrs", "get_study_directions"):
        monkeypatch.setattr(optuna.storages.RDBStorage, name, read)
    assert len(search(storage, 3).get_trials(deepcopy=False)) == 7 + 4
