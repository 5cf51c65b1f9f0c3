"""The race: fresh seeds decide whether a leading point is recommended."""

import sys
from pathlib import Path

import pytest
from optuna.trial import TrialState
from scipy import stats

import benchmarks
from sweeps.reporting.summary import verdict
from tests.sweeps.searching import SPACE, train

ONE = {**SPACE, "baselines": {"mcce": {"loss": "mcce"}}}


def raced(search, values):
    """Run to the end; `values`: (mIoU, worst IoU) of a trial's runs in their order, by the number of the trial."""
    left = {number: list(rows) for number, rows in values.items()}
    while (trial := search.next()) is not None:
        rows = left[trial.number if trial.repeats is None else trial.repeats]
        train(search, trial, rows.pop(0) if len(rows) > 1 else rows[0])
    assert search.finished
    search.record.finish()
    return search.outcome.choose()


def runs(search):
    return [(run.repeats, run.config["seed"] - search.plan.seed) for run in search.record.trials("confirm")]


def test_a_clear_winner_needs_two_fresh_seeds(begin):
    search = begin(space=ONE, trials=2, confirm=8)
    choice = raced(
        search, {0: [(0.5, 0.1), (0.5, 0.1), (0.5, 0.11)], 1: [(0.5, 0.2)], 2: [(0.5, 0.4), (0.5, 0.38), (0.5, 0.39)]}
    )
    assert runs(search) == [(0, 1), (0, 2), (2, 1), (2, 2)]
    assert choice.trial.number == 2
    scatter = (((0.38 - 0.39) ** 2 / 2 + (0.1 - 0.11) ** 2 / 2) / 2) ** 0.5
    raw = stats.t.cdf((0.385 - 0.105) / scatter, 2)
    assert choice.raced.probability == pytest.approx(1 - (1 - raw) * sum(n**2 for n in range(2, 9)) / 2**2)
    assert choice.raced.proven
    assert verdict(choice, search.outcome).startswith("It beats mcce with probability 98.")


def test_what_fresh_seeds_do_not_confirm_is_not_recommended(begin):
    search = begin(space=ONE, trials=1, confirm=3)
    choice = raced(search, {0: [(0.5, 0.2), (0.5, 0.25), (0.5, 0.15)], 1: [(0.5, 0.4), (0.5, 0.27), (0.5, 0.16)]})
    assert (choice.trial.number, choice.point.tau, choice.is_baseline) == (0, 0.0, True)
    assert choice.raced.point.trial.number == 1
    assert len(runs(search)) == 6
    said = verdict(choice, search.outcome)
    assert "No configuration is shown to beat mcce: trial 1, class_tilt" in said
    assert "(3 fresh seeds; 95% are asked), so mcce is recommended." in said


def test_after_a_hopeless_point_the_next_one_has_its_turn(begin):
    search = begin(space=ONE, trials=2, confirm=4)
    choice = raced(
        search,
        {
            0: [(0.5, 0.2), (0.5, 0.21), (0.5, 0.2)],
            1: [(0.5, 0.3), (0.5, 0.31), (0.5, 0.3)],
            2: [(0.5, 0.5), (0.5, 0.1)],
        },
    )
    assert runs(search) == [(0, 1), (0, 2), (2, 1), (2, 2), (1, 1), (1, 2)]
    assert choice.trial.number == 1
    assert not choice.is_baseline


def test_a_point_that_misses_the_floor_with_fresh_seeds_is_out(begin):
    search = begin(space=ONE, trials=1, confirm=2)
    choice = raced(search, {0: [(0.5, 0.1)], 1: [(0.5, 0.4), (0.45, 0.4)]})  # mIoU may fall by 0.01
    assert choice.is_baseline
    assert choice.raced.hopeless
    said = (
        "leads with probability 99.9% (2 fresh seeds), but misses a floor, miou 0.45 of 0.49, so mcce is recommended."
    )
    assert said in verdict(choice, search.outcome)


def test_a_failed_run_ends_the_turn_of_its_point(begin):
    search = begin(space=ONE, trials=1, confirm=4)
    for worst in (0.1, 0.4, 0.1, 0.1):
        train(search, search.next(), (0.5, worst))
    again = search.next()
    assert again.repeats == 1
    search.record_end(again.number, "it diverged")
    assert search.next() is None
    assert search.finished
    assert search.outcome.choose().is_baseline


def test_an_adjusted_reference_races_on_its_own_runs(begin):
    """The runs of the reference show it plain and adjusted; no other run is needed."""
    adjusted = {0.0: (0.5, 0.1), 0.5: (0.5, 0.3)}
    search = begin(space=ONE, trials=1, confirm=4)
    choice = raced(search, {0: [adjusted, adjusted, {0.0: (0.5, 0.11), 0.5: (0.5, 0.312)}], 1: [(0.5, 0.05)]})
    assert {repeated for repeated, _ in runs(search)} == {0}
    assert (choice.trial.number, choice.point.tau) == (0, 0.5)
    assert choice.raced.proven


def test_one_fresh_seed_decides_nothing(begin):
    search = begin(space=ONE, trials=1, confirm=1)
    choice = raced(search, {0: [(0.5, 0.1)], 1: [(0.5, 0.4), (0.5, 0.05)]})
    assert (choice.trial.number, choice.raced) == (1, None)


def test_a_run_that_could_not_end_does_not_begin(begin):
    search = begin(space=ONE, trials=1, confirm=8, max_epochs=27)  # 2 trials and 4 runs of 4 epochs are 24
    choice = raced(search, {0: [(0.5, 0.2), (0.5, 0.25), (0.5, 0.15)], 1: [(0.5, 0.4), (0.5, 0.27), (0.5, 0.16)]})
    assert len(runs(search)) == 4
    assert all(trial.state == TrialState.COMPLETE for trial in search.record.trials())
    assert choice.is_baseline


@pytest.fixture
def proof(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(next(iter(benchmarks.__path__)))))
    import proof

    yield proof
    sys.modules.pop("proof", None)


@pytest.mark.slow
def test_false_and_true_recommendations(proof):
    """Of 60 sweeps without a true gain 4% recommend one: 8 or more are very unlikely. With one, about 80% find it."""
    wrong, _, _ = proof.rates(0.0, 8, 60)
    _, right, _ = proof.rates(2 * proof.SCATTER, 8, 60)
    assert wrong <= 7 / 60
    assert right >= 0.65
