"""A trial's reports reach Tune, all of them, however soon its training ends."""

import pytest
from ray import tune

from hybridtune.cluster.local import Capacity, local_cluster
from hybridtune.errors import FitError
from hybridtune.search.trial import relay

pytestmark = pytest.mark.ray


@pytest.mark.timeout(120)
def test_every_report_arrives_though_the_training_ends_at_once(no_ray, tmp_path):
    def quick(config):  # a closure: Ray's workers cannot import a test module
        def train(callbacks):
            for step in range(1, config["reports"] + 1):
                for callback in callbacks:
                    callback.after_report(None, [{"step": step}], None)
            if config["reports"] == 2:
                raise FitError("diverged")

        relay(train)

    with local_cluster(Capacity(concurrent_trials=3, evaluators=1, cpus=8, gpus=0)):
        results = tune.Tuner(
            tune.with_resources(quick, {"CPU": 0.01}),
            param_space={"reports": tune.grid_search([3, 2])},
            tune_config=tune.TuneConfig(num_samples=3, max_concurrent_trials=3),
            run_config=tune.RunConfig(name="relay", storage_path=str(tmp_path), verbose=0),
        ).fit()
        ended = [(result.config["reports"], result.metrics["step"], result.error) for result in results]
    assert sorted(reports for reports, _, _ in ended) == [2, 2, 2, 3, 3, 3]
    for reports, step, error in ended:
        assert step == reports
        assert (error is not None) == (reports == 2)
