"""`sweeps.strategy.points`: the models that a trial contributes, one for each strength of logit adjustment."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.storage.objectives import Floor, Objectives
from sweeps.strategy.floors import standings
from sweeps.strategy.points import Point, best_scores, early_values, points_of
from tests.sweeps.searching import curved, train

CURVE = {0.0: (0.50, 0.10), 0.5: (0.495, 0.30), 1.0: (0.48, 0.40)}
TAUS = (0.0, 0.25, 0.5, 0.75, 1.0)
rows = st.tuples(*[st.sampled_from([0.0, 0.2, 0.25, 0.5, 0.75, math.nan])] * 3, st.just(0.5))
curves = st.lists(rows, min_size=1, max_size=5).map(lambda found: dict(zip(TAUS, found, strict=False)))


def best(objectives, curve, baseline=None):
    """The tau that `best_scores` chooses."""
    scores = curved(1, curve).curve
    return scores[best_scores(objectives, scores, [standings(objectives, one, baseline) for one in scores])].tau


def test_a_trial_has_one_point_for_each_strength(begin):
    search = begin()
    trial = train(search, search.next(), CURVE)
    points = points_of(trial)
    assert [point.tau for point in points] == [0.0, 0.5, 1.0]
    assert [point.scores.report.worst_iou for point in points] == pytest.approx([0.1, 0.3, 0.4])
    assert [point.label for point in points] == ["mcce", "mcce τ=0.5", "mcce τ=1"]
    assert [str(point) for point in points] == ["trial 0", "trial 0 (tau 0.5)", "trial 0 (tau 1)"]


def test_points_are_equal_if_number_and_strength_are(begin):
    search = begin()
    one, other = (train(search, search.next(), CURVE) for _ in range(2))
    assert Point(one, 0.5) == Point(search.record[0], 0.5)
    assert len({Point(one, 0.5), Point(one, 0.5), Point(one, 1.0), Point(other, 0.5)}) == 3
    assert Point(one, 0.5) != "trial 0 (tau 0.5)"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0.5),  # tau 1 has the best worst class, but its mIoU is below 0.49
        ({"allowance": 0.1}, 1.0),
        ({"allowance": 0.0}, 0.0),
        ({"objective": "miou"}, 0.0),
        ({"objective": "std_iou", "allowance": 0.1}, 1.0),  # less is better
        ({"objective": "iou:a"}, 0.0),  # class `a` loses what `b` gains
        ({"objective": "iou:b", "allowance": 0.1, "floors": (Floor("iou:a", 0.55, False),)}, 0.5),
        ({"floors": (Floor("worst_iou", 0.9, False),)}, 1.0),  # no strength keeps it; tau 1 misses it by least
    ],
)
def test_the_strength_that_stands_for_a_curve(changes, expected):
    objectives = Objectives(**{"objective": "worst_iou", "allowance": 0.01, "classes": tuple("abcd"), **changes})
    assert best(objectives, CURVE, curved(1, CURVE)) == expected


def test_a_tie_goes_to_the_better_guard_then_to_the_lower_tau():
    objectives = Objectives("worst_iou", 1.0)
    assert best(objectives, {0.0: (0.5, 0.0), 0.5: (0.6, 0.0), 1.0: (0.6, 0.0)}) == 0.5
    nowhere = Objectives("worst_iou", 1.0, floors=(Floor("worst_iou", 0.9, False),))
    assert best(nowhere, {0.0: (0.5, 0.0), 0.5: (0.6, 0.0), 1.0: (0.6, 0.0)}) == 0.5


def test_a_strength_without_the_leading_class_is_never_chosen():
    """With tau 0.5 class `a` is in neither truth nor prediction: its IoU is NaN, and a floor of it counts as kept."""
    objectives = Objectives("iou:a", 1.0, tuple("abcd"), (Floor("iou:a", 0.5, False),))
    curve = {0.0: (0.0, 0.5, 0.5, 0.5), 0.5: (math.nan, 0.5, 0.5, 0.5), 1.0: (0.1, 0.5, 0.5, 0.5)}
    assert best(objectives, curve) == 1.0
    assert early_values(objectives, curved(1, curve)) == pytest.approx((0.1, 1.6 / 4))


def brute_best(objectives, curve):
    """Written anew, without arrays: the tau of the best lead that keeps the floors, or of the smallest miss."""
    keys = []
    plain = curved(1, curve).plain
    for scores in curved(1, curve).curve:
        lead, guard = objectives.lead.value(scores), objectives.guard.value(scores)
        miss = max((one.shortfall for one in standings(objectives, scores, plain)), default=0.0)
        signed = lead if objectives.lead.maximize else -lead
        if math.isnan(lead):
            keys.append((2, 0.0, 0.0, scores.tau))
        elif miss <= 0:
            keys.append((0, -signed, -guard, scores.tau))
        else:
            keys.append((1, miss, -guard, scores.tau))
    return min(keys)[-1]


@settings(deadline=None)
@given(curves, st.sampled_from(["worst_iou", "miou", "std_iou", "iou:a"]), st.sampled_from([0.0, 0.1]), st.booleans())
def test_the_choice_is_that_of_brute_force(curve, objective, allowance, floor):
    floors = (Floor("iou:b", 0.4, False), Floor("others", -0.1, True)) if floor else ()
    objectives = Objectives(objective, allowance, tuple("abcd"), floors)
    assert best(objectives, curve, curved(1, curve)) == brute_best(objectives, curve)


@settings(deadline=None)
@given(curves, st.sampled_from(["worst_iou", "miou", "std_iou"]), st.sampled_from([0.0, 0.1]))
def test_at_a_rung_the_best_lead_within_the_allowance_of_the_plain_model_counts(curve, objective, allowance):
    objectives = Objectives(objective, allowance)
    result = curved(1, curve)
    lead, guard = objectives.early_pair
    pairs = [(lead.value(scores), guard.value(scores)) for scores in result.curve]
    allowed = [pair for pair in pairs if pair[1] >= pairs[0][1] - allowance]
    sign = 1 if lead.maximize else -1
    assert early_values(objectives, result) == max(allowed, key=lambda pair: (sign * pair[0], pair[1]))
