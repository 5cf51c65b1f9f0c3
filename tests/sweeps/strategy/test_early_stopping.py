"""Early stopping in `sweeps.strategy.search`, on a real record: who is stopped when, and what becomes of it."""

import math
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from sweeps.storage.record import Record
from sweeps.strategy.search import Search
from tests.sweeps.searching import ALONE, EPOCHS, SPACE, ious, reopened, result, told, train

ONE_BASELINE = {**SPACE, "baselines": {"mcce": {"loss": "mcce"}}}
STOPPED_AT = "not among the best 50% at epoch {}"

# Searched trials in their order: mIoU and worst IoU at epoch 1, 2, …, and where each is stopped. At each of the rungs 1
# and 2 the better half of those that have got there goes on.
CURVES = [
    ([(0.50, 0.10)], None),  # the first at both rungs
    ([(0.60, 0.20)], None),  # better than all so far
    ([(0.40, 0.05), (0.90, 0.90)], 1),  # worse than both; what it could have become is not known
    ([(0.55, 0.15)], 2),  # second of four at epoch 1, but of three at epoch 2
    ([(0.45, 0.30)], None),  # a trade: on the front at both
    ([(0.65, 0.35), (0.30, 0.01)], 2),  # falls back
    ([(0.30, 0.01)], 1),
    ([(0.61, 0.25), (0.70, 0.40)], None),
]


@pytest.fixture
def halved(begin):
    """A search of the hand-made curves, run to its end."""
    search = begin(space=ALONE, rungs=(1, 2), trials=len(CURVES), confirm=0)
    for curve, _ in CURVES:
        train(search, search.next(), *curve)
    assert search.finished
    return search


def test_the_trials_that_are_stopped_are_these(halved):
    for search in (halved, reopened(halved)):
        for trial, (_, stopped) in zip(search.record.trials(), CURVES, strict=True):
            wanted = (EPOCHS, TrialState.COMPLETE, None)
            if stopped is not None:
                wanted = (stopped, TrialState.PRUNED, STOPPED_AT.format(stopped))
            assert (trial.epoch, trial.state, trial.reason) == wanted, trial.number
            assert (trial.values is None) == trial.stopped


def test_a_stopped_trial_is_no_candidate_whatever_it_showed(halved):
    """Trial 5 was at (0.65, 0.35) after an epoch; of those that had their full budget 4 and 7 are the best."""
    complete = [number for number, (_, stopped) in enumerate(CURVES) if stopped is None]
    assert [trial.number for trial in halved.outcome.candidates()] == complete
    assert [trial.number for trial in halved.outcome.front()] == [7]
    assert halved.outcome.choose().trial.number == 7
    trials, _ = halved.outcome.history()
    assert [trial.number for trial in trials] == complete


def test_what_was_spent_and_what_is_expected_counts_stopped_trials_as_short(begin):
    search = begin(space=ALONE, rungs=(1, 2), trials=len(CURVES), confirm=0)
    assert search.epochs_expected == len(CURVES) * EPOCHS
    for curve, _ in CURVES:
        train(search, search.next(), *curve)
    assert search.record.epochs == search.epochs_expected == sum(stopped or EPOCHS for _, stopped in CURVES)


@pytest.mark.parametrize("changes", [{"rungs": ()}, {"rungs": (1, 2), "keep": 1.0}])
def test_without_rungs_or_with_all_to_be_kept_everything_is_trained_to_its_end(begin, changes):
    search = begin(space=ALONE, trials=3, confirm=0, **changes)
    trials = [train(search, search.next(), (0.5 - i / 10, 0.1)) for i in range(3)]
    assert [(trial.complete, trial.epoch) for trial in trials] == [(True, EPOCHS)] * 3


@pytest.mark.parametrize(("first", "second", "stopped"), [(0.2, 0.0, False), (0.0, 0.2, True)])
def test_a_fairness_measure_that_is_to_be_small_is_compared_as_such(begin, first, second, stopped):
    """Two trials of the same mIoU, whose classes differ by so much."""
    search = begin(space=ALONE, rungs=(1,), trials=2, confirm=0, objective="std_iou")
    one, two = search.next(), search.next()
    assert search.record_epoch(one.number, ious(1, 0.5 + first, 0.5 - first, 0.5, 0.5))
    assert search.record_epoch(two.number, ious(1, 0.5 + second, 0.5 - second, 0.5, 0.5)) == (not stopped)


def test_while_the_worst_class_is_at_0_everywhere_the_worst_quarter_decides(begin):
    """Of eight classes the two worst. The third trial has the lowest mean, but neglects one class less."""
    search = begin(space=ALONE, rungs=(1,), keep=0.7, trials=3, confirm=0)
    shown = [([0, 0, *[0.6] * 6], True), ([0, 0, *[0.5] * 6], False), ([0, 0.4, *[0.4] * 6], True)]
    for classes, goes_on in shown:
        trial = search.next()
        assert search.record_epoch(trial.number, ious(1, *classes)) is goes_on
        search.record_end(trial.number)


