"""`sweeps.strategy.outcome` on a real record: the front, its growth and the recommended trial."""

import itertools
import math
import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeps.storage.objectives import Floor, Objectives
from sweeps.strategy.outcome import Outcome
from sweeps.strategy.points import Point, points_of
from tests.sweeps.searching import curved, ious, reopened, result

SPACE = {
    "trial": {"loss": "class_tilt", "epochs": 1, "crop": [32, 48]},
    "space": {"t": {"low": 0.1, "high": 10}},
    "baselines": {"mcce": {"loss": "mcce"}},
}


def end(search, trial, *row):
    """End a trial after its only epoch; `row` is the IoUs of all classes, mIoU and worst IoU, or a curve."""
    if isinstance(row[0], dict):
        search.record_epoch(trial.number, curved(1, row[0]))
    else:
        search.record_epoch(trial.number, ious(1, *row) if len(row) > 2 else result(1, *row))
    search.record_end(trial.number)


@pytest.fixture
def candidates(begin):
    """The outcome of a sweep with these measures, the reference baseline first: `candidates((…), (…), objective=…)`."""

    def make(*rows, **changes):
        search = begin(space=SPACE, trials=len(rows) - 1, confirm=0, **changes)
        for row in rows:
            end(search, search.next(), *row)
        return search.outcome

    return make


@pytest.fixture
def four(candidates):
    """A record of four complete trials, the reference baseline first."""
    return candidates(*[(0.5, 0.1)] * 4).record


def chosen(outcome):
    return outcome.choose().trial.number


def test_the_best_lead_whose_guard_is_not_below_the_floor_is_recommended(candidates):
    outcome = candidates((0.50, 0.10), (0.48, 0.40), (0.495, 0.30), (0.52, 0.15), allowance=0.01)
    choice = outcome.choose()
    assert choice.trial.number == 2  # trial 1 has a better worst class, but its mIoU is below 0.49
    assert choice.baseline.number == 0
    (guard,) = choice.standings
    assert (guard.name, guard.value, guard.bound) == ("miou", pytest.approx(0.495), pytest.approx(0.49))
    assert [point.trial.number for point in outcome.front()] == [1, 2, 3]


def test_the_allowance_moves_the_floor(candidates):
    rows = (0.50, 0.10), (0.48, 0.40), (0.495, 0.30), (0.52, 0.15)
    assert [chosen(candidates(*rows, allowance=a)) for a in (0.0, 0.01, 0.1)] == [3, 2, 1]


def test_a_baseline_can_win(candidates):
    outcome = candidates((0.50, 0.30), (0.40, 0.90), (0.6, 0.2))
    assert chosen(outcome) == 0
    assert outcome.choose().baseline.number == 0


def test_a_lead_of_which_less_is_better_is_minimised(candidates):
    """Trial 1 has the lower std over classes, trial 2 has the better worst class."""
    even, spread = (0.50, 0.50, 0.50, 0.50), (0.99, 0.99, 0.99, 0.51)
    rows = ((0.6, 0.1), even, spread)
    assert chosen(candidates(*rows, objective="std_iou", allowance=0.2)) == 1
    assert chosen(candidates(*rows, objective="worst_iou", allowance=0.2)) == 2
    front = candidates(*rows, objective="std_iou").front()
    assert [point.trial.number for point in front] == [1, 2]


def test_bottom25_is_the_mean_of_the_worst_quarter_of_the_classes(candidates):
    """A quarter of eight classes is two. Trial 1 has the lower worst class, but the higher mean of its worst two."""
    base = (0.6,) * 6 + (0.1, 0.1)
    first, second = (0.6,) * 6 + (0.2, 0.9), (0.6,) * 6 + (0.3, 0.4)
    assert chosen(candidates(base, first, second, objective="bottom25_iou")) == 1
    assert chosen(candidates(base, first, second, objective="worst_iou")) == 2


def test_if_miou_leads_the_worst_class_is_the_guard(candidates):
    outcome = candidates((0.50, 0.20), (0.70, 0.10), (0.60, 0.195), objective="miou", allowance=0.01)
    choice = outcome.choose()
    (guard,) = choice.standings
    assert (choice.trial.number, guard.name, guard.bound) == (2, "worst_iou", pytest.approx(0.19))


def test_the_objectives_may_differ_from_those_of_the_search(candidates):
    outcome = candidates((0.50, 0.10), (0.49, 0.30), (0.55, 0.095), objective="worst_iou", allowance=0.02)
    assert chosen(outcome) == 1
    assert chosen(Outcome(outcome.record, Objectives("miou", 0.02))) == 2
    by_spread = Outcome(outcome.record, Objectives("std_iou", 0.02))
    assert chosen(by_spread) == 1
    assert by_spread.objectives.maximize == (True, False)
    assert {point.trial.number for point in by_spread.front()} == {0, 1, 2}
    assert {point.trial.number for point in outcome.front()} == {0, 1, 2}


