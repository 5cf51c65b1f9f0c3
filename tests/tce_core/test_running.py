"""The running tilted losses of many classes at once are those of each class alone, and their state is complete."""

import pytest
import torch

from tce_core.running import RunningTilt
from tce_core.stochastic import StochasticTilt

K = 5


@pytest.mark.parametrize("t", [-2.0, 0.0, 0.3, 5.0])
def test_many_classes_at_once_are_the_single_updates_of_algorithm_1(t):
    together, alone = RunningTilt(K, t, 0.1), StochasticTilt(K, t, 0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        losses = 3 * torch.rand(K, generator=generator, dtype=torch.float64)
        where = torch.rand(K, generator=generator) < 0.6
        together.follow(losses, where)
        for c in where.nonzero().flatten().tolist():
            alone.update(c, losses[c].item())
    assert together.state_dict() == alone.state_dict()


def test_a_class_that_is_left_out_keeps_its_loss():
    running = RunningTilt(2, 1.0, 0.5)
    running.follow(torch.tensor([1.0, 3.0]), torch.tensor([True, True]))
    running.follow(torch.tensor([2.0, torch.nan]), torch.tensor([True, False]))
    assert running.log_tilted[1] == 3.0
    assert running.visits.tolist() == [2, 1]


def test_the_state_holds_the_tilt():
    one, other = RunningTilt(2, 4.0, 0.5), RunningTilt(2, 4.0, 0.5)
    one.set_tilt(1.0)
    one.follow(torch.tensor([1.0, 3.0]), torch.tensor([True, True]))
    other.load_state_dict(one.state_dict())
    other.set_tilt(2.0)  # as the next step of a tilt warm-up
    assert other.log_tilted.tolist() == [2.0, 6.0]
