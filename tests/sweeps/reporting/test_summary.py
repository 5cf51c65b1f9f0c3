"""`sweeps.reporting.summary`: the tables, the verdict and the cost."""

import math
from dataclasses import replace

import pytest

from sweeps.reporting.summary import spending, summary, verdict
from sweeps.storage.objectives import Floor
from tests.sweeps.reporting.screen import NAMES, Screen
from tests.sweeps.searching import ALONE, EPOCHS, SPACE, ious, result, train


def test_brackets_in_names_are_text_and_not_markup(begin):
    search = begin(space={**ALONE, "baselines": {"a [/b]": {"loss": "mcce"}}}, trials=1, confirm=0)
    train(search, search.next(), (0.5, 0.1))
    screen = Screen()
    summary(search.outcome, ["[/road]"] * 4, screen.console)
    assert "0 a [/b] 0 0.500 0.100 [/road] 0.267 4 recommended" in screen.lines


@pytest.mark.parametrize(
    ("winner_again", "basis", "gain"),
    [
        (((0.5, 0.24), (0.5, 0.26)), "mean over 2 fresh seeds", "+0.150"),  # (.24 + .26) / 2 - (.08 + .12) / 2
        (((0.5, 0.2),), "mean over 1 fresh seed", "+0.120"),  # .2 - .08
        ((None,), "one seed, also used for the choice", "+0.300"),
    ],
)
def test_the_verdict_compares_seeds_that_both_have(begin, winner_again, basis, gain):
    """A winner is partly lucky: its first value is not compared with the baseline's mean over fresh seeds."""
    search = begin(trials=1, confirm=len(winner_again))
    mcce = train(search, search.next(), (0.5, 0.1))
    train(search, search.next(), (0.5, 0.05))
    winner = train(search, search.next(), (0.5, 0.4))
    for measures in ((0.5, 0.08), (0.5, 0.12))[: len(winner_again)]:
        assert train(search, search.next(), measures).repeats == mcce.number
    for measures in winner_again:
        again = search.next()
        assert again.repeats == winner.number
        if measures is None:
            search.record_end(again.number, "its workers died")
        else:
            train(search, again, measures)
    said = verdict(search.outcome.choose(), search.outcome)
    assert f"Compared with mcce ({basis}): worst-class IoU {gain}, mIoU " in said


def test_the_fresh_seeds_show_the_test_split(begin):
    search = begin(trials=1, confirm=1)
    for measures in ((0.5, 0.1), (0.5, 0.05), (0.5, 0.4)):
        assert train(search, search.next(), measures).last.test is None
    said = verdict(search.outcome.choose(), search.outcome)
    assert "test" not in said
    for test in ((0.45, 0.05), (0.48, 0.25)):  # of the baseline and of the winner
        again = search.next()
        for epoch in range(1, EPOCHS + 1):
            tested = result(epoch, *test).curve if epoch == EPOCHS else None
            search.record_epoch(again.number, replace(result(epoch, 0.5, 0.3), test=tested))
        search.record_end(again.number)
    assert verdict(search.outcome.choose(), search.outcome).endswith("; on the test split +0.200 and +0.030.")
    screen = Screen()
    summary(search.outcome, NAMES, screen.console)
    title = screen.lines.index("Recommended configuration and baseline")
    assert screen.lines[title + 1].endswith("worst class test mIoU test worst seed")
    assert [line.split(" rider ")[-1] for line in screen.lines[title + 2 : title + 6]] == [
        "5 recommended",
        "0.480 0.250 6 recommended",
        "5 baseline",
        "0.450 0.050 6 baseline",
    ]


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


