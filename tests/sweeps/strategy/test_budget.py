"""`sweeps.strategy.budget` on a real record: epochs, hours, patience, and no dependence on the wall clock."""

import itertools
import random
import sqlite3
import time
from types import SimpleNamespace

import pytest

from tests.sweeps.searching import ALONE, EPOCHS, SPACE, reopened, result, train

ONE_BASELINE = {**SPACE, "baselines": {"mcce": {"loss": "mcce"}}}
HOUR = 3600


def run(search, measures=lambda trial: (0.5, 0.1)):
    """Run to the end, one trial at a time. Gives the records of all trials."""
    while (trial := search.next()) is not None:
        train(search, trial, measures(trial))
    assert search.finished
    return search.record.trials()


# Epochs


def test_no_trial_is_begun_that_could_not_be_trained_to_its_end(begin):
    search = begin(space=ALONE, trials=9, confirm=0, max_epochs=11)
    assert search.epochs_expected == 11
    trials = run(search)
    assert [(trial.state.name, trial.epoch) for trial in trials] == [("COMPLETE", 4), ("COMPLETE", 4)]
    assert search.record.search_stopped == "the limit of 11 epochs leaves no room for another trial"
    assert reopened(search).finished


def test_what_a_stopped_trial_leaves_is_for_another_though_a_slot_had_to_wait(begin):
    """Eight epochs: two trials that might need them all; the second falls at a rung, and a third has its place."""
    search = begin(space=ALONE, trials=9, confirm=0, max_epochs=9, rungs=(1,))
    one, two = search.next(), search.next()
    assert search.next() is None
    assert not search.finished
    assert search.record_epoch(one.number, result(1, 0.5, 0.2))
    assert train(search, two, (0.4, 0.1)).stopped
    three = search.next()
    assert search.next() is None
    assert train(search, three, (0.6, 0.3)).complete
    assert train(search, search.record[one.number], (0.5, 0.2)).complete
    assert search.next() is None
    assert (search.finished, search.record.epochs) == (True, 9)


def test_the_search_leaves_the_confirming_runs_their_epochs(begin):
    """Two baselines, and four confirmation runs of 4 epochs: the search may spend 26 of 50 epochs: six trials."""
    search = begin(trials=99, confirm=2, max_epochs=50)
    trials = run(search, lambda trial: (0.5, 0.3 if trial.role == "search" else 0.1))
    assert sum(trial.epoch for trial in trials if trial.role == "search") == 24
    confirming = [trial for trial in trials if trial.role == "confirm"]
    assert [trial.complete for trial in confirming] == [True] * 4
    assert search.record.epochs == 48


def test_the_search_leaves_a_slow_baseline_its_epochs(begin):
    search = begin(space=ONE_BASELINE, trials=9, confirm=0, max_epochs=9)
    baseline = search.next()
    assert search.record_epoch(baseline.number, result(1))
    while (trial := search.next()) is not None:
        train(search, trial, (0.5, 0.1))
    assert [(trial.role, trial.epoch) for trial in search.record.trials()] == [("baseline", 1), ("search", 4)]
    assert not search.finished
    assert train(search, search.record[baseline.number], (0.5, 0.1)).complete
    assert (search.finished, search.record.epochs) == (True, 8)


@pytest.mark.parametrize("seed", range(6))
def test_no_more_epochs_than_allowed_are_spent_whoever_is_faster_and_whenever_it_is_killed(begin, seed):
    """Random slots, budgets, speeds and results. Baselines and confirmation runs always have their full length."""
    rng = random.Random(seed)
    slots, most = rng.randint(1, 6), rng.randint(7, 12) * EPOCHS + rng.randint(0, 3)
    speeds = [rng.random() ** 3 for _ in range(99)]  # some trials are far slower than others
    search, running = begin(trials=99, confirm=2, max_epochs=most, rungs=(1, 2)), []
    while not search.finished:
        while len(running) < slots and (trial := search.next()) is not None:
            running.append(trial.number)
        (number,) = rng.choices(running, [speeds[number] for number in running])
        measures = 0.5 + rng.random() / 2, rng.random() / 2
        if not search.record_epoch(number, result(search.record[number].epoch + 1, *measures)):
            search.record_end(number)
            running.remove(number)
        assert search.record.epochs <= most
        if rng.random() < 0.2:
            search, running = reopened(search), []
    whole = search.record.trials("baseline", "confirm")
    assert [trial.complete for trial in whole] == [True] * len(whole)
    for trial in (search.outcome.reference(), search.outcome.choose().trial):
        assert len(search.outcome.repetitions(trial)) == 2


# Patience


