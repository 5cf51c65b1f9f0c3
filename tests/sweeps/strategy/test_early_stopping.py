"""Early stopping in `sweeps.strategy.search` on a real record: which trials are stopped, and with which effects."""

import math
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from sweeps.storage.objectives import STAND_IN, Floor
from sweeps.storage.record import Record
from sweeps.strategy.search import Search
from tests.sweeps.searching import ALONE, EPOCHS, SPACE, ious, reopened, result, told, train

ONE_BASELINE = {**SPACE, "baselines": {"mcce": {"loss": "mcce"}}}
STOPPED_AT = "not among the best 50% at epoch {}"

# Searched trials in order: (mIoU, worst IoU) at epochs 1, 2, …, and the epoch at which the trial is stopped. At each of
# the rungs 1 and 2, the better half of the trials that have reached it continues.
CURVES = [
    ([(0.50, 0.10)], None),  # the first at both rungs
    ([(0.60, 0.20)], None),  # better than all trials before
    ([(0.40, 0.05), (0.90, 0.90)], 1),  # worse than both; its later values are never seen
    ([(0.55, 0.15)], 2),  # second of four at epoch 1, but second of three at epoch 2
    ([(0.45, 0.30)], None),  # a trade-off: on the front at both rungs
    ([(0.65, 0.35), (0.30, 0.01)], 2),  # gets worse at epoch 2
    ([(0.30, 0.01)], 1),
    ([(0.61, 0.25), (0.70, 0.40)], None),
]


@pytest.fixture
def halved(begin):
    """A search that has trained all trials of `CURVES`."""
    search = begin(space=ALONE, rungs=(1, 2), trials=len(CURVES), confirm=0)
    for curve, _ in CURVES:
        train(search, search.next(), *curve)
    assert search.finished
    return search


def test_exactly_the_expected_trials_are_stopped(halved):
    """`CURVES` says which trials are stopped and at which rung. A reopened search agrees."""
    for search in (halved, reopened(halved)):
        for trial, (_, stopped) in zip(search.record.trials(), CURVES, strict=True):
            wanted = (EPOCHS, TrialState.COMPLETE, None)
            if stopped is not None:
                wanted = (stopped, TrialState.PRUNED, STOPPED_AT.format(stopped))
            assert (trial.epoch, trial.state, trial.reason) == wanted, trial.number
            assert (trial.values is None) == trial.stopped


def test_a_stopped_trial_is_no_candidate_even_with_good_results(halved):
    """Trial 5 has good results after one epoch, but is stopped. Of the complete trials, only 7 is on the front."""
    complete = [number for number, (_, stopped) in enumerate(CURVES) if stopped is None]
    assert [trial.number for trial in halved.outcome.candidates()] == complete
    assert [point.trial.number for point in halved.outcome.front()] == [7]
    assert halved.outcome.choose().trial.number == 7
    trials, _ = halved.outcome.history()
    assert [trial.number for trial in trials] == complete


def test_stopped_trials_count_with_the_epochs_that_they_trained(begin):
    search = begin(space=ALONE, rungs=(1, 2), trials=len(CURVES), confirm=0)
    assert search.epochs_expected == len(CURVES) * EPOCHS
    for curve, _ in CURVES:
        train(search, search.next(), *curve)
    assert search.record.epochs == search.epochs_expected == sum(stopped or EPOCHS for _, stopped in CURVES)


@pytest.mark.parametrize("changes", [{"rungs": ()}, {"rungs": (1, 2), "keep": 1.0}])
def test_without_rungs_or_with_keep_1_no_trial_is_stopped(begin, changes):
    search = begin(space=ALONE, trials=3, confirm=0, **changes)
    trials = [train(search, search.next(), (0.5 - i / 10, 0.1)) for i in range(3)]
    assert [(trial.complete, trial.epoch) for trial in trials] == [(True, EPOCHS)] * 3


@pytest.mark.parametrize(("first", "second", "stopped"), [(0.2, 0.0, False), (0.0, 0.2, True)])
def test_a_smaller_standard_deviation_is_better_at_a_rung(begin, first, second, stopped):
    """Two trials have the same mIoU; their IoUs spread by `first` and `second`. A smaller spread wins the place."""
    search = begin(space=ALONE, rungs=(1,), trials=2, confirm=0, objective="std_iou")
    one, two = search.next(), search.next()
    assert search.record_epoch(one.number, ious(1, 0.5 + first, 0.5 - first, 0.5, 0.5))
    assert search.record_epoch(two.number, ious(1, 0.5 + second, 0.5 - second, 0.5, 0.5)) == (not stopped)


def test_the_worst_quarter_of_classes_decides_while_the_worst_iou_is_0(begin):
    """All trials have a worst IoU of 0. The third has the lowest mean, but only one class at 0, so it continues."""
    search = begin(space=ALONE, rungs=(1,), keep=0.7, trials=3, confirm=0)
    shown = [([0, 0, *[0.6] * 6], True), ([0, 0, *[0.5] * 6], False), ([0, 0.4, *[0.4] * 6], True)]
    for classes, continues in shown:
        trial = search.next()
        assert search.record_epoch(trial.number, ious(1, *classes)) is continues
        search.record_end(trial.number)


