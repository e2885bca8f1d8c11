"""What TensorBoard, W&B and MLflow are told of a study's trials, read back by their own readers."""

import copy
import importlib.util
import json
import logging
from types import SimpleNamespace

import pytest
from ray import cloudpickle

from hybridtune.config.space import full_names
from hybridtune.config.study import load_study
from hybridtune.errors import InputError
from hybridtune.search import loggers
from hybridtune.search.loggers import Events, Tracker, callbacks, check_loggers, logged
from hybridtune.storage.study_folder import FORMAT

needs_tensorboard = pytest.mark.skipif(not importlib.util.find_spec("tensorboard"), reason="tensorboard is missing")
needs_mlflow = pytest.mark.skipif(not importlib.util.find_spec("mlflow"), reason="mlflow is missing")
needs_wandb = pytest.mark.skipif(not importlib.util.find_spec("wandb"), reason="wandb is missing")

SPACE = {
    "mixing_ratio": {"uniform": [0.0, 1.0]},
    "batch_size": {"choice": [4, 8]},
    "cross_batch": {"choice": ["mixed", "single_pair"]},
}


@pytest.fixture
def study(study_file, tmp_path, monkeypatch):
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")

    def made(*names):
        search = {"objective": ["multi/nDCG@10"], "space": SPACE, "loggers": list(names)}
        return load_study(study_file(search=search))

    return made


@pytest.fixture(autouse=True)
def two_studies(tmp_path):
    """The folder of the tests is a study's, and so is `other` in it."""
    for folder, name in ((tmp_path, "one"), (tmp_path / "other", "another")):
        folder.mkdir(exist_ok=True)
        (folder / "environment.json").write_text(json.dumps({"format": FORMAT, "id": name * 4}))


def trial_of(number=4, arm="tuned", **values):
    return SimpleNamespace(config={"number": number, "arm": arm, "proposed": "random", **full_names(values)})


def report(step, value, best_step=None, final=0.0):
    scores = {"multi/nDCG@10": value, "multi/AP": value / 2, "loss": 1 / step, "bad": float("nan")}
    tunes = {"pid": 7, "time_total_s": 3.5, "training_iteration": 9, "done": False, "trial_id": "x", "config": {}}
    return {**scores, **tunes, "step": step, "best_step": best_step or step, "ended": final, "final": final}


CURVE = [report(10, 0.5), report(20, 0.25, best_step=10)]
FINAL = report(20, 0.5, best_step=10, final=1.0)


def tell(callback, trial, reports, failed=False):
    callback.on_trial_start(0, [], trial)
    for one in reports:
        callback.on_trial_result(0, [], trial, one)
    end = callback.on_trial_error if failed else callback.on_trial_complete
    end(0, [], trial)


def test_a_report_is_logged_without_what_tune_adds():
    assert logged(CURVE[1]) == {"multi/nDCG_10": 0.25, "multi/AP": 0.125, "loss": 0.05, "best_step": 10.0}
    assert logged(FINAL) == {"best/multi/nDCG_10": 0.5, "best/multi/AP": 0.25}


