"""`sweeps.search` and `sweeps.outcome` on a real record: which trial runs when, how each ends, and which one wins."""

import math
import shutil
from collections import Counter
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from sweeps.objectives import Objectives
from sweeps.outcome import Outcome
from sweeps.record import Plan, Record
from sweeps.search import Search
from tce_core.results import EpochResult

EPOCHS = 2
SPACE = {
    "trial": {"epochs": EPOCHS, "crop": [32, 48]},
    "space": {"loss": {"choices": ["class_tilt"]}, "t": {"low": 0.1, "high": 10, "log": True}},
    "baselines": {"mcce": {"loss": "mcce"}, "focal": {"loss": "focal"}},
}
PLAN = Plan("one", "worst_iou", 0.01, "random", 5, 3, 2, "d", "f", SPACE, "own.yaml", 1, 1, 0.0)


def result(epoch, miou=0.5, worst=0.1):
    """Four classes; one of them has the worst IoU and the others share the rest of the mean."""
    high = (4 * miou - worst) / 3
    return EpochResult(epoch, 0.5, 0.01, (high, worst, high, high), {}, None, 1.0, 0.1)


def ious(*values):
    return EpochResult(EPOCHS, 0.5, 0.01, values, {}, None, 1.0, 0.1)


@pytest.fixture
def begin(tables, tmp_path):
    """Begins a search: `search = begin(trials=4)`."""

    def make(**changes):
        storage = f"sqlite:///{shutil.copy(tables, tmp_path / 'sweeps.db')}"
        return Search(Record.create(storage, replace(PLAN, **changes)))

    return make


@pytest.fixture
def reopen(tmp_path):
    """As after the program was killed."""
    return lambda: Search(Record.load(f"sqlite:///{tmp_path}/sweeps.db", "one"))


def end(search, trial, miou=0.5, worst=0.1):
    search.epoch_done(trial.number, result(EPOCHS, miou, worst))
    search.trial_done(trial.number)


def run(search, **outcomes):
    """Run to the end, one trial at a time; `outcomes`: (mIoU, worst IoU) by label, None: a failure."""
    order = []
    while (trial := search.next()) is not None:
        order.append(trial)
        measured = outcomes.get(trial.label.split(" ")[0], (0.5, 0.1))
        if measured is None:
            search.trial_done(trial.number, "diverged")
        else:
            end(search, trial, *measured)
    assert search.finished
    return order


# The order of things


def test_baselines_then_the_search_then_fresh_seeds_for_winner_and_reference(begin):
    search = begin()
    order = run(search, class_tilt=(0.5, 0.3))
    assert [trial.role for trial in order] == ["baseline"] * 2 + ["search"] * 3 + ["confirm"] * 4
    assert [trial.label for trial in order[:2]] == ["mcce", "focal"]
    assert [trial.number for trial in order] == list(range(9))
    winner = search.outcome.choose().trial
    assert winner.role == "search"
    confirming = order[5:]
    assert [(trial.of, trial.config["seed"]) for trial in confirming] == [
        (0, 6),
        (0, 7),
        (winner.number, 6),
        (winner.number, 7),
    ]
    for trial in confirming:  # the same configuration but for the seed, which chose nothing
        assert {**trial.config, "seed": 5} == search.record[trial.of].config
    assert all(trial.config["seed"] == 5 for trial in order[:5])
    assert search.epochs_planned == 9 * EPOCHS


def test_only_the_reference_is_confirmed_while_a_candidate_runs(begin):
    search = begin()
    running = [search.next() for _ in range(5)]
    for trial in running[:-1]:
        end(search, trial)
    reference = [search.next() for _ in range(2)]
    assert [(trial.of, trial.config["seed"]) for trial in reference] == [(0, 6), (0, 7)]
    for trial in reference:
        end(search, trial)
    assert search.next() is None
    assert not search.finished
    end(search, running[-1], 0.6, 0.4)
    assert search.next().of == running[-1].number  # the last to come in won


def test_a_baseline_that_wins_is_confirmed_once(begin):
    search = begin()
    order = run(search, mcce=(0.6, 0.5))
    assert search.outcome.choose().trial.label == "mcce"
    assert [(trial.of, trial.config["seed"]) for trial in order[5:]] == [(0, 6), (0, 7)]


def test_without_baselines_or_confirmation_the_search_is_all(begin):
    search = begin(space={**SPACE, "baselines": {}}, confirm=0)
    assert [trial.role for trial in run(search)] == ["search"] * 3
    assert search.epochs_planned == 3 * EPOCHS
    choice = search.outcome.choose()
    assert (choice.baseline, choice.floor) == (None, None)


