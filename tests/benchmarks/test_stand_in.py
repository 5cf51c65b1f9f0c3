"""`benchmarks.stand_in`: the comparison on runs that are made up, in a file and in the record of a sweep."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.stand_in import STAND_INS, correlation, early, main, mean_correlation, other_seed, read
from sweeps.storage.record import Record
from sweeps.strategy.search import Search
from tests.sweeps.searching import ALONE, PLAN, ious


def curves(seed, runs=40, epochs=6, classes=10):
    """Runs in which every class rises by its own rate, which the configuration decides and the seed disturbs.

    The harder a class, the later it leaves 0, so early the worst class has IoU 0 in most runs.
    """
    rng = np.random.default_rng(0)
    skill = rng.random(runs)  # of a configuration
    rng = np.random.default_rng([1, seed])
    hard = np.linspace(0.1, 1.0, classes)
    time = np.arange(1, epochs + 1) / epochs
    made = {}
    for i in range(runs):
        rise = (0.6 + skill[i]) * time[:, None] - hard + rng.normal(0, 0.02, classes)
        made[f"{i}/{seed}"] = np.clip(rise, 0, 1)
    return made


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "curves.npz"
    np.savez(path, **curves(0), **curves(1))
    return str(path)


def test_where_the_minimum_is_flat_a_smooth_stand_in_still_orders_the_runs(file):
    (group,) = read(file)
    assert len(group) == 80
    pairs = early(group, 1 / 2)
    zero = [pair for pair in pairs if np.nanmin(pair.known) == 0]
    assert len(zero) > 60
    assert math.isnan(correlation(zero, STAND_INS["minimum"]))
    for name in STAND_INS:
        if name.startswith("tilted"):
            assert correlation(zero, STAND_INS[name]) > 0.9


def test_the_table_holds_a_row_for_each_stand_in(file, capsys):
    main([file])
    printed = capsys.readouterr().out
    assert printed.startswith("80 runs in 1 groups\n")
    cells = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("|")]
    rows = {name: values for name, *values in cells}
    assert rows.keys() >= STAND_INS.keys()
    assert rows["minimum"][1] == "–"  # a sixth of the epochs, worst IoU 0
    assert all(len(row) == 6 for name, row in rows.items() if name in STAND_INS)


def test_pairs_of_other_seeds_have_the_same_configuration(file):
    (group,) = read(file)
    pairs = other_seed(group)
    assert len(pairs) == 80
    known = {(run.config, run.iou[-1].tobytes()): run for run in group}
    for run in group:
        (other,) = (one for one in group if one.config == run.config and one.seed != run.seed)
        assert known[run.config, run.iou[-1].tobytes()] is run
        assert any(np.array_equal(p.known, run.iou[-1]) and p.worst == other.iou[-1].min() for p in pairs)


def test_a_correlation_is_spearmans_and_groups_are_not_mixed():
    rng = np.random.default_rng(2)
    runs = [type("Run", (), {"config": str(i), "seed": 0, "iou": rng.random((2, 5))}) for i in range(30)]
    pairs = early(runs, 1 / 2)
    wanted = stats.spearmanr([run.iou[0].mean() for run in runs], [run.iou[1].min() for run in runs]).statistic
    assert correlation(pairs, STAND_INS["mean"]) == pytest.approx(wanted)
    halves = [pairs[:20], pairs[20:]]
    one, two = (correlation(half, STAND_INS["mean"]) for half in halves)
    assert mean_correlation(halves, STAND_INS["mean"]) == pytest.approx((20 * one + 10 * two) / 30)
    assert math.isnan(mean_correlation([pairs[:3]], STAND_INS["mean"]))


def test_every_complete_trial_of_a_storage_is_read(tmp_path):
    plan = replace(PLAN, space=ALONE, trials=3, confirm=1)
    search = Search(Record.create(f"sqlite:///{tmp_path}/sweeps.db", plan))
    rng = np.random.default_rng(3)
    given = {}
    while (trial := search.next()) is not None:
        given[trial.number] = rng.random((4, 4))
        for epoch, row in enumerate(given[trial.number], start=1):
            search.record_epoch(trial.number, ious(epoch, *row))
        search.record_end(trial.number)
    (group,) = read(search.record.store.url)
    winner = search.outcome.choose().trial.number
    assert [(run.config, run.seed) for run in group] == [("0", 5), ("1", 5), ("2", 5), (str(winner), 6)]
    for run, row in zip(group, given.values(), strict=True):
        np.testing.assert_array_equal(run.iou, row)
    assert len(other_seed(group)) == 2
