"""`sweeps.proposals` with real samplers: every proposal is in the space, and an interruption changes none of them."""

import shutil
from functools import partial

import optuna
import pytest

from search_spaces.space import load_space
from sweeps.record import Plan, Record
from sweeps.search import Search, describe
from tce_core.config import TrialConfig
from tce_core.results import EpochResult

SAMPLERS = ("tpe", "gp", "nsga2", "random", "grid")
TRIALS = {"tpe": 12, "gp": 8, "nsga2": 27, "random": 8, "grid": 30}  # past each sampler's random beginning
SPACE = {
    "trial": {"epochs": 1, "crop": [32, 48]},
    "space": {
        "loss": {"choices": ["class_tilt", "stochastic_tilt"]},
        "t": {"low": 0.1, "high": 10, "log": True},
        "gamma": {"low": 0.01, "high": 0.5, "log": True, "when": {"loss": "stochastic_tilt"}},
        "lr": {"low": 0.01, "high": 0.1, "points": 2},
    },
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """An SQLite file with Optuna's tables and nothing in them: making them takes seconds."""
    path = tmp_path_factory.mktemp("optuna") / "empty.db"
    optuna.storages.RDBStorage(f"sqlite:///{path}")
    return path


@pytest.fixture
def begin(tables, tmp_path):
    """Begins a search in a file of its own; returns how to open it again: `reopen = begin("a", "tpe"); reopen()`."""

    def make(name, sampler, space=SPACE, objective="worst_iou", seed=1):
        storage = f"sqlite:///{shutil.copy(tables, tmp_path / name)}"
        plan = Plan(name, objective, 0.01, sampler, seed, TRIALS[sampler], 0, "d", "f", space, "own.yaml", 1, 1, 0.0)
        Record.create(storage, plan)
        return lambda: Search(Record.load(storage, name))

    return make


def outcome(trial):
    """A trade-off with some structure: the tilt helps the worst class and harms the mean. Every fifth trial fails."""
    if trial.number % 5 == 4:
        return None
    t, lr = trial.params["t"], trial.params["lr"]
    worst = 0.3 * t / (1 + t) - 0.1 * (trial.params["loss"] == "class_tilt") * lr
    mean = 0.7 - 0.02 * t + lr
    high = (4 * mean - worst) / 3
    return EpochResult(1, 0.5, 0.01, (high, high, high, max(worst, 0.0)), {}, None, 1.0, 0.1)


def end(search, trial):
    result = outcome(trial)
    if result is not None:
        search.epoch_done(trial.number, result)
    search.trial_done(trial.number, None if result else "diverged")


def proposals(reopen, at_a_time, interrupted):
    """Every trial's parameters; `interrupted`: the search is closed and opened again after each event."""
    search, running = reopen(), []
    while True:
        while len(running) < at_a_time and (trial := search.next()) is not None:
            running.append(trial)
        if not running:
            break
        end(search, running.pop(0))
        if interrupted:
            search = reopen()
            # What ran is handed out again, first and under its own numbers.
            assert [search.next().number for _ in running] == [trial.number for trial in running]
    assert search.finished
    return [trial.params for trial in search.record.trials()]


@pytest.mark.parametrize("at_a_time", [1, 2])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_interrupted_search_proposes_what_an_unbroken_one_does(begin, sampler, at_a_time):
    unbroken = proposals(begin("unbroken", sampler), at_a_time, interrupted=False)
    broken = proposals(begin("broken", sampler), at_a_time, interrupted=True)
    assert broken == unbroken
    points = 2 * 4 + 4 * 2 * 4  # the grid is used up before its 30 trials are
    assert len(unbroken) == min(TRIALS[sampler], points)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "random"])
def test_another_seed_proposes_other_things(begin, sampler):
    def first(seed):
        return begin(str(seed), sampler, seed=seed)().next().params

    assert first(1) != first(2)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_proposal_is_in_the_space_and_its_conditions_hold(begin, sampler):
    search = begin("one", sampler)()
    seen = set()
    while (trial := search.next()) is not None:
        params = trial.params
        assert set(params) == {"loss", "t", "lr"} | ({"gamma"} if params["loss"] == "stochastic_tilt" else set())
        assert 0.1 <= params["t"] <= 10
        assert 0.01 <= params["lr"] <= 0.1
        assert 0.01 <= params.get("gamma", 0.1) <= 0.5
        assert trial.config == search.space.config(params, seed=1).model_dump(mode="json")
        assert TrialConfig(**trial.config).gamma == params.get("gamma", 0.1)
        seen.add(params["loss"])
        end(search, trial)
    assert seen == {"class_tilt", "stochastic_tilt"}


def test_a_grid_is_tried_once_each_in_order_and_then_the_search_is_over(begin):
    space = {**SPACE, "space": {**SPACE["space"], "t": {"choices": [0.5, 2]}}}
    search = begin("one", "grid", space)()
    tried = []
    while (trial := search.next()) is not None:
        tried.append(trial.params)
        end(search, trial)
    assert tried == search.space.grid()
    assert len(tried) == 2 * 2 + 2 * 4 * 2
    assert search.finished


@pytest.mark.parametrize(("sampler", "objective"), [("tpe", "worst_iou"), ("tpe", "std_iou"), ("nsga2", "worst_iou")])
def test_a_sampler_learns_from_what_was_told(begin, sampler, objective):
    """Where only low learning rates do well in both measures, late proposals are lower than a random search's."""
    space = {"trial": {"epochs": 1}, "space": {"lr": {"low": 0.0001, "high": 1}}}

    def late(sampler):
        search = begin(sampler, sampler, space, objective)()
        while (trial := search.next()) is not None:
            good = 1 - trial.params["lr"]
            iou = (0.9 * good, 0.9 * good, 0.9 * good, 0.9 * good * good)
            if objective == "std_iou":
                iou = (0.5 + 0.4 * good, 0.5 + 0.4 * good, 0.5 + 0.4 * good, 0.9 * good)
            search.epoch_done(trial.number, EpochResult(1, 0.5, 0.01, iou, {}, None, 1.0, 0.1))
            search.trial_done(trial.number)
        values = [trial.params["lr"] for trial in search.record.trials()][len(search.record.trials()) // 2 :]
        return sum(values) / len(values)

    assert late(sampler) < late("random")


def test_the_built_in_space_asks_for_gamma_only_with_the_stochastic_tilt(begin):
    space = load_space("tce").model_dump(mode="json", exclude_defaults=True) | {"baselines": {}}
    search = begin("one", "random", space)()
    trials = list(iter(partial(search.next), None))
    assert len(trials) == TRIALS["random"]
    assert {trial.config["loss"] for trial in trials if "gamma" in trial.params} == {"stochastic_tilt"}
    assert {trial.config["loss"] for trial in trials if "gamma" not in trial.params} <= {"class_tilt", "image_tilt"}


def test_a_configuration_in_words():
    assert describe({"loss": "class_tilt", "t": 1.23456, "lr": 0.05, "level": "class"}) == (
        "class_tilt t=1.23 lr=0.05 level=class"
    )