def test_failed_trials_do_not_keep_the_sweep_from_finishing(begin):
    search = begin()
    order = run(search, class_tilt=None, focal=None)
    assert Counter(search.record[trial.number].state.name for trial in order) == {"FAIL": 4, "COMPLETE": 3}
    assert search.outcome.choose().trial.label == "mcce"


def test_a_sweep_in_which_everything_fails_finishes_with_nothing_to_recommend(begin):
    search = begin()
    order = run(search, class_tilt=None, focal=None, mcce=None)
    assert [trial.role for trial in order] == ["baseline"] * 2 + ["search"] * 3
    assert search.outcome.front() == search.outcome.hypervolumes() == []
    assert search.outcome.choose() is None


def test_a_failed_confirmation_is_not_tried_for_ever(begin):
    search = begin(trials=1)
    for _ in range(3):
        end(search, search.next())
    failed = 0
    while (trial := search.next()) is not None:
        search.trial_done(trial.number, "its workers died 3 times")
        failed += 1
        assert failed <= 4
    assert search.finished


# Interruption


def test_a_search_can_be_interrupted_at_every_event(begin, reopen):
    """Reopened whenever something happened, it runs the trials of an unbroken one, each once."""
    expected = [(t.role, t.label, t.config) for t in run(begin(trials=1, confirm=1), class_tilt=(0.5, 0.3))]
    search = begin(trials=1, confirm=1)
    numbers = []
    while (trial := search.next()) is not None:
        search = reopen()
        assert search.next() == trial  # found RUNNING, handed out first under its number
        measured = (0.5, 0.3) if trial.label.startswith("class_tilt") else (0.5, 0.1)
        search.epoch_done(trial.number, result(1, 0.2, 0.05))
        search = reopen()
        again = search.next()
        assert (again.number, again.last.epoch) == (trial.number, 1)
        end(search, again, *measured)
        search = reopen()
        numbers.append(trial.number)
    assert search.finished
    assert numbers == list(range(len(expected)))
    assert [(t.role, t.label, t.config) for t in search.record.trials()] == expected
    assert all(trial.complete for trial in search.record.trials())


def test_trials_found_running_come_first_in_order_and_new_ones_after(begin, reopen):
    search = begin()
    first, second, third = (search.next() for _ in range(3))
    end(search, second)
    search = reopen()
    assert not search.finished
    assert [search.next().number for _ in range(3)] == [first.number, third.number, 3]


def test_a_trial_that_was_all_done_but_for_saying_so_is_completed_on_load(begin, reopen):
    search = begin()
    trial, other = search.next(), search.next()
    for epoch in range(1, EPOCHS + 1):
        search.epoch_done(trial.number, result(epoch, 0.6, 0.2))
    search.epoch_done(other.number, result(1))
    search = reopen()
    done = search.record[trial.number]
    assert (done.state, done.values) == (TrialState.COMPLETE, pytest.approx((0.6, 0.2)))
    assert search.next().number == other.number
    assert search.next().number == 2


def test_a_searched_trial_completed_on_load_is_known_to_the_sampler(begin, reopen):
    search = begin(space={**SPACE, "baselines": {}})
    trial = search.next()
    search.epoch_done(trial.number, result(EPOCHS, 0.6, 0.2))
    known = reopen().proposer.memory.trials[0]
    assert (known.state, known.values) == (TrialState.COMPLETE, pytest.approx([0.6, 0.2]))


# How trials end


@pytest.mark.parametrize("values", [(math.nan,) * 4, (0.5, math.inf, 0.1, 0.1)])
def test_a_trial_whose_measures_are_not_finite_fails_with_a_reason(begin, reopen, values):
    search = begin(trials=1, confirm=0)
    good, bad = search.next(), search.next()
    end(search, good)
    search.epoch_done(bad.number, ious(*values))
    search.trial_done(bad.number)
    for one in (search, reopen()):
        record = one.record[bad.number]
        assert (record.state, record.reason) == (TrialState.FAIL, "the objectives are not finite")
        assert [trial.number for trial in one.outcome.front()] == [good.number]
        assert one.outcome.choose().trial.number == good.number
    assert search.next().role == "search"


def test_a_class_that_is_absent_is_left_out_of_the_measures(begin):
    search = begin()
    trial = search.next()
    search.epoch_done(trial.number, ious(0.9, math.nan, 0.5, 0.4))
    search.trial_done(trial.number)
    assert search.record[trial.number].values == pytest.approx((0.6, 0.4))


