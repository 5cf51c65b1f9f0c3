"""`sweeps.strategy.outcome` on a real record: the front, its growth and the recommended trial."""

import random

import pytest

from sweeps.storage.objectives import Floor, Objectives
from sweeps.strategy.outcome import Outcome
from tests.sweeps.searching import ious, reopened, result

SPACE = {
    "trial": {"loss": "class_tilt", "epochs": 1, "crop": [32, 48]},
    "space": {"t": {"low": 0.1, "high": 10}},
    "baselines": {"mcce": {"loss": "mcce"}},
}


def end(search, trial, *row):
    """End a trial after its only epoch; `row` is the IoUs of all classes, or mIoU and worst IoU."""
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
