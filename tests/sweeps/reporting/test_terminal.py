"""`sweeps.reporting.terminal`: the printed lines and the estimate of the time left."""

import re
import time

import pytest

from sweeps.reporting.terminal import ProgressDisplay
from tests.sweeps.reporting.screen import NAMES, Screen
from tests.sweeps.searching import ALONE, EPOCHS, result, train


def ended(search, trial, *measures, error=None, names=NAMES):
    """Train and end the trial, and return the lines that are printed then, without the time since the start."""
    screen = Screen()
    with ProgressDisplay(search, names, screen.console) as view:
        view.on_trial_start(trial.number)
        if error is None:
            train(search, trial, *measures)
        else:
            search.record_end(trial.number, error)
        view.on_trial_end(trial.number)
    return [re.sub(r"^\d+:\d\d ", "", line) for line in screen.lines]


def test_a_complete_trial_is_a_line_with_its_measures(begin):
    search = begin()
    assert ended(search, search.next(), (0.5, 0.1)) == ["0 baseline mcce mIoU 0.500 worst 0.100 (rider)"]


def test_a_stopped_trial_says_after_which_epoch(begin):
    search = begin(space=ALONE, confirm=0, rungs=(2,))
    first, second = search.next(), search.next()
    assert ended(search, first, (0.5, 0.1)) == [f"0 search {first.label} mIoU 0.500 worst 0.100 (rider)"]
    measures = [(0.1, 0.01), (0.4, 0.05)]
    line = f"1 search {second.label} mIoU 0.400 worst 0.050 (rider) stopped after epoch 2"
    assert ended(search, second, *measures) == [line]


def test_a_trial_that_an_adjustment_suits_shows_it(begin):
    """Tau 1 has too low a mIoU. Trial 1 is best as it is."""
    search = begin()
    line = "mcce mIoU 0.500 worst 0.100 (rider) τ=0.5: 0.495 0.300"
    assert ended(search, search.next(), {0.0: (0.5, 0.1), 0.5: (0.495, 0.3), 1.0: (0.4, 0.4)}) == [f"0 baseline {line}"]
    assert ended(search, search.next(), {0.0: (0.5, 0.1), 0.5: (0.6, 0.05)}) == [
        "1 baseline focal mIoU 0.500 worst 0.100 (rider)"
    ]


def test_a_failed_trial_says_why(begin):
    search = begin()
    assert ended(search, search.next(), error="the loss is not finite") == [
        "0 baseline mcce failed: the loss is not finite"
    ]


def test_brackets_in_names_are_text_and_not_markup(begin):
    """Read as markup, `[/b]` makes Rich raise an error and `[red]` disappears from the text."""
    baselines = {"a [/b]": {"loss": "mcce"}, "[red]c": {"loss": "focal"}}
    search = begin(space={**ALONE, "baselines": baselines}, trials=1, confirm=0)
    assert ended(search, search.next(), (0.5, 0.1), names=["[/road]"] * 4) == [
        "0 baseline a [/b] mIoU 0.500 worst 0.100 ([/road])"
    ]
    assert ended(search, search.next(), error="no file [/tmp/x] [red]y") == [
        "1 baseline [red]c failed: no file [/tmp/x] [red]y"
    ]


def seconds_left(search, before=0, elapsed=3600):
    """Return the seconds left that the bar shows after the first `EPOCHS` epochs.

    The first `before` of these epochs were done before an interruption; the others took `elapsed` seconds.
    The whole sweep is 36 epochs: 2 baselines, 3 searched trials and 4 confirmation runs of 4 epochs each.
    """
    trial, screen = search.next(), Screen(terminal=True)
    for epoch in range(1, before + 1):
        search.record_epoch(trial.number, result(epoch))
    with ProgressDisplay(search, NAMES, screen.console) as view:
        view.on_trial_start(trial.number)
        for clock in (view, search.budget):
            clock.started -= elapsed
        for epoch in range(before + 1, EPOCHS + 1):
            search.record_epoch(trial.number, result(epoch))
            view.on_epoch(trial.number)
    *_, text = re.findall(r"about ([\d:]+) left", screen.file.getvalue())
    assert "trial 0" in screen.file.getvalue()
    hours, minutes, seconds = [0, 0, *map(int, text.split(":"))][-3:]
    return 3600 * hours + 60 * minutes + seconds


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, 32 * 900),
        ({"max_epochs": 30}, 26 * 900),
        ({"max_epochs": 100}, 32 * 900),
        ({"max_hours": 2.5}, 1.5 * 3600),
        ({"max_hours": 100}, 32 * 900),
        ({"max_hours": 2.5, "max_epochs": 8}, 4 * 900),
        ({"max_hours": 0.5}, 0),
    ],
    ids=str,
)
def test_the_time_left_keeps_to_what_may_be_spent(begin, limits, expected):
    assert seconds_left(begin(**limits)) == pytest.approx(expected, abs=90)  # tolerance for a slow machine


def test_the_time_left_counts_the_pace_since_the_start_of_this_process(begin):
    assert seconds_left(begin(), before=3) == pytest.approx(32 * 3600, abs=400)


def test_trials_that_are_stopped_shorten_the_time_left(begin):
    """9 trials are planned; one took 4 epochs and one took 2, so 9 x 3 = 27 epochs are expected."""
    search = begin(trials=9, rungs=(2,), confirm=0, space=ALONE)
    screen = Screen(terminal=True)
    with ProgressDisplay(search, NAMES, screen.console) as view:
        train(search, search.next(), (0.5, 0.3))
        train(search, search.next(), (0.4, 0.1))
        trial = search.next()
        view.started -= 7 * 600
        search.record_epoch(trial.number, result(1))
        view.on_epoch(trial.number)
    assert search.record[1].stopped
    *_, text = re.findall(r"about ([\d:]+) left", screen.file.getvalue())
    assert text.startswith("3:20:")  # 7 epochs are done, at 600 s each; 20 are left


def test_without_a_terminal_a_silent_sweep_says_how_far_it_is(begin):
    search = begin()
    screen = Screen()
    with ProgressDisplay(search, NAMES, screen.console, quiet=0.05) as display:
        trial = search.next()
        display.on_trial_start(trial.number)
        search.record_epoch(trial.number, result(1))
        display.on_epoch(trial.number)
        deadline = time.monotonic() + 60
        while not any("1 of about 36 epochs, trial 0 running, about" in line for line in screen.lines):
            assert time.monotonic() < deadline, screen.lines
            time.sleep(0.01)
    count = len(screen.lines)
    time.sleep(0.2)
    assert len(screen.lines) == count


def test_a_terminal_has_its_bar_and_no_such_lines(begin):
    with ProgressDisplay(begin(), NAMES, Screen(terminal=True).console, quiet=0.01) as display:
        assert not display.heartbeat.thread.is_alive()
