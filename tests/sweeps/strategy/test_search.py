"""`sweeps.strategy.search` on a real record: which trial runs next, how trials end, and interruptions."""

import math
from collections import Counter
from dataclasses import asdict

import pytest
from optuna.trial import TrialState

from sweeps.storage.record import Record
from sweeps.storage.trial import Ended
from sweeps.strategy.search import Search
from tests.sweeps.searching import ALONE, EPOCHS, curved, ious, reopened, result, told, train


def run(search, **outcomes):
    """Run to the end, one trial at a time. `outcomes`: (mIoU, worst IoU) by label; None makes the trial fail."""
    order = []
    while (trial := search.next()) is not None:
        order.append(trial)
        measured = outcomes.get(trial.label.split(" ")[0], (0.5, 0.1))
        if measured is None:
            search.record_end(trial.number, "diverged")
        else:
            train(search, trial, measured)
    assert search.finished
    return order


# The order of trials


def test_baselines_come_first_then_the_search_then_confirmation_runs(begin):
    """The reference baseline and the winner each get two confirmation runs, with seeds that no earlier trial has."""
    search = begin()
    order = run(search, class_tilt=(0.5, 0.3))
    assert [trial.role for trial in order] == ["baseline"] * 2 + ["search"] * 3 + ["confirm"] * 4
    assert [trial.label for trial in order[:2]] == ["mcce", "focal"]
    assert [trial.number for trial in order] == list(range(9))
    winner = search.outcome.choose().trial
    assert winner.role == "search"
    confirmation = order[5:]
    assert [(trial.repeats, trial.config["seed"]) for trial in confirmation] == [
        (0, 6),
        (0, 7),
        (winner.number, 6),
        (winner.number, 7),
    ]
    for trial in confirmation:  # the same configuration with another seed
        assert {**trial.config, "seed": 5} == search.record[trial.repeats].config
    assert all(trial.config["seed"] == 5 for trial in order[:5])
    assert search.epochs_expected == 9 * EPOCHS


def test_only_the_reference_is_confirmed_while_a_candidate_runs(begin):
    """The winner is not known while a searched trial still runs. The last trial to end wins here."""
    search = begin()
    running = [search.next() for _ in range(5)]
    for trial in running[:-1]:
        train(search, trial, (0.5, 0.1))
    reference = [search.next() for _ in range(2)]
    assert [(trial.repeats, trial.config["seed"]) for trial in reference] == [(0, 6), (0, 7)]
    for trial in reference:
        train(search, trial, (0.5, 0.1))
    assert search.next() is None
    assert not search.finished
    train(search, running[-1], (0.6, 0.4))
    assert search.next().repeats == running[-1].number


def test_a_baseline_that_wins_is_confirmed_once(begin):
    search = begin()
    order = run(search, mcce=(0.6, 0.5))
    assert search.outcome.choose().trial.label == "mcce"
    assert [(trial.repeats, trial.config["seed"]) for trial in order[5:]] == [(0, 6), (0, 7)]


def test_without_baselines_and_confirmation_there_are_only_searched_trials(begin):
    search = begin(space=ALONE, confirm=0)
    assert [trial.role for trial in run(search)] == ["search"] * 3
    assert search.epochs_expected == 3 * EPOCHS
    choice = search.outcome.choose()
    assert (choice.baseline, choice.standings) == (None, ())


def test_a_sweep_with_failed_trials_finishes(begin):
    search = begin()
    order = run(search, class_tilt=None, focal=None)
    assert Counter(search.record[trial.number].state.name for trial in order) == {"FAIL": 4, "COMPLETE": 3}
    assert search.outcome.choose().trial.label == "mcce"


def test_a_sweep_in_which_all_trials_fail_finishes_and_recommends_nothing(begin):
    search = begin()
    order = run(search, class_tilt=None, focal=None, mcce=None)
    assert [trial.role for trial in order] == ["baseline"] * 2 + ["search"] * 3
    assert search.outcome.front() == []
    assert search.outcome.history() == ([], [])
    assert search.outcome.choose() is None


