"""`sweeps.strategy.observations`: the sampler is told one point of a trial's curve, the one that suits it best."""

import math

import pytest

from sweeps.storage.objectives import Floor
from tests.sweeps.searching import ALONE, SPACE, curved, reopened, told, train

ONE_BASELINE = {**SPACE, "baselines": {"mcce": {"loss": "mcce"}}}
BASELINE = {0.0: (0.50, 0.10), 0.5: (0.60, 0.15)}
CURVE = {0.0: (0.50, 0.10), 0.5: (0.495, 0.30), 1.0: (0.48, 0.40)}


def heard(begin, curve, baseline=None, **changes):
    """What the sampler is told about one trial, now and after an interruption."""
    search = begin(space=ALONE if baseline is None else ONE_BASELINE, trials=2, confirm=0, **changes)
    if baseline is not None:
        train(search, search.next(), baseline)
    train(search, search.next(), curve)
    (now,) = told(search)
    again = reopened(search)
    again.unfinished.clear()  # the trial that `told` began
    assert again.observations.all()[0] == now
    return search.plan.objectives, now


@pytest.mark.parametrize(
    ("changes", "tau"),
    [
        ({}, 0.5),  # the guard is relative to the plain baseline: 0.49
        ({"allowance": 0.1}, 1.0),
        ({"objective": "miou"}, 0.0),
        ({"objective": "std_iou", "allowance": 0.1}, 1.0),
        ({"objective": "iou:a", "classes": tuple("abcd")}, 0.0),
        ({"objective": "iou:b", "classes": tuple("abcd"), "floors": (Floor("iou:a", 0.6, False),)}, 0.0),
    ],
)
def test_the_sampler_is_told_the_strength_that_suits_the_trial(begin, changes, tau):
    objectives, now = heard(begin, CURVE, BASELINE, **changes)
    assert now.values == objectives.told(curved(1, CURVE).at(tau))
    assert now.shortfalls[objectives.guard.name] <= 0


def test_the_shortfalls_are_those_of_the_strength_that_is_told(begin):
    """No strength keeps the floor of the worst class; tau 1 misses it by least, and misses the guard a little."""
    _, now = heard(begin, CURVE, BASELINE, floors=(Floor("worst_iou", 0.45, False),))
    assert now.shortfalls == pytest.approx({"miou": 0.01, "worst_iou": 0.05})


def test_without_a_baseline_the_best_leading_measure_is_told(begin):
    objectives, now = heard(begin, CURVE)
    assert (now.values, now.shortfalls) == (objectives.told(curved(1, CURVE).at(1.0)), {})


def test_the_sampler_is_never_told_a_value_that_is_nan(begin):
    """With tau 0.5 class `a` is in neither truth nor prediction. A floor of it counts as kept there."""
    curve = {0.0: (0.1, 0.5, 0.5, 0.5), 0.5: (math.nan, 0.5, 0.5, 0.5)}
    floors = (Floor("iou:a", 0.3, False),)
    objectives, now = heard(begin, curve, BASELINE, objective="iou:a", classes=tuple("abcd"), floors=floors)
    assert now.values == objectives.told(curved(1, curve).plain)
    assert now.shortfalls["a"] == pytest.approx(0.2)


def test_a_stopped_trial_is_compared_with_the_plain_baseline_after_as_many_epochs(begin):
    """After 2 epochs the plain baseline has mIoU 0.3, so tau 0.5 keeps the guard and tau 1 misses it."""
    search = begin(space=ONE_BASELINE, rungs=(2,), trials=3, confirm=0, allowance=0.02)
    train(search, search.next(), {0.0: (0.2, 0.0)}, {0.0: (0.3, 0.0), 0.5: (0.1, 0.1)}, {0.0: (0.6, 0.1)})
    train(search, search.next(), (0.5, 0.4))
    young = {0.0: (0.35, 0.0), 0.5: (0.285, 0.1), 1.0: (0.27, 0.2)}
    assert train(search, search.next(), young).stopped
    _, stopped = told(search)
    assert stopped.values == search.plan.objectives.told(curved(2, young).at(0.5))
    assert stopped.shortfalls == pytest.approx({"miou": -0.005})