def test_a_trial_that_failed_after_good_epochs_is_no_candidate(begin):
    search = begin()
    one, two = search.next(), search.next()
    search.epoch_done(one.number, result(1, 0.9, 0.9))
    search.trial_done(one.number, "its workers died 3 times in epoch 2")
    end(search, two)
    assert [trial.number for trial in search.outcome.front()] == [two.number]
    assert search.record[one.number].reason == "its workers died 3 times in epoch 2"


# Which one wins


@pytest.fixture
def candidates(begin):
    """A record of the reference baseline and searched trials with these IoUs: `candidates((…), (…), objective=…)`."""

    def make(*rows, **changes):
        search = begin(
            space={**SPACE, "baselines": {"mcce": {"loss": "mcce"}}}, trials=len(rows) - 1, confirm=0, **changes
        )
        for row in rows:
            trial = search.next()
            row = row if len(row) > 2 else result(EPOCHS, *row).iou
            search.epoch_done(trial.number, ious(*row))
            search.trial_done(trial.number)
        return search.outcome

    return make


def chosen(outcome):
    return outcome.choose().trial.number


def test_the_best_lead_that_keeps_the_guards_floor_is_recommended(candidates):
    outcome = candidates((0.50, 0.10), (0.48, 0.40), (0.495, 0.30), (0.52, 0.15), allowance=0.01)
    choice = outcome.choose()
    assert choice.trial.number == 2  # 1 has a better worst class, but falls below 0.49
    assert (choice.baseline.number, choice.floor) == (0, pytest.approx(0.49))
    assert [trial.number for trial in outcome.front()] == [1, 2, 3]


def test_the_allowance_moves_the_floor(candidates):
    rows = (0.50, 0.10), (0.48, 0.40), (0.495, 0.30), (0.52, 0.15)
    assert [chosen(candidates(*rows, allowance=a)) for a in (0.0, 0.01, 0.1)] == [3, 2, 1]


def test_a_baseline_can_win(candidates):
    outcome = candidates((0.50, 0.30), (0.40, 0.90), (0.6, 0.2))
    assert chosen(outcome) == 0
    assert outcome.choose().baseline.number == 0


def test_the_lead_that_is_to_be_small_is_minimised(candidates):
    """Std over classes: trial 1 is the most even one, trial 2 has the better worst class."""
    even, spread = (0.50, 0.50, 0.50, 0.50), (0.99, 0.99, 0.99, 0.51)
    rows = ((0.6, 0.1), even, spread)
    assert chosen(candidates(*rows, objective="std_iou", allowance=0.2)) == 1
    assert chosen(candidates(*rows, objective="worst_iou", allowance=0.2)) == 2
    front = candidates(*rows, objective="std_iou").front()
    assert [trial.number for trial in front] == [1, 2]


def test_bottom25_is_the_mean_of_the_worst_quarter_of_the_classes(candidates):
    """Of eight classes a quarter is two: trial 1 has the worse worst class, but the better worst two."""
    base = (0.6,) * 6 + (0.1, 0.1)
    first, second = (0.6,) * 6 + (0.2, 0.9), (0.6,) * 6 + (0.3, 0.4)
    assert chosen(candidates(base, first, second, objective="bottom25_iou")) == 1
    assert chosen(candidates(base, first, second, objective="worst_iou")) == 2


def test_when_miou_leads_the_worst_class_guards(candidates):
    outcome = candidates((0.50, 0.20), (0.70, 0.10), (0.60, 0.195), objective="miou", allowance=0.01)
    choice = outcome.choose()
    assert (choice.trial.number, choice.floor) == (2, pytest.approx(0.19))


def test_a_sweep_can_be_judged_by_another_objective_than_it_searched_by(candidates):
    outcome = candidates((0.50, 0.10), (0.49, 0.30), (0.55, 0.095), objective="worst_iou", allowance=0.02)
    assert chosen(outcome) == 1
    assert chosen(Outcome(outcome.record, Objectives.led_by("miou", 0.02))) == 2
    by_spread = Outcome(outcome.record, Objectives.led_by("std_iou", 0.02))
    assert chosen(by_spread) == 1
    assert by_spread.objectives.maximize == (True, False)
    assert {t.number for t in by_spread.front()} == {0, 1, 2}
    assert {t.number for t in outcome.front()} == {0, 1, 2}


def test_hypervolume_grows_with_the_candidates_and_is_the_areas_they_dominate(candidates):
    outcome = candidates((0.50, 0.10), (0.40, 0.05), (0.40, 0.20))
    assert outcome.hypervolumes() == pytest.approx([0.05, 0.05, 0.09])


def test_confirming_runs_are_no_candidates(begin):
    search = begin()
    order = run(search, class_tilt=(0.5, 0.3))
    assert {trial.number for trial in search.outcome.candidates()} == {t.number for t in order if t.role != "confirm"}