def test_every_floor_must_be_kept(candidates):
    """Trial 1 is best in the leading class `b`. It misses the floors of `a` and `c`; the other trials keep them."""
    rows = (0.5, 0.1, 0.5, 0.5), (0.2, 0.9, 0.4, 0.9), (0.4, 0.5, 0.5, 0.6), (0.5, 0.4, 0.5, 0.6)

    def best(*floors):
        given = tuple(Floor(*floor) for floor in floors)
        return candidates(*rows, objective="iou:b", classes=tuple("abcd"), floors=given)

    assert chosen(best()) == 1
    assert chosen(best(("iou:a", 0.3, False))) == 2
    assert chosen(best(("others", -0.05, True))) == 3
    assert chosen(best(("iou:c", 0.0, True), ("iou:a", -0.1, True))) == 2
    none = best(("iou:a", 0.6, False))
    assert none.choose() is None
    assert none.why_none() == (
        "no trial keeps the floors; nearest: trial 0: a 0.50 of 0.60; trial 3: a 0.50 of 0.60; trial 2: a 0.40 of 0.60"
    )


def test_the_history_is_the_area_that_the_candidates_so_far_dominate(candidates):
    outcome = candidates((0.50, 0.10), (0.40, 0.05), (0.40, 0.20))
    trials, volumes = outcome.history()
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert volumes == pytest.approx([0.05, 0.05, 0.09])


def test_the_history_is_in_the_order_in_which_trials_ended(begin):
    search = begin(space=SPACE, trials=3, confirm=0)
    trials = [search.next() for _ in range(4)]
    for number, row in ((2, (0.4, 0.2)), (0, (0.5, 0.1)), (3, (0.9, 0.9))):
        end(search, trials[number], *row)
    for one in (search, reopened(search)):  # trial 1 is still running
        ended, volumes = one.outcome.history()
        assert [trial.number for trial in ended] == [2, 0, 3]
        assert volumes == pytest.approx([0.08, 0.09, 0.81])


def test_confirmation_runs_are_not_candidates(begin):
    search = begin(space=SPACE, trials=1, confirm=1)
    for row in ((0.5, 0.1), (0.5, 0.3), (0.9, 0.9), (0.9, 0.9)):
        end(search, search.next(), *row)
    assert search.finished
    assert [trial.number for trial in search.outcome.candidates()] == [0, 1]
    assert [trial.number for trial in search.outcome.repetitions(search.record[1])] == [3]


def test_an_outcome_that_takes_in_one_trial_after_another_is_that_of_the_whole_record(begin):
    """Also if two trials end at the same moment, the one with the higher number first."""
    search = begin(space=SPACE, trials=11, confirm=0)
    rng = random.Random(0)
    trials = [search.next() for _ in range(12)]
    rng.shuffle(trials)
    rows = [(0.5 + rng.randrange(4) / 10, rng.randrange(5) / 10) for _ in trials]

    def same():
        fresh = Outcome(search.record, search.outcome.objectives)
        assert search.outcome.front() == fresh.front()
        assert search.outcome.history() == fresh.history()
        assert search.outcome.last_growth() == fresh.last_growth()
        assert (search.outcome.choose() is None) == (fresh.choose() is None)
        if fresh.choose() is not None:
            assert search.outcome.choose() == fresh.choose()

    for i in range(0, 12, 2):  # both results of a pair are recorded before either ends
        pair = sorted(trials[i : i + 2], key=lambda trial: -trial.number)
        for trial, row in zip(pair, rows[i : i + 2], strict=True):
            search.record_epoch(trial.number, result(1, *row))
        for trial in pair:
            search.record_end(trial.number)
            same()
    assert [trial.number for trial in search.outcome.candidates()] == list(range(12))


# Curves: a trial with several strengths of logit adjustment

BASELINE = {0.0: (0.50, 0.10), 0.5: (0.495, 0.15), 1.0: (0.40, 0.20)}
SEARCHED = {0.0: (0.52, 0.05), 0.5: (0.51, 0.25), 1.0: (0.45, 0.24)}


def spots(points):
    return [(point.trial.number, point.tau) for point in points]