def test_the_tables_show_the_measure_that_leads(begin):
    search = begin(space=ALONE, trials=1, confirm=0, objective="iou:wall", classes=NAMES)
    trial, screen = search.next(), Screen()
    for epoch in range(1, EPOCHS + 1):
        search.record_epoch(trial.number, ious(epoch, 0.9, 0.3, 0.4, 0.8))
    search.record_end(trial.number)
    summary(search.outcome, NAMES, screen.console)
    assert screen.lines[:3] == [
        "Pareto front: mIoU against IoU of wall",
        "trial configuration τ mIoU worst IoU worst class wall std epochs",
        f"0 {trial.label} 0 0.600 0.300 rider 0.400 0.294 4 recommended",
    ]


# Logit adjustment

ONE_BASELINE = {**SPACE, "baselines": {"mcce": {"loss": "mcce"}}}
BASELINE = {0.0: (0.50, 0.10), 0.5: (0.50, 0.15)}
WINNER = {0.0: (0.52, 0.05), 0.5: (0.51, 0.25)}


def adjusted_sweep(begin, baseline=BASELINE, winner=WINNER, again=(BASELINE, WINNER)):
    """A sweep with one baseline and one searched trial. `again`: their curves with a fresh seed."""
    search = begin(space=ONE_BASELINE, trials=1, confirm=len(again) // 2)
    for curve in (baseline, winner, *again):
        train(search, search.next(), curve)
    assert search.next() is None
    return search.outcome


def test_the_tables_have_a_row_for_each_strength_that_counts(begin):
    outcome = adjusted_sweep(begin, again=({0.0: (0.5, 0.08), 0.5: (0.5, 0.12)}, {0.0: (0.52, 0.04), 0.5: (0.51, 0.2)}))
    winner, screen = outcome.choose().trial.label, Screen()
    summary(outcome, NAMES, screen.console)
    assert [line for line in screen.lines if "rider" in line] == [
        f"1 {winner} 0.5 0.510 0.250 rider 0.173 4 recommended",
        f"1 {winner} 0 0.520 0.050 rider 0.313 4",
        f"1 {winner} 0.5 0.510 0.250 rider 5 recommended",
        f"3 {winner} 0.5 0.510 0.200 rider 6 recommended",
        "0 mcce 0 0.500 0.100 rider 5 baseline",
        "2 mcce 0 0.500 0.080 rider 6 baseline",
        "0 mcce 0.5 0.500 0.150 rider 5 baseline, adjusted",
        "2 mcce 0.5 0.500 0.120 rider 6 baseline, adjusted",
    ]


def test_the_verdict_compares_with_the_plain_and_with_the_adjusted_baseline(begin):
    outcome = adjusted_sweep(begin, again=({0.0: (0.5, 0.08), 0.5: (0.5, 0.12)}, {0.0: (0.52, 0.04), 0.5: (0.51, 0.2)}))
    assert verdict(outcome.choose(), outcome) == (
        "Compared with mcce (mean over 1 fresh seed): worst-class IoU +0.120, mIoU +0.010 (allowed: -0.010). "
        "Compared with mcce τ=0.5 (mean over 1 fresh seed): worst-class IoU +0.080, mIoU +0.010."
    )


def test_an_adjusted_baseline_that_wins_is_compared_with_the_plain_one(begin):
    outcome = adjusted_sweep(begin, winner=BASELINE, again=())
    assert verdict(outcome.choose(), outcome) == (
        "No searched configuration beats the baseline with adjusted logits within the allowance, so it is recommended. "
        "Compared with mcce "
        "(one seed, also used for the choice): worst-class IoU +0.050, mIoU +0.000 (allowed: -0.010)."
    )


def test_a_plain_baseline_that_wins_has_no_adjusted_row(begin):
    best = {0.0: (0.6, 0.5), 0.5: (0.6, 0.4)}
    outcome, screen = adjusted_sweep(begin, best, winner=BASELINE, again=()), Screen()
    assert verdict(outcome.choose(), outcome).startswith(
        "No searched configuration beats the baseline within the allow"
    )
    summary(outcome, NAMES, screen.console)
    assert not any("adjusted" in line for line in screen.lines)