@pytest.mark.parametrize(("objective", "continues"), [("worst_iou", True), ("miou", False)])
def test_between_two_ends_of_a_trade_off_the_leading_objective_decides(begin, objective, continues):
    """The first trial has the better mIoU, the second the better worst IoU. There is one place at the rung."""
    search = begin(space=ALONE, rungs=(1,), trials=2, confirm=0, objective=objective)
    one, two = search.next(), search.next()
    assert search.record_epoch(one.number, result(1, 0.5, 0.0))
    assert search.record_epoch(two.number, result(1, 0.49, 0.3)) is continues


def test_rungs_ignore_baselines_and_confirmation_runs(begin):
    """They are never stopped at a rung, and searched trials are not compared with them."""
    search = begin(space=ONE_BASELINE, rungs=(1, 2), trials=2, confirm=1)
    baseline, first, second = (search.next() for _ in range(3))
    search.record_epoch(baseline.number, result(1, 0.99, 0.99))
    assert train(search, first, (0.5, 0.1)).complete  # far worse than the baseline, but first at its rungs
    assert train(search, baseline, (0.99, 0.99), (0.01, 0.0)).complete  # now far worse than the searched trial
    assert train(search, second, (0.6, 0.2)).complete
    while (trial := search.next()) is not None:
        assert trial.role == "confirm"
        assert train(search, trial, (0.01, 0.0)).complete
    assert search.finished
    assert len(search.record.trials("confirm")) == 2


def test_an_interrupted_trial_ends_only_if_its_end_was_decided(begin):
    """A stop is requested while two trials run. The one that loses at the rung is stopped, the other is resumed."""
    search = begin(space=ALONE, rungs=(1,), trials=3, confirm=0)
    train(search, search.next(), (0.5, 0.1))
    continuing, losing = search.next(), search.next()
    search.request_stop()
    for trial, measures in ((continuing, (0.6, 0.2)), (losing, (0.4, 0.0))):
        assert not search.record_epoch(trial.number, result(1, *measures))
        search.record_end(trial.number)
    assert search.next() is None
    assert [trial.state.name for trial in search.record.trials()] == ["COMPLETE", "RUNNING", "PRUNED"]
    search = reopened(search)
    assert (search.next().number, search.record[continuing.number].epoch) == (continuing.number, 1)
    assert train(search, search.record[continuing.number], (0.6, 0.2)).complete


# Not a number


@pytest.mark.parametrize(
    ("epoch", "values"), [*((epoch, (math.nan,) * 4) for epoch in range(1, EPOCHS + 1)), (2, (0.5, math.inf, 0.1, 0.1))]
)
def test_a_trial_with_objectives_that_are_not_finite_fails_at_any_epoch(begin, epoch, values):
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
        assert [point.trial.number for point in one.outcome.front()] == [0]
    heard = told(search)[bad.number]
    assert (heard.failed, heard.values, heard.shortfalls) == (True, None, {})


def test_trials_that_are_not_finite_at_a_rung_do_not_count_there(begin):
    """Two of four trials have NaN. Half of the other two is one place, so the last trial is stopped.

    With the NaN trials there would be two places.
    """
    search = begin(space=ALONE, rungs=(1,), trials=4, confirm=0)
    assert train(search, search.next(), (0.5, 0.1)).complete
    for _ in range(2):
        bad = search.next()
        search.record_epoch(bad.number, ious(1, *(math.nan,) * 4))
        search.record_end(bad.number)
    assert train(search, search.next(), (0.4, 0.05)).stopped  # the second of two, not of four


# What the sampler is told


def test_the_sampler_is_told_the_last_values_of_a_stopped_trial(halved):
    search = Search.resume(Record(halved.record.store, halved.record.study))
    search.plan = replace(search.plan, trials=len(CURVES) + 1)  # so that the sampler is asked once more
    for heard, (curve, stopped) in zip(told(search), CURVES, strict=True):
        last = result(stopped or EPOCHS, *curve[min(stopped or EPOCHS, len(curve)) - 1])
        assert heard.values == (last.report.miou, STAND_IN.value(last))
        assert (heard.failed, heard.shortfalls) == (False, {})  # without a baseline there is no guard


