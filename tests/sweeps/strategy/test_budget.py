"""`sweeps.strategy.budget` on a real record: limits of epochs and hours, patience, independence of the wall clock."""

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
    """Run to the end, one trial at a time, and return the records of all trials."""
    while (trial := search.next()) is not None:
        train(search, trial, measures(trial))
    assert search.finished
    return search.record.trials()


# Epochs


def test_no_trial_begins_that_has_no_room_for_all_its_epochs(begin):
    search = begin(space=ALONE, trials=9, confirm=0, max_epochs=11)
    assert search.epochs_expected == 11
    trials = run(search)
    assert [(trial.state.name, trial.epoch) for trial in trials] == [("COMPLETE", 4), ("COMPLETE", 4)]
    assert search.record.search_stopped == "the limit of 11 epochs leaves no room for another trial"
    assert reopened(search).finished


def test_the_epochs_that_a_stopped_trial_leaves_are_used_by_another_trial(begin):
    """There is room for two whole trials, so a third one has to wait. It begins when the second stops at a rung."""
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


def test_the_search_leaves_the_confirmation_runs_their_epochs(begin):
    """Two baselines and four confirmation runs take 24 of 50 epochs. The other 26 are enough for six trials."""
    search = begin(trials=99, confirm=2, max_epochs=50)
    trials = run(search, lambda trial: (0.5, 0.1 if trial.label.split()[0] in ("mcce", "focal") else 0.3))
    assert sum(trial.epoch for trial in trials if trial.role == "search") == 24
    confirmation = [trial for trial in trials if trial.role == "confirm"]
    assert [trial.complete for trial in confirmation] == [True] * 4
    assert search.record.epochs == 48


def test_the_search_leaves_a_slow_baseline_its_epochs(begin):
    """A baseline has trained 1 of 4 epochs. The search begins only one trial, so that the baseline can complete."""
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
def test_the_limit_of_epochs_holds_at_any_speed_and_after_any_interruption(begin, seed):
    """Slots, limit, speeds, results and interruptions are random. Baselines and confirmation runs always complete."""
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
    ("patience", "worst", "wanted"),  # the worst IoU of each trial; all have the same mIoU and 4 epochs
    [
        (4, [0.1, 0.1, 0.2], 2),
        (5, [0.1, 0.1, 0.1, 0.2], 3),
        (8, [0.1, 0.1, 0.1, 0.2], 3),
        (8, [0.1, 0.1, 0.2, 0.2, 0.2, 0.3], 5),
        (9, [0.1, 0.0, 0.2, 0.1, 0.0, 0.1], 6),
        (None, [0.1] * 7, 7),
    ],
)
def test_patience_stops_the_search_when_the_front_no_longer_grows(begin, patience, worst, wanted):
    search = begin(space=ALONE, trials=len(worst), confirm=0, patience=patience)
    trials = run(search, lambda trial: (0.5, worst[trial.number]))
    assert len(trials) == wanted
    assert all(trial.complete for trial in trials)
    if wanted < len(worst):
        assert search.record.search_stopped.startswith("no better front for ")
    assert reopened(search).finished


def test_a_better_mean_is_progress_while_the_worst_class_is_at_0(begin):
    """The worst IoU is 0 in all trials. A higher mIoU still counts as a better front."""
    search = begin(space=ALONE, trials=6, confirm=0, patience=6)
    mious = [0.3, 0.4, 0.5, 0.5, 0.5, 0.6]
    assert len(run(search, lambda trial: (mious[trial.number], 0.0))) == 5


def test_when_patience_ends_running_trials_are_trained_on_and_the_winner_is_confirmed(begin):
    """Patience ends while a searched trial runs. That trial completes, wins and gets its confirmation run."""
    search = begin(space=ONE_BASELINE, trials=9, confirm=1, patience=4)
    train(search, search.next(), (0.5, 0.1))
    one, two = search.next(), search.next()
    assert train(search, one, (0.4, 0.05)).complete
    assert search.next().role == "confirm"  # the baseline's
    assert train(search, two, (0.6, 0.2)).complete
    search = reopened(search)
    assert search.next().role == "confirm"  # the interrupted one, again
    confirmation = search.next()
    assert (confirmation.role, confirmation.repeats) == ("confirm", two.number)


def test_patience_begins_when_the_baselines_have_ended(begin):
    """The second baseline is no better than the first. This does not count against a patience of one epoch."""
    search = begin(trials=1, confirm=0, patience=1)
    assert [trial.role for trial in run(search)] == ["baseline", "baseline", "search"]


def test_patience_does_not_end_before_there_is_a_front(begin):
    """Four trials have trained 12 epochs and none has ended, so there is no front yet. A fifth trial may begin."""
    search = begin(space=ALONE, trials=9, confirm=0, patience=5)
    running = [search.next() for _ in range(4)]
    for epoch in range(1, EPOCHS):
        for trial in running:
            assert search.record_epoch(trial.number, result(epoch))
    assert search.next().number == 4


# Hours


