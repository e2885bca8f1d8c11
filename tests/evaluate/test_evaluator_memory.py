"""A score on a card that has no room for it is answered with what to set; other errors go their way."""

import pytest
import torch

from hybridtune.errors import FitError
from hybridtune.evaluate.service import Evaluator


class Full:
    """A model on a device without room."""

    pooling = "mean"

    def __init__(self, error):
        self.error = error

    def load_plain_state(self, state):
        raise self.error


def evaluator(error):
    one = Evaluator.__new__(Evaluator)
    one.model, one.pooling, one.device = Full(error), "mean", torch.device("cpu")
    return one


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("tried to allocate"), RuntimeError("CUDA out of memory")])
def test_a_score_without_room_says_what_to_set(error):
    with pytest.raises(FitError, match=r"out of memory at a score on the memory of cpu: .*train\.embeddings=frozen"):
        evaluator(error).encode({})
    with pytest.raises(FitError, match="nothing else uses the device"):
        evaluator(error).embed_stored({}, [])


def test_another_error_of_a_score_is_not_touched():
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        evaluator(RuntimeError("shapes do not fit")).encode({})


def test_what_an_evaluator_keeps_is_given_back_after_each_call(monkeypatch):
    shared = []
    monkeypatch.setattr("hybridtune.evaluate.service.share_memory", shared.append)
    with pytest.raises(FitError):
        evaluator(torch.OutOfMemoryError("x")).encode({})
    assert shared == [torch.device("cpu")]