def test_the_guard_compares_with_the_reference_after_the_same_epochs(begin):
    """A stopped trial is compared with the reference baseline at the epoch at which it was stopped."""
    search = begin(space=ONE_BASELINE, rungs=(2,), trials=4, confirm=0, allowance=0.02)
    train(search, search.next(), (0.1, 0.0), (0.2, 0.0), (0.3, 0.0), (0.6, 0.1))
    train(search, search.next(), (0.1, 0.0), (0.2, 0.3), (0.3, 0.3), (0.5, 0.3))
    assert train(search, search.next(), (0.1, 0.0), (0.15, 0.1)).stopped
    train(search, search.next(), (0.1, 0.0), (0.3, 0.4), (0.4, 0.4), (0.7, 0.5))
    wanted = [0.6 - 0.02 - 0.5, 0.2 - 0.02 - 0.15, 0.6 - 0.02 - 0.7]  # above 0: the guard is missed
    assert [heard.shortfalls["miou"] for heard in told(search)] == pytest.approx(wanted)
    again = reopened(search)
    again.unfinished.clear()  # the trial that `told` began
    again.plan = replace(again.plan, trials=5)
    assert [heard.shortfalls["miou"] for heard in told(again)[:3]] == pytest.approx(wanted)


def test_when_miou_leads_the_worst_class_is_the_guard(begin):
    search = begin(space=ONE_BASELINE, trials=2, confirm=0, allowance=0.0, objective="miou")
    train(search, search.next(), (0.5, 0.2))
    train(search, search.next(), (0.7, 0.05))
    assert [heard.shortfalls for heard in told(search)] == [{"worst_iou": pytest.approx(0.15)}]


def test_the_sampler_is_told_of_every_floor(begin):
    """The baseline gains 0.1 in class `b` after epoch 2, so a trial that is stopped there has as much time to gain."""
    floors = Floor("iou:b", 0.3, False), Floor("others", -0.1, True)
    search = begin(space=ONE_BASELINE, rungs=(2,), trials=3, confirm=0, classes=tuple("abcd"), floors=floors)
    train(search, search.next(), (0.4, 0.1), (0.4, 0.1), (0.6, 0.2))
    train(search, search.next(), (0.4, 0.1), (0.5, 0.25))
    assert train(search, search.next(), (0.4, 0.1), (0.3, 0.15)).stopped
    final, early = (heard.shortfalls for heard in told(search))
    assert final == pytest.approx({"miou": 0.59 - 0.5, "b": 0.3 - 0.25, "others": (2.2 - 1.75) / 3 - 0.1})
    assert early == pytest.approx({"miou": 0.39 - 0.3, "b": 0.2 - 0.15, "others": (1.5 - 1.05) / 3 - 0.1})


def test_there_is_a_guard_for_all_trials_only_after_the_reference_has_ended(begin):
    """A trial that ends before the baseline has no shortfall at first. It gets one when the baseline has ended."""
    search = begin(space=ONE_BASELINE, trials=4, confirm=0)
    baseline, first = search.next(), search.next()
    train(search, first, (0.5, 0.2))
    assert [heard.shortfalls for heard in told(search)] == [{}]
    train(search, baseline, (0.5, 0.1))
    assert [heard.shortfalls for heard in told(search)] == [{"miou": pytest.approx(-0.01)}, {}]  # {}: still running


# Killed and resumed

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
    """The tilt helps the worst class and harms the mean, and its effect grows with the epochs.

    Every fourth trial is one epoch late.
    """
    t = trial.params.get("t", 0.0) * (epoch - 1 if trial.number % 4 == 3 else epoch)
    return result(epoch, 0.6 - 0.02 * t + 0.01 * epoch, 0.3 * t / (1 + t) - 0.1 * trial.params.get("gamma", 0.0))


def run_unbroken(search):
    while (trial := search.next()) is not None:
        while search.record_epoch(trial.number, measured(trial, search.record[trial.number].epoch + 1)):
            pass
        search.record_end(trial.number)
    return search


def run_killed_at_every_event(search):
    """Reopen the search after each begin, epoch and end.

    In every other epoch, do so after the epoch is recorded and before the decision about it.
    """
    while (trial := search.next()) is not None:
        while not search.record[trial.number].state.is_finished():
            search = reopened(search)
            assert search.next().number == trial.number  # it is RUNNING in the record, so it comes first
            epoch = search.record[trial.number].epoch + 1
            if epoch % 2:
                search.record.add_epoch(trial.number, measured(trial, epoch), 1.0)
            else:
                search.record_epoch(trial.number, measured(trial, epoch))
            search = reopened(search)
        search = reopened(search)
    return search


def test_a_trial_that_survived_a_rung_survives_it_after_a_restart(begin):
    """The trial survives as the first at the rung. A better one arrives later, which must not change the decision."""
    search = begin(space=ALONE, trials=2, rungs=(1,), confirm=0)
    first, second = search.next(), search.next()
    assert search.record_epoch(second.number, result(1, 0.4, 0.1))  # the first at the rung
    assert search.record_epoch(first.number, result(1, 0.5, 0.2))  # better than the other trial
    for _ in range(2):
        search = reopened(search)
        assert [search.next().number, search.next().number] == [first.number, second.number]


@pytest.mark.parametrize("sampler", [pytest.param("gp", marks=pytest.mark.slow), "tpe", "random"])
def test_a_search_killed_at_every_event_decides_and_proposes_as_an_uninterrupted_one(begin, sampler):
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