@pytest.fixture
def clock(monkeypatch):
    """A monotonic clock that only the test advances. Its start has no meaning, as after a reboot."""
    now = SimpleNamespace(seconds=123456.0)
    monkeypatch.setattr("sweeps.strategy.budget.time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def run_by_the_clock(search, clock, seconds=600, measures=(0.5, 0.1), trials=99):
    """Run at most `trials` more trials; each epoch takes `seconds`. Return the records of all trials."""
    for trial in itertools.islice(iter(search.next, None), trials):
        on, epoch = True, trial.epoch
        while on:
            clock.seconds, epoch = clock.seconds + seconds, epoch + 1
            on = search.record_epoch(trial.number, result(epoch, *measures))
        search.record_end(trial.number)
    return search.record.trials()


def test_no_trial_begins_that_would_not_end_within_the_hours(begin, clock):
    search = begin(space=ALONE, trials=9, confirm=0, max_hours=1)
    trials = run_by_the_clock(search, clock)
    assert [(trial.state.name, trial.ended.seconds) for trial in trials] == [("COMPLETE", 2400)]
    assert search.record.search_stopped == "the limit of 1 hours leaves no room for another trial"
    assert reopened(search).finished


def test_a_trial_that_becomes_too_slow_is_stopped_when_the_hours_are_spent(begin, clock):
    """The first trial takes 10 minutes per epoch, the second 40. The second is stopped at the limit of 2 hours."""
    search = begin(space=ALONE, trials=9, confirm=0, max_hours=2)
    run_by_the_clock(search, clock, trials=1)
    trials = run_by_the_clock(search, clock, seconds=2400)
    assert [(trial.state.name, trial.epoch) for trial in trials] == [("COMPLETE", 4), ("PRUNED", 2)]
    assert trials[-1].reason == "the sweep reached its limit of 2 hours"
    assert [trial.ended.seconds for trial in trials] == [2400, 7200]
    assert search.finished


def test_the_search_leaves_the_confirmation_runs_their_hours(begin, clock):
    """There is time for 24 epochs of 10 minutes. The two confirmation runs need the last eight."""
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
    """Four slots train in parallel, 10 minutes per epoch. So an epoch takes far less than 10 minutes of the limit."""
    search = begin(trials=4, confirm=1, max_hours=2)
    running = [search.next() for _ in range(4)]
    clock.seconds += 60  # workers start
    for epoch in range(1, EPOCHS + 1):
        clock.seconds += 594
        for trial in reversed(running):  # the searched trials are a little faster
            clock.seconds += 2
            assert search.record_epoch(trial.number, result(epoch)) == (epoch < EPOCHS)
    for trial in running:
        search.record_end(trial.number)
    assert [search.next().role for _ in range(3)] == ["search", "search", "confirm"]
    assert search.record.search_stopped is None


def test_only_running_time_counts_and_it_adds_up_over_interruptions(begin, clock):
    """The sweep is interrupted after 2400 s and resumed on a clock that starts anew. It continues from 2400 s."""
    search = begin(space=ALONE, trials=9, confirm=0, max_hours=1.5)
    run_by_the_clock(search, clock, trials=1)
    clock.seconds = 7.0  # after a reboot
    search = reopened(search)
    assert search.budget.seconds == 2400
    trials = run_by_the_clock(search, clock)
    assert search.finished
    assert [(trial.epoch, trial.ended.seconds) for trial in trials] == [(4, 2400), (4, 4800)]


def test_hours_count_before_any_trial_has_ended(begin, clock):
    search = begin(space=ALONE, trials=9, confirm=0, max_hours=1)
    trial = search.next()
    for epoch in (1, 2):
        clock.seconds += 1500
        assert search.record_epoch(trial.number, result(epoch))
        clock.seconds = 7.0  # after a reboot
        search = reopened(search)
        assert search.budget.seconds == 1500 * epoch


def test_hours_count_of_a_trial_that_failed_before_its_first_epoch(begin, clock):
    search = begin(space=ALONE, trials=9, confirm=0, max_hours=1)
    trial = search.next()
    clock.seconds += 1500
    search.record_end(trial.number, "its workers died 3 times")
    clock.seconds = 7.0  # after a reboot
    assert reopened(search).budget.seconds == 1500


def test_no_baseline_begins_when_the_hours_are_spent(begin, clock):
    """The first baseline spends the only hour in its first epoch. It is stopped, and the second never begins."""
    search = begin(trials=9, confirm=1, max_hours=1)
    (trial,) = run_by_the_clock(search, clock, seconds=HOUR)
    assert (trial.role, trial.state.name, trial.reason) == (
        "baseline",
        "PRUNED",
        "the sweep reached its limit of 1 hours",
    )
    assert search.finished
    assert reopened(search).finished


# The wall clock


def set_back(search, number):
    """Change the recorded times of a trial as if the clock was set back by an hour before each trial."""
    with sqlite3.connect(search.record.store.file) as database:
        for column in ("datetime_start", "datetime_complete"):
            change = f"update trials set {column} = datetime({column}, '-{number} hours') where number = {number}"
            assert database.execute(change).rowcount == 1
    database.close()


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_clock_that_is_set_back_changes_nothing(begin, monkeypatch, sampler):
    """One sweep has a steady clock. In the other one the wall clock jumps, and it is resumed after each trial."""
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