def test_a_failed_confirmation_run_is_not_repeated_forever(begin):
    search = begin(trials=1)
    for _ in range(3):
        train(search, search.next(), (0.5, 0.1))
    failed = 0
    while (trial := search.next()) is not None:
        search.record_end(trial.number, "its workers died 3 times")
        failed += 1
        assert failed <= 4
    assert search.finished


# Interruption


def test_a_search_can_be_interrupted_at_every_event(begin):
    """A search that is reopened after every event runs the same trials as an uninterrupted one, each once."""
    expected = [(t.role, t.label, t.config) for t in run(begin(trials=1, confirm=1), class_tilt=(0.5, 0.3))]
    search = begin(trials=1, confirm=1)

    def reopened():
        return Search.resume(Record.load(search.record.store.url, "one"))

    numbers = []
    while (trial := search.next()) is not None:
        search = reopened()
        assert search.next() == trial  # it is RUNNING in the record, so it comes first, under its number
        search.record_epoch(trial.number, result(1, 0.2, 0.05))
        search = reopened()
        again = search.next()
        assert (again.number, again.last.epoch) == (trial.number, 1)
        train(search, again, (0.5, 0.3) if trial.label.startswith("class_tilt") else (0.5, 0.1))
        search = reopened()
        numbers.append(trial.number)
    assert search.finished
    assert numbers == list(range(len(expected)))
    assert [(t.role, t.label, t.config) for t in search.record.trials()] == expected
    assert all(trial.complete for trial in search.record.trials())


def test_interrupted_trials_come_first_in_order_and_new_trials_after_them(begin):
    search = begin()
    first, second, third = (search.next() for _ in range(3))
    train(search, second, (0.5, 0.1))
    search = reopened(search)
    assert not search.finished
    assert [search.next().number for _ in range(3)] == [first.number, third.number, 3]


def test_a_trial_whose_end_was_not_recorded_is_completed_on_load(begin):
    """All epochs of the first trial are recorded, but not its end. The second trial still has epochs to train."""
    search = begin()
    trial, other = search.next(), search.next()
    for epoch in range(1, EPOCHS + 1):
        search.record_epoch(trial.number, result(epoch, 0.6, 0.2))
    search.record_epoch(other.number, result(1))
    search = reopened(search)
    done = search.record[trial.number]
    assert (done.state, done.values) == (TrialState.COMPLETE, pytest.approx((0.6, 0.2)))
    assert search.next().number == other.number
    assert search.next().number == 2


def test_the_sampler_sees_a_trial_that_is_completed_on_load(begin):
    search = begin(space=ALONE, trials=2)
    trial = search.next()
    for epoch in range(1, EPOCHS + 1):
        search.record_epoch(trial.number, result(epoch, 0.6, 0.2))
    (known,) = told(reopened(search))
    assert (known.params, known.values) == (trial.params, search.plan.objectives.told(result(EPOCHS, 0.6, 0.2)))


def test_a_trial_whose_end_was_recorded_in_part_is_trained_to_its_end(begin):
    """The process is killed between the two writes of an end: the reason is recorded, but the trial is RUNNING.

    The trial is resumed and completes, and the reason is gone.
    """
    search = begin(trials=1, confirm=0)
    trial = search.next()
    search.record_epoch(trial.number, result(1))
    search.record._set_attr(trial.number, "ended", asdict(Ended(1, 2.0, "its workers died 3 times")))
    search = reopened(search)
    assert (search.next().number, search.record[trial.number].epoch) == (trial.number, 1)
    assert train(search, search.record[trial.number], (0.5, 0.1)).complete
    assert search.record[trial.number].reason is None


# How trials end


def test_an_absent_class_does_not_count_in_the_objectives(begin):
    search = begin()
    trial = search.next()
    for epoch in range(1, EPOCHS + 1):
        search.record_epoch(trial.number, ious(epoch, 0.9, math.nan, 0.5, 0.4))
    search.record_end(trial.number)
    assert search.record[trial.number].values == pytest.approx((0.6, 0.4))


def test_a_trial_that_failed_after_good_epochs_is_no_candidate(begin):
    search = begin()
    one, two = search.next(), search.next()
    search.record_epoch(one.number, result(1, 0.9, 0.9))
    search.record_end(one.number, "its workers died 3 times in epoch 2")
    train(search, two, (0.5, 0.1))
    assert [point.trial.number for point in search.outcome.front()] == [two.number]
    assert search.record[one.number].reason == "its workers died 3 times in epoch 2"