@pytest.mark.parametrize(("objective", "goes_on"), [("worst_iou", True), ("miou", False)])
def test_of_two_ends_of_a_trade_that_of_the_leading_measure_goes_on(begin, objective, goes_on):
    search = begin(space=ALONE, rungs=(1,), trials=2, confirm=0, objective=objective)
    one, two = search.next(), search.next()
    assert search.record_epoch(one.number, result(1, 0.5, 0.0))
    assert search.record_epoch(two.number, result(1, 0.49, 0.3)) is goes_on


def test_baselines_and_confirming_runs_are_not_stopped_at_a_rung_and_set_no_bar(begin):
    search = begin(space=ONE_BASELINE, rungs=(1, 2), trials=2, confirm=1)
    baseline, first, second = (search.next() for _ in range(3))
    search.record_epoch(baseline.number, result(1, 0.99, 0.99))
    assert train(search, first, (0.5, 0.1)).complete  # far worse than the baseline, yet the first at its rungs
    assert train(search, baseline, (0.99, 0.99), (0.01, 0.0)).complete  # now far worse than the searched one
    assert train(search, second, (0.6, 0.2)).complete
    while (trial := search.next()) is not None:
        assert trial.role == "confirm"
        assert train(search, trial, (0.01, 0.0)).complete
    assert search.finished
    assert len(search.record.trials("confirm")) == 2


def test_an_interrupt_ends_no_trial_but_one_whose_fate_is_decided(begin):
    search = begin(space=ALONE, rungs=(1,), trials=3, confirm=0)
    train(search, search.next(), (0.5, 0.1))
    going, losing = search.next(), search.next()
    search.request_stop()
    for trial, measures in ((going, (0.6, 0.2)), (losing, (0.4, 0.0))):
        assert not search.record_epoch(trial.number, result(1, *measures))
        search.record_end(trial.number)
    assert search.next() is None
    assert [trial.state.name for trial in search.record.trials()] == ["COMPLETE", "RUNNING", "PRUNED"]
    search = reopened(search)
    assert (search.next().number, search.record[going.number].epoch) == (going.number, 1)
    assert train(search, search.record[going.number], (0.6, 0.2)).complete


# Not a number


@pytest.mark.parametrize(
    ("epoch", "values"), [*((epoch, (math.nan,) * 4) for epoch in range(1, EPOCHS + 1)), (2, (0.5, math.inf, 0.1, 0.1))]
)
def test_a_trial_that_is_not_finite_at_any_epoch_fails_and_is_never_good(begin, epoch, values):
    search = begin(space=ALONE, rungs=(1, 2), trials=3, confirm=0)
    train(search, search.next(), (0.5, 0.1))
    bad = search.next()
    for early in range(1, epoch):
        assert search.record_epoch(bad.number, result(early, 0.9, 0.8))
    assert not search.record_epoch(bad.number, ious(epoch, *values))
    search.record_end(bad.number)
    for one in (search, reopened(search)):
        failed = one.record[bad.number]
        assert (failed.state, failed.values) == (TrialState.FAIL, None)
        assert failed.reason == f"the objectives are not finite after epoch {epoch}"
        assert [trial.number for trial in one.outcome.front()] == [0]
    heard = told(search)[bad.number]
    assert (heard.failed, heard.values, heard.shortfall) == (True, None, None)


def test_what_is_not_finite_at_a_rung_takes_nobodys_place(begin):
    """Of (0.5, 0.1), NaN and (0.4, 0.05) a half is one; with the NaN counted it would still be one. Of four, two."""
    search = begin(space=ALONE, rungs=(1,), trials=4, confirm=0)
    assert train(search, search.next(), (0.5, 0.1)).complete
    for _ in range(2):
        bad = search.next()
        search.record_epoch(bad.number, ious(1, *(math.nan,) * 4))
        search.record_end(bad.number)
    assert train(search, search.next(), (0.4, 0.05)).stopped  # the second of two, not of four


# What the sampler is told


def test_of_a_stopped_trial_the_sampler_is_told_the_last_it_showed(halved):
    search = Search.resume(Record(halved.record.store, halved.record.study))
    search.plan = replace(search.plan, trials=len(CURVES) + 1)  # so that it asks once more
    for heard, (curve, stopped) in zip(told(search), CURVES, strict=True):
        assert heard.values == pytest.approx(curve[min(stopped or EPOCHS, len(curve)) - 1])
        assert (heard.failed, heard.shortfall) == (False, None)  # without a baseline there is nothing to keep