@pytest.mark.parametrize(
    ("patience", "worst", "wanted"),  # of each trial the worst IoU, all of the same mIoU and of 4 epochs
    [
        (4, [0.1, 0.1, 0.2], 2),
        (5, [0.1, 0.1, 0.1, 0.2], 3),
        (8, [0.1, 0.1, 0.1, 0.2], 3),
        (8, [0.1, 0.1, 0.2, 0.2, 0.2, 0.3], 5),
        (9, [0.1, 0.0, 0.2, 0.1, 0.0, 0.1], 6),
        (None, [0.1] * 7, 7),
    ],
)
def test_the_search_ends_when_the_front_has_not_grown_for_so_many_epochs(begin, patience, worst, wanted):
    search = begin(space=ALONE, trials=len(worst), confirm=0, patience=patience)
    trials = run(search, lambda trial: (0.5, worst[trial.number]))
    assert len(trials) == wanted
    assert all(trial.complete for trial in trials)
    if wanted < len(worst):
        assert search.record.search_stopped.startswith("no better front for ")
    assert reopened(search).finished


def test_a_better_mean_is_progress_while_the_worst_class_is_at_0(begin):
    search = begin(space=ALONE, trials=6, confirm=0, patience=6)
    mious = [0.3, 0.4, 0.5, 0.5, 0.5, 0.6]
    assert len(run(search, lambda trial: (mious[trial.number], 0.0))) == 5


def test_what_runs_when_patience_ends_is_trained_on_and_the_winner_confirmed(begin):
    search = begin(space=ONE_BASELINE, trials=9, confirm=1, patience=4)
    train(search, search.next(), (0.5, 0.1))
    one, two = search.next(), search.next()
    assert train(search, one, (0.4, 0.05)).complete
    assert search.next().role == "confirm"  # of the baseline
    assert train(search, two, (0.6, 0.2)).complete
    search = reopened(search)
    assert search.next().role == "confirm"  # which was interrupted
    confirming = search.next()
    assert (confirming.role, confirming.repeats) == ("confirm", two.number)


def test_patience_begins_when_the_baselines_have_ended(begin):
    """Those that are no better than the first are no lack of success."""
    search = begin(trials=1, confirm=0, patience=1)
    assert [trial.role for trial in run(search)] == ["baseline", "baseline", "search"]


def test_patience_does_not_end_before_there_is_a_front_that_could_grow(begin):
    search = begin(space=ALONE, trials=9, confirm=0, patience=5)
    running = [search.next() for _ in range(4)]
    for epoch in range(1, EPOCHS):
        for trial in running:
            assert search.record_epoch(trial.number, result(epoch))
    assert search.next().number == 4  # 12 epochs, and nothing has ended


# Hours


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the tests advance; where it starts says nothing, as after a reboot."""
    now = SimpleNamespace(seconds=123456.0)
    monkeypatch.setattr("sweeps.strategy.budget.time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def run_by_the_clock(search, clock, seconds=600, measures=(0.5, 0.1), trials=99):
    """Run up to so many more trials, each epoch taking so long."""
    for trial in itertools.islice(iter(search.next, None), trials):
        on, epoch = True, trial.epoch
        while on:
            clock.seconds, epoch = clock.seconds + seconds, epoch + 1
            on = search.record_epoch(trial.number, result(epoch, *measures))
        search.record_end(trial.number)
    return search.record.trials()


def test_no_trial_is_begun_that_would_not_end_within_the_hours(begin, clock):
    search = begin(space=ALONE, trials=9, confirm=0, max_hours=1)
    trials = run_by_the_clock(search, clock)
    assert [(trial.state.name, trial.ended.seconds) for trial in trials] == [("COMPLETE", 2400)]
    assert search.record.search_stopped == "the limit of 1 hours leaves no room for another trial"
    assert reopened(search).finished


def test_a_trial_that_is_slower_than_those_before_is_stopped_where_the_hours_are_spent(begin, clock):
    search = begin(space=ALONE, trials=9, confirm=0, max_hours=2)
    run_by_the_clock(search, clock, trials=1)
    trials = run_by_the_clock(search, clock, seconds=2400)
    assert [(trial.state.name, trial.epoch) for trial in trials] == [("COMPLETE", 4), ("PRUNED", 2)]
    assert trials[-1].reason == "the sweep reached its limit of 2 hours"
    assert [trial.ended.seconds for trial in trials] == [2400, 7200]
    assert search.finished


def test_the_search_leaves_the_confirming_runs_their_hours(begin, clock):
    """Of 24 epochs of 10 minutes the last eight are the confirmation runs'."""
    search = begin(space=ONE_BASELINE, trials=9, confirm=1, max_hours=4)
    run_by_the_clock(search, clock, trials=1)
    trials = run_by_the_clock(search, clock, measures=(0.5, 0.3))
    assert search.finished
    assert [(trial.role, trial.epoch) for trial in trials] == [
        ("baseline", 4),
        ("search", 4),
        ("search", 4),
        ("search", 4),
        ("confirm", 4),
        ("confirm", 4),
    ]
    assert trials[-1].ended.seconds == 4 * HOUR


