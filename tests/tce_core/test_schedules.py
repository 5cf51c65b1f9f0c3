"""`tce_core.schedules`: the learning rate is torch's polynomial, and t rises linearly during its warm-up."""

import pytest
import torch
from torch import nn

from tce_core.config import TrialConfig
from tce_core.schedules import learning_rate, tilt


@pytest.mark.parametrize("power", [0.9, 2.0])
def test_the_learning_rate_is_torch_s_polynomial(power):
    config = TrialConfig(lr=0.02, poly_power=power)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.02)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=6, power=power)
    for step in range(6):
        assert learning_rate(config, step, 6) == pytest.approx(schedule.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(
    ("t", "warmup", "expected"),
    [
        # Six steps; during the first half t rises to its value in three equal steps.
        (3.0, 0.5, [1, 2, 3, 3, 3, 3]),
        (-3.0, 0.5, [-1, -2, -3, -3, -3, -3]),
        (3.0, 0.0, [3] * 6),
        (3.0, 1.0, [0.5, 1, 1.5, 2, 2.5, 3]),
        (0.0, 0.5, [0] * 6),
    ],
)
def test_the_tilt_rises_linearly_in_its_warm_up(t, warmup, expected):
    config = TrialConfig(loss="class_tilt", t=t, tilt_warmup=warmup)
    assert [tilt(config, step, 6) for step in range(6)] == pytest.approx(expected)
