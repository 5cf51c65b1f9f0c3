"""Trunks that trials have in common: trained once for each seed, counted once, waited for, trained again if lost."""

from dataclasses import replace

import pytest
from optuna.trial import TrialState

from sweeps.storage.plan import Method
from sweeps.strategy.budget import check_max_epochs
from tce_core.config import TrialConfig
from tce_core.errors import UserError
from tests.sweeps.searching import SPACE, reopened, result, train

LATE = {**SPACE, "trial": {**SPACE["trial"], "epochs": 8, "trunk": 0.5, "lr": 0.3}}
LATE["space"] = {**SPACE["space"], "lr": {"low": 0.01, "high": 1}}


def all_of(search):
    """Run to the end, one trial at a time, and return the trials in order."""
    order = []
    while (trial := search.next()) is not None:
        order.append(trial)
        first = search.record[trial.number if trial.repeats is None else trial.repeats].number
        train(search, trial, (0.5, 0.1), (0.5, 0.1 + first / 100))
    assert search.finished
    return [search.record[trial.number] for trial in order]


def test_each_trunk_is_trained_once_and_every_trial_begins_behind_its_own(begin):
    search = begin(space=LATE)
    expected = search.epochs_expected
    order = all_of(search)
    assert [trial.role for trial in order[:4]] == ["trunk", "baseline", "baseline", "search"]
    trunks = {trial.config["seed"]: trial for trial in order if trial.role == "trunk"}
    assert [(seed, trial.label) for seed, trial in trunks.items()] == [
        (5, "trunk"),
        (6, "trunk seed=6"),
        (7, "trunk seed=7"),
    ]
    for trial in order:
        if trial.role == "trunk":
            assert (trial.start, trial.epoch, trial.trained, trial.state) == (0, 4, 4, TrialState.COMPLETE)
            assert TrialConfig(**trial.config).loss == "mcce"
        else:
            config = TrialConfig(**trial.config)
            assert trial.trunk == trunks[config.seed].number
            assert config.plain.model_dump(mode="json") == trunks[config.seed].config
            assert (trial.start, trial.epoch, trial.trained) == (4, 8, 4)
            assert [r.epoch for r in trial.results] == [5, 6, 7, 8]
    assert search.record.epochs == sum(trial.trained for trial in order) == expected == 3 * 4 + 9 * 4
    assert {trial.role for trial in search.record.candidates} == {"baseline", "search"}
    assert all(point.trial.role != "trunk" for point in search.outcome.front())


def test_slots_that_would_wait_train_the_trunks_of_the_fresh_seeds(begin):
    search = begin(space=LATE, confirm=1)
    first, second = search.next(), search.next()
    assert [(trial.role, trial.config["seed"]) for trial in (first, second)] == [("trunk", 5), ("trunk", 6)]
    assert search.next() is None
    assert not search.finished
    train(search, second, (0.5, 0.1))
    assert search.next() is None  # the baselines need the other one
    train(search, first, (0.5, 0.1))
    assert [search.next().role for _ in range(3)] == ["baseline", "baseline", "search"]


def test_baselines_share_a_trunk_even_if_nothing_is_searched(begin):
    """A comparison searches nothing; nor does a sweep whose limit leaves no room for it."""
    search = begin(space={**LATE, "space": {}}, trials=0, methods=(Method("mcce", "mcce"), Method("focal", "focal")))
    expected = search.epochs_expected
    order = all_of(search)
    assert [(trial.role, trial.trained) for trial in order[:3]] == [("trunk", 4), ("baseline", 4), ("baseline", 4)]
    assert search.record.epochs == expected == 3 * 4 + 6 * 4


def test_a_confirmation_run_waits_for_its_trunk_and_another_seed_does_not(begin):
    search = begin(space=LATE, trials=1)
    for _ in range(4):
        train(search, search.next(), (0.5, 0.1))
    trunks = search.next(), search.next()
    assert [(trial.role, trial.config["seed"]) for trial in trunks] == [("trunk", 6), ("trunk", 7)]
    assert search.next() is None
    assert not search.finished
    train(search, trunks[1], (0.5, 0.1))
    confirming = search.next()
    assert (confirming.role, confirming.config["seed"], confirming.trunk) == ("confirm", 7, trunks[1].number)


def test_rungs_count_the_epochs_behind_the_trunk(begin):
    search = begin(space=LATE, rungs=(1,), keep=0.5, trials=3, confirm=0)
    ends = [train(search, search.next(), (0.5, 0.1)) for _ in range(4)]
    assert [trial.epoch for trial in ends] == [4, 8, 8, 8]
    worse = train(search, search.next(), (0.4, 0.0))
    assert (worse.state, worse.epoch, worse.trained) == (TrialState.PRUNED, 5, 1)
    assert list(search.halving.arrived[1]) == [3, 4]


def test_a_trunk_that_a_searched_setting_changes_is_trained_by_its_trial(begin):
    space = {**LATE, "space": {**LATE["space"], "weight_decay": {"low": 1e-4, "high": 1e-2}}}
    search = begin(space=space, trials=1, confirm=0)
    order = all_of(search)
    assert [(trial.role, trial.trunk, trial.trained) for trial in order] == [
        ("trunk", None, 4),
        ("baseline", 0, 4),
        ("baseline", 0, 4),
        ("search", None, 8),
    ]
    assert search.full_budget == 8


