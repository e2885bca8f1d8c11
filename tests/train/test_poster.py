"""What a training posts of its pace: at most once a second, and a loss only once it has come from the device."""

import time
from types import SimpleNamespace

import pytest
import torch

from hybridtune.train import poster
from hybridtune.train.poster import PacePoster


class Device:
    """A device whose copies arrive when it is told so."""

    arrives = True

    def __init__(self, tensor):
        self.tensor = tensor

    def arrived(self):
        return Device.arrives

    def result(self):
        assert Device.arrives
        return self.tensor


@pytest.fixture
def posted(monkeypatch):
    clock, posts = SimpleNamespace(now=0.0), []
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(poster, "Fetch", Device)
    monkeypatch.setattr(Device, "arrives", True)
    actor = SimpleNamespace(post=SimpleNamespace(remote=lambda fit, pace: posts.append(tuple(pace))))
    one = PacePoster(actor, "fit", batch_size=8)

    def steps(numbers, seconds):
        for number in numbers:
            clock.now += seconds
            one.step_done(number, torch.tensor(number / 2))
        return posts

    return steps


def test_a_second_lies_between_two_posts(posted):
    assert posted(range(1, 11), 0.25) == [(4, 2.0, 32.0), (8, 4.0, 32.0)]


def test_a_loss_that_has_not_come_is_posted_later_and_nobody_waits(posted):
    Device.arrives = False
    assert posted(range(1, 10), 0.25) == []
    Device.arrives = True
    assert posted([10, 11], 0.25) == [(4, 2.0, 32.0), (11, 5.5, 32.0)]