def test_hours_are_counted_for_all_slots_together(begin, clock):
    """Eight epochs of ten minutes in four slots: the first to report is no sign that an epoch takes all the time."""
    search = begin(trials=4, confirm=1, max_hours=2)
    running = [search.next() for _ in range(4)]
    clock.seconds += 60  # workers start
    for epoch in range(1, EPOCHS + 1):
        clock.seconds += 594
        for trial in reversed(running):  # the searched ones are a little faster
            clock.seconds += 2
            assert search.record_epoch(trial.number, result(epoch)) == (epoch < EPOCHS)
    for trial in running:
        search.record_end(trial.number)
    assert [search.next().role for _ in range(3)] == ["search", "search", "confirm"]
    assert search.record.search_stopped is None


def test_hours_at_work_add_up_over_interruptions_and_those_between_do_not_count(begin, clock):
    search = begin(space=ALONE, trials=9, confirm=0, max_hours=1.5)
    run_by_the_clock(search, clock, trials=1)
    clock.seconds = 7.0  # after a reboot
    search = reopened(search)
    assert search.budget.seconds == 2400
    trials = run_by_the_clock(search, clock)
    assert search.finished
    assert [(trial.epoch, trial.ended.seconds) for trial in trials] == [(4, 2400), (4, 4800)]


def test_hours_count_though_no_trial_has_ended(begin, clock):
    search = begin(space=ALONE, trials=9, confirm=0, max_hours=1)
    trial = search.next()
    for epoch in (1, 2):
        clock.seconds += 1500
        assert search.record_epoch(trial.number, result(epoch))
        clock.seconds = 7.0  # after a reboot
        search = reopened(search)
        assert search.budget.seconds == 1500 * epoch


def test_hours_count_that_went_into_a_trial_that_failed_before_its_first_epoch(begin, clock):
    search = begin(space=ALONE, trials=9, confirm=0, max_hours=1)
    trial = search.next()
    clock.seconds += 1500
    search.record_end(trial.number, "its workers died 3 times")
    clock.seconds = 7.0  # after a reboot
    assert reopened(search).budget.seconds == 1500


def test_baselines_begin_only_while_there_are_hours(begin, clock):
    search = begin(trials=9, confirm=1, max_hours=1)
    (trial,) = run_by_the_clock(search, clock, seconds=HOUR)
    assert (trial.role, trial.state.name, trial.reason) == (
        "baseline",
        "PRUNED",
        "the sweep reached its limit of 1 hours",
    )
    assert search.finished
    assert reopened(search).finished


# The clock on the wall


def set_back(search, number):
    """As if the clock had been set back by an hour between any two trials."""
    with sqlite3.connect(search.record.store.file) as database:
        for column in ("datetime_start", "datetime_complete"):
            change = f"update trials set {column} = datetime({column}, '-{number} hours') where number = {number}"
            assert database.execute(change).rowcount == 1
    database.close()


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_clock_that_is_set_back_changes_nothing(begin, monkeypatch, sampler):
    plan = {"trials": 13, "rungs": (1, 2), "sampler": sampler, "confirm": 1}
    limits = {"patience": 20, "max_epochs": 60, "max_hours": 5}

    def measures(trial):
        t = trial.params.get("t", 1.0)
        return 0.6 - 0.02 * t, 0.3 * t / (1 + t)

    steady = begin(**plan, **limits)
    run(steady, measures)
    search = begin(**plan, **limits)
    jumps = itertools.cycle([time.time() - HOUR, time.time() + 9 * HOUR])
    monkeypatch.setattr("time.time", lambda: next(jumps))
    while (trial := search.next()) is not None:
        train(search, trial, measures(trial))
        set_back(search, trial.number)
        search = reopened(search)
    assert search.finished
    starts = [frozen.datetime_start for frozen in search.record.study.get_trials()]
    assert starts == sorted(starts, reverse=True)
    for one, other in zip(steady.record.trials(), search.record.trials(), strict=True):
        assert (one.config, one.state, one.reason, one.values) == (
            other.config,
            other.state,
            other.reason,
            other.values,
        )
    trials, volumes = search.outcome.history()
    assert ([trial.number for trial in trials], volumes) == (
        [trial.number for trial in steady.outcome.history()[0]],
        steady.outcome.history()[1],
    )
    assert search.outcome.choose().trial.number == steady.outcome.choose().trial.number