# Curves: a trial is compared with the strength of logit adjustment that suits it

PLAIN = (0.5, 0.10)
WIDE = {"rungs": (1,), "trials": 4, "confirm": 0, "space": ALONE, "allowance": 0.05}


def test_at_a_rung_a_trial_is_compared_with_the_strength_that_suits_it(begin):
    """Each later trial has a worse plain model than the first. One has a strength that beats it in both objectives."""
    search = begin(**WIDE)
    assert train(search, search.next(), PLAIN).complete
    assert train(search, search.next(), {0.0: (0.49, 0.05), 0.5: (0.51, 0.20)}).complete
    assert train(search, search.next(), {0.0: (0.49, 0.05), 0.5: (0.495, 0.08)}).stopped
    beyond = {0.0: (0.49, 0.05), 0.5: (0.43, 0.9)}  # its mIoU is more than the allowance below its plain model
    assert train(search, search.next(), beyond).stopped
    assert search.halving.arrived[1][1] == pytest.approx((0.20, 0.51))
    assert search.halving.arrived[1][3] == pytest.approx((0.05, 0.49))


def test_a_rung_of_std_iou_takes_the_strength_with_the_lower_spread(begin):
    search = begin(**WIDE, objective="std_iou")
    train(search, search.next(), {0.0: (0.49, 0.05), 0.5: (0.48, 0.4), 1.0: (0.3, 0.3)})
    even = curved(1, {0.0: (0.48, 0.4)}).report.std_iou
    assert search.halving.arrived[1][0] == pytest.approx((even, 0.48))


def test_a_resumed_search_compares_the_same_values_at_its_rungs(begin):
    search = begin(**{**WIDE, "trials": 6})
    shapes = [
        {0.0: (0.4 + i % 3 / 20, i / 40), 0.5: (0.4 + i % 2 / 50, i / 30), 1.0: (0.3, math.nan, 0.5, 0.4)}
        for i in range(6)
    ]
    for shape in shapes[:5]:
        train(search, search.next(), shape)
        again = reopened(search)
        assert again.halving.arrived == search.halving.arrived
        assert list(again.halving.arrived[1]) == list(search.halving.arrived[1])
    trial = search.next()
    search.record_epoch(trial.number, curved(1, shapes[5]))
    decided, again = search.pending_ends.get(trial.number), reopened(search)
    assert (decided is None) == (again.next() is not None)
    if decided is not None:
        assert (again.record[trial.number].state, again.record[trial.number].reason) == decided


def test_a_trial_whose_plain_model_is_measurable_does_not_fail_by_its_adjustments(begin):
    """With tau 1 class `a` is in neither truth nor prediction."""
    search = begin(space=ALONE, confirm=0, objective="iou:a", classes=tuple("abcd"))
    curve = {0.0: (0.1, 0.5, 0.5, 0.5), 1.0: (math.nan, 0.5, 0.5, 0.5)}
    trial = train(search, search.next(), curve)
    assert (trial.complete, trial.values) == (True, pytest.approx((0.4, 0.1)))
    assert search.outcome.choose().point.tau == 0.0


def test_patience_begins_anew_when_an_adjusted_model_grows_the_front(begin):
    """The third searched trial grows the front by its adjustment alone."""
    grown = {0.0: (0.4, 0.05), 0.5: (0.45, 0.3)}

    def ran(third):
        search = begin(space=ALONE, trials=9, confirm=0, patience=2 * EPOCHS)
        for row in (PLAIN, {0.0: PLAIN, 0.5: PLAIN}, third, PLAIN, PLAIN):
            if (trial := search.next()) is None:
                return search
            train(search, trial, row)
        search.next()
        return search

    assert len(ran(grown).record.trials()) == 5
    assert len(ran({0.0: (0.4, 0.05), 0.5: (0.45, 0.1)}).record.trials()) == 3
    assert ran(grown).record.search_stopped == f"no better front for {2 * EPOCHS} epochs"