def test_every_strength_is_a_point_and_the_best_one_is_recommended(candidates):
    outcome = candidates((BASELINE,), (SEARCHED,), ((0.47, 0.12)))
    assert spots(outcome.front()) == [(1, 0.5), (1, 0.0)]
    choice = outcome.choose()
    assert choice.point == Point(outcome.record[1], 0.5)
    assert choice.scores.report.worst_iou == pytest.approx(0.25)
    assert choice.baseline.number == 0
    assert choice.adjusted_baseline == Point(outcome.record[0], 0.5)  # its mIoU is within the allowance; tau 1's is not
    assert not choice.is_baseline


def test_the_floor_is_that_of_the_plain_baseline(candidates):
    """The adjusted baseline has mIoU 0.6; so relative to it no other point would keep the floor."""
    outcome = candidates(({0.0: (0.5, 0.1), 0.5: (0.6, 0.1)},), ({0.0: (0.5, 0.3)},), allowance=0.0)
    (guard,) = outcome.choose().standings
    assert (chosen(outcome), guard.bound) == (1, pytest.approx(0.5))


def test_an_adjusted_baseline_can_win(candidates):
    choice = candidates((BASELINE,), ({0.0: (0.52, 0.05), 0.5: (0.51, 0.12)},)).choose()
    assert choice.is_baseline
    assert choice.point == choice.adjusted_baseline == Point(choice.baseline, 0.5)


def test_a_baseline_that_no_strength_improves_has_no_adjusted_baseline(candidates):
    choice = candidates(({0.0: (0.50, 0.10), 0.5: (0.51, 0.05)},), (SEARCHED,)).choose()
    assert choice.adjusted_baseline is None


def test_a_tie_goes_to_the_earlier_trial_then_to_the_lower_tau(candidates):
    """In the second sweep the tie is within trial 1: tau 0.5 and 1 differ in classes that no objective shows."""
    same = {0.0: (0.5, 0.1), 0.5: (0.5, 0.3)}
    assert candidates((0.5, 0.1), (same,), (same,)).choose().point.tau == 0.5
    assert chosen(candidates((0.5, 0.1), (same,), (same,))) == 1
    swapped = {0.0: (0.5, 0.1), 0.5: (0.25, 0.5, 0.75, 0.5), 1.0: (0.25, 0.75, 0.5, 0.5)}
    outcome = candidates((0.5, 0.1), (swapped,))
    assert outcome.choose().point.tau == 0.5
    assert spots(outcome.front()) == [(1, 0.5)]


def test_a_floor_tells_apart_two_strengths_with_equal_objectives(candidates):
    swapped = {0.0: (0.5, 0.1), 0.5: (0.25, 0.5, 0.75, 0.5), 1.0: (0.25, 0.75, 0.5, 0.5)}
    floors = (Floor("iou:b", 0.7, False),)
    outcome = candidates((0.5, 0.1), (swapped,), classes=tuple("abcd"), floors=floors)
    assert outcome.choose().point.tau == 1.0


def test_the_front_does_not_grow_by_a_strength_that_changes_nothing(candidates):
    """Patience counts from the last growth."""
    same = dict.fromkeys((0.0, 0.5, 1.0), (0.5, 0.1))
    outcome = candidates((0.5, 0.1), (same,), ({0.0: (0.4, 0.05), 0.5: (0.5, 0.1)},))
    assert outcome.last_growth() == 1
    assert outcome.history()[1] == pytest.approx([0.05] * 3)
    grown = candidates((0.5, 0.1), (same,), ({0.0: (0.4, 0.05), 0.5: (0.5, 0.2)},))
    assert grown.last_growth() == 3
    assert grown.history()[1] == pytest.approx([0.05, 0.05, 0.1])


def test_a_class_that_is_absent_with_some_strength_alone(candidates):
    """With tau 0.5 nothing is predicted as class `a`, which the truth does not show, so its IoU is NaN."""
    curve = {0.0: (0.0, 0.5, 0.5, 0.6), 0.5: (math.nan, 0.5, 0.5, 0.6)}
    outcome = candidates((curve,), objective="iou:a", classes=tuple("abcd"))
    assert spots(outcome.front()) == [(0, 0.0)]  # a point needs both objectives
    assert (outcome.choose().point.tau, outcome.choose().adjusted_baseline) == (0.0, None)
    outcome = candidates((curve,), objective="worst_iou", classes=tuple("abcd"))
    assert outcome.choose().point.tau == 0.5


def test_if_no_strength_keeps_the_floors_the_nearest_one_is_named(candidates):
    outcome = candidates((BASELINE,), (SEARCHED,), floors=(Floor("worst_iou", 0.9, False),))
    assert outcome.choose() is None
    assert outcome.why_none() == (
        "no trial keeps the floors; nearest: "
        "trial 1 (tau 0.5): worst_iou 0.25 of 0.90; trial 0 (tau 1): worst_iou 0.20 of 0.90, miou 0.40 of 0.49"
    )