def test_the_guard_is_that_of_the_reference_after_as_many_epochs(begin):
    search = begin(space=ONE_BASELINE, rungs=(2,), trials=4, confirm=0, allowance=0.02)
    train(search, search.next(), (0.1, 0.0), (0.2, 0.0), (0.3, 0.0), (0.6, 0.1))
    train(search, search.next(), (0.1, 0.0), (0.2, 0.3), (0.3, 0.3), (0.5, 0.3))
    assert train(search, search.next(), (0.1, 0.0), (0.15, 0.1)).stopped
    train(search, search.next(), (0.1, 0.0), (0.3, 0.4), (0.4, 0.4), (0.7, 0.5))
    wanted = [0.6 - 0.02 - 0.5, 0.2 - 0.02 - 0.15, 0.6 - 0.02 - 0.7]  # more than 0: the guard is not kept
    assert [heard.shortfall for heard in told(search)] == pytest.approx(wanted)
    again = reopened(search)
    again.unfinished.clear()  # what `told` began
    again.plan = replace(again.plan, trials=5)
    assert [heard.shortfall for heard in told(again)][:3] == pytest.approx(wanted)


def test_when_miou_leads_the_worst_class_is_the_guard(begin):
    search = begin(space=ONE_BASELINE, trials=2, confirm=0, allowance=0.0, objective="miou")
    train(search, search.next(), (0.5, 0.2))
    train(search, search.next(), (0.7, 0.05))
    assert [heard.shortfall for heard in told(search)] == pytest.approx([0.15])


def test_until_the_reference_has_ended_there_is_no_guard_and_then_there_is_one_for_all(begin):
    search = begin(space=ONE_BASELINE, trials=4, confirm=0)
    baseline, first = search.next(), search.next()
    train(search, first, (0.5, 0.2))
    assert [heard.shortfall for heard in told(search)] == [None]
    train(search, baseline, (0.5, 0.1))
    assert [heard.shortfall for heard in told(search)] == [pytest.approx(-0.01), None]  # (the other one is running)


# Killed and gone on with

SEARCHED = {
    **SPACE,
    "trial": {"epochs": 3, "crop": [32, 48]},
    "space": {
        "loss": {"choices": ["class_tilt", "stochastic_tilt"]},
        "t": {"low": 0.1, "high": 10, "log": True},
        "gamma": {"low": 0.01, "high": 0.5, "log": True, "when": {"loss": "stochastic_tilt"}},
    },
}


def measured(trial, epoch):
    """The tilt helps the worst class and harms the mean, more so the longer it trains; one learns late."""
    t = trial.params.get("t", 0.0) * (epoch - 1 if trial.number % 4 == 3 else epoch)
    return result(epoch, 0.6 - 0.02 * t + 0.01 * epoch, 0.3 * t / (1 + t) - 0.1 * trial.params.get("gamma", 0.0))


def run_unbroken(search):
    while (trial := search.next()) is not None:
        while search.record_epoch(trial.number, measured(trial, search.record[trial.number].epoch + 1)):
            pass
        search.record_end(trial.number)
    return search


def run_killed_at_every_event(search):
    """After each beginning, epoch and end, and (in every other epoch) between an epoch's record and its decision."""
    while (trial := search.next()) is not None:
        while not search.record[trial.number].state.is_finished():
            search = reopened(search)
            assert search.next().number == trial.number  # found RUNNING, handed out first
            epoch = search.record[trial.number].epoch + 1
            if epoch % 2:
                search.record.add_epoch(trial.number, measured(trial, epoch), 1.0)
            else:
                search.record_epoch(trial.number, measured(trial, epoch))
            search = reopened(search)
        search = reopened(search)
    return search


def test_what_a_rung_let_go_on_goes_on_after_a_restart_though_better_trials_got_there_since(begin):
    search = begin(space=ALONE, trials=2, rungs=(1,), confirm=0)
    first, second = search.next(), search.next()
    assert search.record_epoch(second.number, result(1, 0.4, 0.1))  # nobody was there before
    assert search.record_epoch(first.number, result(1, 0.5, 0.2))  # better than the other
    for _ in range(2):
        search = reopened(search)
        assert [search.next().number, search.next().number] == [first.number, second.number]


@pytest.mark.parametrize("sampler", [pytest.param("gp", marks=pytest.mark.slow), "tpe", "random"])
def test_a_search_killed_at_every_event_decides_and_proposes_as_an_unbroken_one(begin, sampler):
    plan = {"space": SEARCHED, "sampler": sampler, "trials": 13, "rungs": (1, 2), "confirm": 1, "seed": 2}
    unbroken, killed = run_unbroken(begin(**plan)), run_killed_at_every_event(begin(**plan))
    assert killed.finished
    for one, other in zip(unbroken.record.trials(), killed.record.trials(), strict=True):
        assert (one.role, one.label, one.config, one.params) == (other.role, other.label, other.config, other.params)
        assert (one.state, one.reason, one.results) == (other.state, other.reason, other.results)
        assert one.ended.epochs == other.ended.epochs
    stopped = {trial.epoch for trial in unbroken.record.trials("search") if trial.stopped}
    assert stopped == {1, 2}
    assert unbroken.outcome.history()[1] == killed.outcome.history()[1]
    assert unbroken.outcome.choose().trial.number == killed.outcome.choose().trial.number