def tensorboard(folder):
    """TensorBoard's own view of a folder of trials: curves, the columns of its table, and the table's rows."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, get_experiment, list_session_groups
    from tensorboard.plugins.hparams.backend_context import Context

    seen = EventMultiplexer().AddRunsFromDirectory(str(folder / "trials"))
    seen.Reload()
    where = RequestContext()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(seen, str(folder)), logdir=str(folder)))
    table = get_experiment.Handler(where, context, "", api_pb2.GetExperimentRequest()).run()
    asked = api_pb2.ListSessionGroupsRequest(slice_size=100, allowed_statuses=[0, 1, 2, 3])
    groups = list_session_groups.Handler(where, context, "", asked).run().session_groups
    rows = {group.name: group for group in groups}
    return seen, table, rows


def values_of(row):
    kinds = {name: value.WhichOneof("kind") for name, value in row.hparams.items()}
    return {name: getattr(row.hparams[name], kind) for name, kind in kinds.items()}


def scores_of(row):
    return {value.name.tag: round(value.value, 6) for value in row.metric_values}


@needs_tensorboard
def test_tensorboard_shows_every_score_over_our_step(study, tmp_path):
    tell(Events(study(), tmp_path), trial_of(mixing_ratio=0.3), [*CURVE, FINAL])
    seen, _, _ = tensorboard(tmp_path)
    curves = {tag: [(e.step, round(e.tensor_proto.float_val[0], 6)) for e in seen.Tensors("0004", tag)]
              for tag in seen.Runs()["0004"]["tensors"] if not tag.startswith("_hparams_")}  # fmt: skip
    assert curves == {
        "multi/nDCG_10": [(10, 0.5), (20, 0.25)],
        "multi/AP": [(10, 0.25), (20, 0.125)],
        "train/loss": [(10, 0.1), (20, 0.05)],
        "train/best_step": [(10, 10.0), (20, 10.0)],
        "best/multi/nDCG_10": [(20, 0.5)],
        "best/multi/AP": [(20, 0.25)],
    }


@needs_tensorboard
def test_its_table_has_a_row_a_trial_with_the_best_scores(study, tmp_path):
    events = Events(study(), tmp_path)
    tell(events, trial_of(0, "mono-only", mixing_ratio=1.0, batch_size=8, cross_batch="mixed"), [*CURVE, FINAL])
    tell(events, trial_of(4, mixing_ratio=0.3, batch_size=4, cross_batch="single_pair"), CURVE)  # stopped early
    tell(events, trial_of(5, mixing_ratio=0.6), [], failed=True)
    cut = trial_of(6, mixing_ratio=0.7)
    events.on_trial_result(0, [], cut, CURVE[0])
    events.on_experiment_end([cut])  # of a trial that the budget cut off Tune tells nothing else
    assert events._files == {}
    _, table, rows = tensorboard(tmp_path)
    columns = {info.name: info for info in table.hparam_infos}
    assert columns.keys() == {*full_names(SPACE), "arm", "proposed"}
    ratio = columns["mix.mixing_ratio"].domain_interval
    assert (ratio.min_value, ratio.max_value) == (0.0, 1.0)
    shown = {info.display_name: info.name.tag for info in table.metric_infos}
    assert shown["multi/nDCG@10"] == "best/multi/nDCG_10"
    assert {"balanced/AP", "mono/AP", "cross/AP", "multi/AP", "multi/rank_distance"} <= shown.keys()

    assert rows.keys() == {"0000", "0004", "0005", "0006"}
    fixed = {"mixing_ratio": 1.0, "batch_size": 8.0, "cross_batch": "mixed"}
    assert values_of(rows["0000"]) == {**full_names(fixed), "arm": "mono-only", "proposed": "random"}
    other = {"mixing_ratio": 0.3, "batch_size": 4.0, "cross_batch": "single_pair"}
    assert values_of(rows["0004"]) == {**full_names(other), "arm": "tuned", "proposed": "random"}
    best = {"best/multi/nDCG_10": 0.5, "best/multi/AP": 0.25}
    assert [scores_of(rows[name]) for name in rows] == [best if name != "0005" else {} for name in rows]
    success, unknown = 1, 0  # what failed may be tried again, and what was cut off goes on
    states = {name: row.sessions[0].status for name, row in rows.items()}
    assert states == {"0000": success, "0004": success, "0005": unknown, "0006": unknown}


@needs_tensorboard
def test_a_trial_that_goes_on_stays_one_row(study, tmp_path):
    tell(Events(study(), tmp_path), trial_of(mixing_ratio=0.3), CURVE[:1], failed=True)
    tell(Events(study(), tmp_path), trial_of(mixing_ratio=0.3), [CURVE[1], FINAL])
    _, _, rows = tensorboard(tmp_path)
    assert list(rows) == ["0004"]
    assert [session.status for session in rows["0004"].sessions] == [1]
    assert scores_of(rows["0004"])["best/multi/nDCG_10"] == 0.5


class Log:
    """One of Ray's logging callbacks, as far as we call it."""

    def __init__(self):
        self.told = []

    def log_trial_start(self, trial):
        self.told.append(("start", str(trial), trial.config))

    def log_trial_result(self, iteration, trial, result):
        self.told.append(("result", str(trial), result.get("multi/AP", result)))

    def log_trial_end(self, trial, failed):
        self.told.append(("end", str(trial), failed))

    def on_experiment_end(self, trials):
        self.told.append(("over",))


def test_a_logger_is_told_of_our_trials_by_their_names(tmp_path):
    log = Log()
    tracker = Tracker("mlflow", log, tmp_path)
    tell(tracker, trial_of(0, "mono-only", mixing_ratio=1.0), [*CURVE, FINAL])
    tell(tracker, trial_of(4, mixing_ratio=0.3), CURVE[:1], failed=True)
    tracker.on_experiment_end([])
    best = {"best/multi/nDCG_10": 0.5, "best/multi/AP": 0.25, "timesteps_total": 20, "training_iteration": 20}
    assert log.told == [
        ("start", "mono-only 0", {"mix.mixing_ratio": 1.0, "arm": "mono-only", "proposed": "random"}),
        ("result", "mono-only 0", 0.25),
        ("result", "mono-only 0", 0.125),
        ("result", "mono-only 0", best),
        ("end", "mono-only 0", False),
        ("start", "trial 4", {"mix.mixing_ratio": 0.3, "arm": "tuned", "proposed": "random"}),
        ("result", "trial 4", 0.25),
        ("end", "trial 4", True),
        ("over",),
    ]


def test_a_trial_that_the_budget_cut_off_is_ended_before_the_logger(tmp_path):
    log, trial = Log(), trial_of(mixing_ratio=0.3)
    tracker = Tracker("wandb", log, tmp_path)
    tracker.on_trial_start(0, [], trial)
    tracker.on_experiment_end([trial])  # W&B would wait half an hour for the end of a trial
    assert log.told[1:] == [("end", "trial 4", False), ("over",)]