def test_a_confirmation_run_of_an_adjusted_winner_repeats_its_trial_once(begin):
    search = begin(space=SPACE, trials=1, confirm=1)
    for curve in (BASELINE, SEARCHED, BASELINE, SEARCHED):
        end(search, search.next(), curve)
    assert search.finished
    assert [run.repeats for run in search.record.trials("confirm")] == [0, 1]
    assert search.outcome.choose().point == Point(search.record[1], 0.5)


values = st.sampled_from([0.0, 0.2, 0.25, 0.5, 0.75, math.nan])
curves = st.lists(st.tuples(values, values, values, st.just(0.5)), min_size=1, max_size=3).map(
    lambda rows: dict(zip((0.0, 0.5, 1.0), rows, strict=False))
)
objectives = st.builds(
    Objectives,
    st.sampled_from(["worst_iou", "miou", "std_iou", "iou:d"]),
    st.sampled_from([0.0, 0.1]),
    st.just(tuple("abcd")),
    st.sampled_from([(), (Floor("iou:a", 0.25, False),), (Floor("others", -0.1, True), Floor("miou", -0.3, True))]),
)


def kept(point, plain, asked):
    """Whether a point keeps the floors, written anew."""
    miou, worst = point.scores.report.miou, point.scores.report.worst_iou
    bounds = {floor.name: floor.value for floor in asked.floors}
    guard, before = (worst, plain.report.worst_iou) if asked.objective == "miou" else (miou, plain.report.miou)
    guarded = "worst_iou" if asked.objective == "miou" else "miou"
    fine = guard >= bounds.get(guarded, -asked.allowance) + before if guarded not in bounds else True
    if "miou" in bounds:
        fine &= miou >= plain.report.miou + bounds["miou"]
    if "iou:a" in bounds:
        fine &= not point.scores.iou[0] < bounds["iou:a"]
    if "others" in bounds:
        own = {"iou:d"} if asked.objective == "iou:d" else set()
        pairs = zip("abcd", point.scores.iou, plain.iou, strict=True)
        fine &= not any(value < bounds["others"] + old for name, value, old in pairs if f"iou:{name}" not in own)
    return fine


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(curves, min_size=4, max_size=4), asked=objectives)
def test_the_front_and_the_recommended_point_are_those_of_brute_force(four, rows, asked):
    four.candidates.clear()
    for trial, row in zip(four.trials(), rows, strict=True):
        four.keep(replace(trial, results=(curved(1, row),)))  # in memory alone: that is fast
    outcome = Outcome(four, asked)
    points = [point for trial in outcome.candidates() for point in points_of(trial)]
    sign = (1, 1) if asked.fairness.maximize else (1, -1)
    pair = {p: tuple(s * v for s, v in zip(sign, asked.values(p.scores), strict=True)) for p in points}
    first = [
        p for p in points if not any(q.trial == p.trial and q.tau < p.tau and pair[q] == pair[p] for q in points)
    ]  # a strength that changes no objective is not shown

    def dominates(one, other):
        return all(a >= b for a, b in zip(one, other, strict=True)) and one != other

    front = [p for p in first if not any(dominates(pair[q], pair[p]) for q in points)]
    assert set(outcome.front()) == set(front)
    assert [point.scores.report.miou for point in outcome.front()] == sorted(p.scores.report.miou for p in front)

    plain = outcome.record[0].last.plain
    allowed = [p for p in points if kept(p, plain, asked)]
    lead = [
        (asked.lead.value(p.scores) * (1 if asked.lead.maximize else -1), asked.guard.value(p.scores)) for p in points
    ]
    keyed = dict(zip(points, lead, strict=True))
    best = max(allowed, key=lambda p: (*keyed[p], -p.trial.number, -p.tau), default=None)
    choice = outcome.choose()
    assert (None if choice is None else choice.point) == best


def test_points_taken_in_one_by_one_give_the_results_of_the_whole_record(begin):
    """The points are NaN in part, and equal in part."""
    search = begin(space=SPACE, trials=5, confirm=0)
    rng = random.Random(1)
    for trial in [search.next() for _ in range(6)]:
        levels = [0.2, 0.25, 0.5, math.nan]
        end(search, trial, {tau: (*rng.choices(levels, k=3), 0.5) for tau in (0.0, 0.25, 0.5)})
        fresh, again = Outcome(search.record, search.plan.objectives), reopened(search).outcome
        for one, other in itertools.pairwise((search.outcome, fresh, again)):
            assert spots(one.front()) == spots(other.front())
            assert one.history()[1] == other.history()[1]
            assert one.last_growth() == other.last_growth()
            assert one.choose().point == other.choose().point
