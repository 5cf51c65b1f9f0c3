"""`sweeps.reporting.terminal`: the printed lines, the tables and the estimate of the time left."""

import io
import math
import re

import pytest
from rich.console import Console

from sweeps.reporting.summary import spending, summary, verdict
from sweeps.reporting.terminal import ProgressDisplay
from sweeps.storage.objectives import Floor
from tests.sweeps.searching import ALONE, EPOCHS, ious, result, train

NAMES = ("road", "rider", "wall", "pole")


class Screen:
    """A console that writes into memory."""

    def __init__(self, terminal=False):
        self.file = io.StringIO()
        self.console = Console(file=self.file, width=140, force_terminal=terminal, force_interactive=terminal)

    @property
    def lines(self):
        """The lines written so far, with each run of blanks reduced to one."""
        return [" ".join(line.split()) for line in self.file.getvalue().splitlines()]


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
    screen = Screen()
    summary(search.outcome, ["[/road]"] * 4, screen.console)
    assert "0 a [/b] 0 0.500 0.100 [/road] 0.267 4 recommended" in screen.lines


@pytest.mark.parametrize(
    ("winner_again", "basis", "gain"),
    [
        (((0.5, 0.2), (0.5, 0.3)), "mean over 2 fresh seeds", "+0.150"),  # (.2 + .3) / 2 - (.08 + .12) / 2
        (((0.5, 0.2), None), "mean over 1 fresh seed", "+0.120"),  # the seed that both have: .2 - .08
        ((None, None), "one seed, also used for the choice", "+0.300"),
    ],
)
def test_the_verdict_compares_seeds_that_both_have(begin, winner_again, basis, gain):
    """A winner is partly lucky: its first value is not compared with the baseline's mean over fresh seeds."""
    search = begin(trials=1, confirm=2)
    mcce = train(search, search.next(), (0.5, 0.1))
    train(search, search.next(), (0.5, 0.05))
    winner = train(search, search.next(), (0.5, 0.4))
    for measures in ((0.5, 0.08), (0.5, 0.12)):
        assert train(search, search.next(), measures).repeats == mcce.number
    for measures in winner_again:
        again = search.next()
        assert again.repeats == winner.number
        if measures is None:
            search.record_end(again.number, "its workers died")
        else:
            train(search, again, measures)
    said = verdict(search.outcome.choose(), search.outcome)
    assert said.startswith(f"Compared with mcce ({basis}): worst-class IoU {gain}, mIoU ")


def test_spending_is_compared_with_full_length_trials(begin):
    search = begin(space=ALONE, confirm=0, trials=4, rungs=(2,))
    assert spending(search.record) == "Spent 0 epochs on 0 trials."
    train(search, search.next(), (0.5, 0.1))
    assert spending(search.record) == (
        "Spent 4 epochs on 1 trials (0 stopped early): 100% of the 4 epochs that full-length trials need."
    )
    train(search, search.next(), (0.4, 0.05))
    failing = search.next()
    search.record_epoch(failing.number, result(1))
    search.record_end(failing.number, "diverged")
    search.record_end(search.next().number, "diverged at once")  # before its first epoch: not counted
    text = "Spent 7 epochs on 3 trials (1 stopped early): 58% of the 12 epochs that full-length trials need."
    assert spending(search.record) == text
    screen = Screen()
    summary(search.outcome, NAMES, screen.console)
    assert screen.lines[-1] == text


def test_spending_says_why_the_search_ended_early(begin):
    search = begin(space=ALONE, confirm=0, trials=9, max_epochs=9, rungs=(1,))
    while (trial := search.next()) is not None:
        train(search, trial, ((0.5, 0.4, 0.6)[trial.number], 0.1))
    assert spending(search.record) == (
        "Spent 9 epochs on 3 trials (1 stopped early): 75% of the 12 epochs that full-length trials need. "
        "The search stopped early: the limit of 9 epochs leaves no room for another trial."
    )


def test_the_summary_says_the_epochs_of_each_point(begin):
    search = begin(confirm=1, trials=1)
    while (trial := search.next()) is not None:
        train(search, trial, (0.5, 0.3) if trial.role == "search" else (0.5, 0.1))
    screen = Screen()
    summary(search.outcome, NAMES, screen.console)
    winner = search.outcome.choose().trial
    assert screen.lines[:3] == [
        "Pareto front: mIoU against worst-class IoU",
        "trial configuration τ mIoU worst IoU worst class std epochs",
        f"2 {winner.label} 0 0.500 0.300 rider 0.133 {EPOCHS} recommended",
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


def test_the_verdict_names_the_tightest_floors_of_the_classes_that_are_there(begin):
    """Class `pole` is absent: its floor is no news."""
    floors = Floor("iou:road", 0.3, False), Floor("others", -0.25, True)
    search = begin(trials=1, confirm=0, objective="iou:rider", allowance=0.05, classes=NAMES, floors=floors)
    while (trial := search.next()) is not None:
        worst = 0.1 if trial.role == "baseline" else 0.4
        for epoch in range(1, EPOCHS + 1):
            search.record_epoch(trial.number, ious(epoch, 0.6, worst, 0.5, math.nan))
        search.record_end(trial.number)
    text = verdict(search.outcome.choose(), search.outcome)
    assert "IoU of rider +0.300, mIoU +0.100" in text
    assert text.endswith(" It keeps its floors: miou 0.50 of 0.35, wall 0.50 of 0.25, road 0.60 of 0.30.")