def test_after_a_trunk_that_failed_each_trial_trains_its_own(begin):
    search = begin(space=LATE, trials=1, confirm=0)
    search.record_end(search.next().number, "its workers died 3 times")
    order = all_of(search)
    assert [(trial.role, trial.trunk, trial.trained) for trial in order] == [
        ("baseline", None, 8),
        ("baseline", None, 8),
        ("search", None, 8),
    ]


def test_an_interrupted_trunk_continues_and_nothing_is_counted_twice(begin):
    search = begin(space=LATE, trials=1, confirm=0)
    trunk = search.next()
    search.record_epoch(trunk.number, result(1))
    search = reopened(search)
    again = search.next()
    assert (again.number, again.epoch) == (trunk.number, 1)
    train(search, again, (0.5, 0.1))
    search = reopened(search)
    baseline = search.next()
    assert (baseline.role, baseline.trunk, baseline.epoch) == ("baseline", 0, 4)
    search.record_epoch(baseline.number, result(5))
    search = reopened(search)
    again = search.next()
    assert (again.number, again.epoch, again.trunk) == (baseline.number, 5, 0)
    train(search, again, (0.5, 0.1))
    all_of(search)
    assert search.record.epochs == 4 + 3 * 4
    assert [spent.epochs for trial in search.record.trials() for spent in trial.spent] == list(range(1, 17))


def test_a_trunk_whose_checkpoint_is_lost_is_trained_again_when_it_is_needed(begin):
    search = begin(space=LATE, trials=1, confirm=1)
    for _ in range(3):
        train(search, search.next(), (0.5, 0.1))
    search = reopened(search)
    search.trunks.lost.add(0)
    again = search.next()
    assert (again.role, again.label, again.number) == ("trunk", "trunk", 3)
    train(search, again, (0.5, 0.1))
    assert search.next().trunk == 3
    finished = begin(space=LATE, trials=1, confirm=0)
    all_of(finished)
    finished.trunks.lost.add(0)
    assert finished.next() is None
    assert finished.finished


def test_a_trunk_that_a_limit_stopped_is_trained_when_the_limit_is_raised(begin):
    search = begin(space=LATE, trials=1, confirm=0, max_hours=1.0)
    trunk = search.next()
    search.budget.started -= 3600
    assert train(search, trunk, (0.5, 0.1)).state == TrialState.PRUNED
    assert search.next() is None
    assert search.finished
    search.record.reopen(search.plan.extended(max_hours=10.0))
    assert [(trial.role, trial.trunk, trial.trained) for trial in all_of(reopened(search))] == [
        ("trunk", None, 4),
        ("baseline", 1, 4),
        ("baseline", 1, 4),
        ("search", 1, 4),
    ]


def test_a_failed_trunk_can_be_retried(begin):
    search = begin(space=LATE, trials=1, confirm=0)
    search.record_end(search.next().number, "out of memory")
    again = search.record.retry(search.record[0])
    assert (again.role, again.until, again.epochs_left) == ("trunk", 4, 4)


def test_the_limit_of_epochs_reserves_the_trunks(begin):
    """Two trunks of 4, two baselines, one searched and two confirming trials of 4: 28 epochs, and 4 for each more."""
    for limit, searched in ((28, 1), (31, 1), (32, 2), (36, 3)):
        search = begin(space=LATE, confirm=1, max_epochs=limit)
        order = all_of(search)
        assert sum(trial.role == "search" for trial in order) == searched
        assert search.record.epochs <= limit
        assert sum(trial.role == "confirm" for trial in order) == 2


@pytest.mark.parametrize(
    ("changes", "least"),
    [  # 2 trunks of 4; 2 baselines; 1 searched and 2 confirming trials
        ({}, 8 + 2 * 4 + 3 * 4),
        ({"space": {**LATE["space"], "weight_decay": {"low": 1e-4, "high": 1e-2}}}, 8 + 2 * 4 + 3 * 8),
        ({"baselines": {"mcce": {"loss": "mcce"}, "decay": {"weight_decay": 0.1}}}, 8 + (4 + 8) + 3 * 4),
    ],
    ids=["shared", "searched", "baseline"],
)
def test_the_least_limit_of_epochs_has_room_for_trunks_that_are_not_shared(begin, changes, least):
    search = begin(space={**LATE, **changes}, confirm=1, max_epochs=least)
    check_max_epochs(search.plan, search.space)
    with pytest.raises(UserError, match=f"need {least};"):
        check_max_epochs(replace(search.plan, max_epochs=least - 1), search.space)
    order = all_of(search)
    assert search.record.epochs <= least
    assert {trial.state for trial in order} == {TrialState.COMPLETE}
    assert [sum(trial.role == role for trial in order) for role in ("baseline", "search", "confirm")] == [2, 1, 2]


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_without_a_trunk_nothing_changes(begin, share):
    space = {**LATE, "trial": {**LATE["trial"], "trunk": share}}
    order = all_of(begin(space=space, trials=1, confirm=0))
    assert [(trial.role, trial.trunk, trial.trained) for trial in order] == [
        ("baseline", None, 8),
        ("baseline", None, 8),
        ("search", None, 8),
    ]
    assert replace(order[0], results=()).epoch == 0