def test_a_logger_that_fails_is_named_once_and_left_out(tmp_path, caplog):
    log = Log()
    log.log_trial_result = lambda *what: 1 / 0
    tracker = Tracker("mlflow", log, tmp_path)
    with caplog.at_level(logging.WARNING):
        tell(tracker, trial_of(), [*CURVE, FINAL])
        tracker.on_experiment_end([])
    assert caplog.messages == ["search.loggers mlflow: division by zero; the search goes on without it"]
    assert [what for what, *_ in log.told] == ["start"]


def test_a_logger_whose_ray_is_gone_is_told_nothing(tmp_path, caplog):
    log = Log()
    up = iter([True, False, False, False])
    tracker = Tracker("wandb", log, tmp_path, lambda: next(up))
    tell(tracker, trial_of(), CURVE[:1])
    tracker.on_experiment_end([])
    assert [what for what, *_ in log.told] == ["start"]
    assert caplog.messages == []


@pytest.mark.slow
@needs_mlflow
def test_mlflow_keeps_the_trials_in_the_study_folder(study, tmp_path):
    from mlflow import MlflowClient

    events, tracker = callbacks(study("mlflow"), tmp_path)
    copy.deepcopy(tracker)
    cloudpickle.dumps([events, tracker])  # Tune does so
    tell(tracker, trial_of(0, "mono-only", mixing_ratio=1.0), [*CURVE, FINAL])
    tell(tracker, trial_of(4, mixing_ratio=0.3), CURVE[:1], failed=True)
    tracker.on_experiment_end([])
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment.artifact_location == (tmp_path / "mlflow" / "artifacts").as_uri()
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: run.info.status for name, run in runs.items()} == {"mono-only 0": "FINISHED", "trial 4": "FAILED"}
    run = runs["mono-only 0"]
    assert run.data.params == {"mix.mixing_ratio": "1.0", "arm": "mono-only", "proposed": "random"}
    assert run.data.tags["hybridtune.study"] == str(tmp_path)
    curve = client.get_metric_history(run.info.run_id, "multi/nDCG_10")
    assert [(point.step, point.value) for point in curve] == [(10, 0.5), (20, 0.25)]
    assert run.data.metrics["best/multi/nDCG_10"] == 0.5
    assert "pid" not in run.data.metrics


@pytest.mark.slow
@needs_wandb
def test_wandb_takes_our_trials_offline(study, tmp_path, monkeypatch):
    import wandb
    from ray.air.integrations.wandb import WandbLoggerCallback

    asked = []
    # It waits for processes that were not started here, and would start a Ray to ask for them.
    monkeypatch.setattr(WandbLoggerCallback, "_cleanup_logging_actors", lambda self, **how: None)
    monkeypatch.setattr(
        WandbLoggerCallback, "_start_logging_actor", lambda self, trial, out, **args: asked.append(args)
    )
    _, tracker = callbacks(study("wandb"), tmp_path)
    for place in (tmp_path, tmp_path, tmp_path / "other"):
        seen = Tracker("wandb", tracker.inner, place)
        seen.on_trial_start(0, [], trial_of(4, mixing_ratio=0.3))
        seen.on_experiment_end([])
    again, first, other = (args["id"] for args in asked)
    assert again == first  # a trial that goes on in a later run of its study
    assert first != other
    run = wandb.init(**asked[0])  # what Ray's process for the trial does
    try:
        assert (run.id, run.name, run.project, run.offline) == (first, "trial 4", "small", True)
        assert run.group == tmp_path.name
        assert dict(run.config) == {"mix.mixing_ratio": 0.3, "arm": "tuned", "proposed": "random"}
        run.log(logged(CURVE[0]), step=10)
    finally:
        run.finish()
    assert [path.name.split("-")[-2:] for path in (tmp_path / "wandb").glob("offline-run-*")] == [first.split("-")]


def test_what_a_logger_lacks_is_told_before_anything_starts(study, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None)
    check_loggers(study())
    with pytest.raises(InputError, match=r'search.loggers mlflow: .* pip install "hybridtune\[mlflow\]"'):
        check_loggers(study("mlflow"))


@needs_wandb
def test_wandb_without_a_key_is_told_before_anything_starts(study, tmp_path, monkeypatch):
    from ray.air.integrations import wandb

    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(
        wandb, "wandb", SimpleNamespace(ensure_configured=lambda: None, api=SimpleNamespace(api_key=""))
    )
    with pytest.raises(InputError, match=r"search.loggers wandb: no API key found: run `wandb login`, or set WANDB_"):
        check_loggers(study("wandb"))


@needs_mlflow
def test_a_server_that_does_not_answer_is_told_before_anything_starts(study, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://here")
    with pytest.raises(InputError, match=r"search.loggers mlflow: cannot be set up: "):
        callbacks(study("mlflow"), tmp_path)
