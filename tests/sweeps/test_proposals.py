"""`sweeps.proposals` with real samplers: every proposal is in the space, and an interruption changes none of them."""

import shutil

import pytest

from search_spaces.space import load_space, parse_space
from sweeps.proposals import Proposer
from sweeps.record import Plan, Record
from sweeps.search import Search, describe
from tce_core.results import EpochResult

SAMPLERS = ("tpe", "gp", "nsga2", "random", "grid")
TRIALS = {"tpe": 10, "gp": 7, "nsga2": 20, "random": 6, "grid": 12}  # past each sampler's random beginning
SPACE = {
    "trial": {"epochs": 1, "crop": [32, 48]},
    "space": {
        "loss": {"choices": ["class_tilt", "stochastic_tilt"]},
        "t": {"low": 0.1, "high": 10, "log": True, "points": 2},
        "gamma": {"low": 0.01, "high": 0.5, "log": True, "points": 2, "when": {"loss": "stochastic_tilt"}},
        "lr": {"low": 0.01, "high": 0.1, "points": 2},
    },
}


@pytest.fixture
def begin(tables, tmp_path):
    """Begins a search in a file of its own; returns how to open it again: `reopen = begin("a", "tpe"); reopen()`."""

    def make(name, sampler, trials=None):
        trials = trials or TRIALS[sampler]
        storage = f"sqlite:///{shutil.copy(tables, tmp_path / name)}"
        plan = Plan(name, "worst_iou", 0.01, sampler, 1, trials, 0, "d", "f", SPACE, "own.yaml", 1, 1, 0.0)
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


def proposals(reopen, interrupted):
    """Every trial's parameters, two trials running at a time; `interrupted`: the search is now and then reopened."""
    search, running = reopen(), []
    while True:
        while len(running) < 2 and (trial := search.next()) is not None:
            running.append(trial)
        if not running:
            break
        ended = running.pop(0)
        end(search, ended)
        if interrupted and ended.number % 4 == 3:
            search = reopen()
            # What ran is handed out again, first and under its own numbers.
            assert [search.next().number for _ in running] == [trial.number for trial in running]
    assert search.finished
    return [trial.params for trial in search.record.trials()]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_interrupted_search_proposes_what_an_unbroken_one_does(begin, sampler):
    unbroken = proposals(begin("unbroken", sampler), interrupted=False)
    broken = proposals(begin("broken", sampler), interrupted=True)
    assert broken == unbroken
    assert len(unbroken) == TRIALS[sampler]
    for params in unbroken:
        assert set(params) == {"loss", "t", "lr"} | ({"gamma"} if params["loss"] == "stochastic_tilt" else set())
        assert 0.1 <= params["t"] <= 10
        assert 0.01 <= params["lr"] <= 0.1
        assert 0.01 <= params.get("gamma", 0.1) <= 0.5
    assert {params["loss"] for params in unbroken} == {"class_tilt", "stochastic_tilt"}


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "random"])
def test_another_seed_proposes_other_things(sampler):
    space = parse_space(SPACE, "own.yaml")
    assert len({repr(Proposer(space, sampler, seed, (True, True), []).next().params) for seed in range(4)}) == 4


def test_a_grid_is_tried_once_each_in_order_and_then_the_search_is_over(begin):
    search = begin("one", "grid", trials=99)()
    tried = []
    while (trial := search.next()) is not None:
        tried.append(trial.params)
        end(search, trial)
    assert tried == search.space.grid()
    assert len(tried) == 2 * 2 + 2 * 2 * 2
    assert search.finished


@pytest.mark.parametrize("maximize", [(True, True), (True, False)])
def test_a_sampler_learns_from_what_was_told(maximize):
    """Where only low learning rates do well in both measures, late proposals are lower than a random search's."""
    space = parse_space({"space": {"lr": {"low": 0.0001, "high": 1}}}, "own.yaml")

    def late(sampler):
        proposer, tried = Proposer(space, sampler, 0, maximize, []), []
        for place in range(30):
            tried.append(proposer.next().params["lr"])
            proposer.tell(place, (-tried[-1], -tried[-1] if maximize[1] else tried[-1]))
        return sum(tried[15:])

    assert late("tpe") < late("random")


def test_the_built_in_space_asks_for_gamma_only_with_the_stochastic_tilt():
    proposer = Proposer(load_space("tce"), "random", 0, (True, True), [])
    found = [proposer.next().params for _ in range(30)]
    assert {params["loss"] for params in found if "gamma" in params} == {"stochastic_tilt"}
    assert {params["loss"] for params in found if "gamma" not in params} == {"class_tilt", "image_tilt"}


def test_a_configuration_in_words():
    assert describe({"loss": "class_tilt", "t": 1.23456, "lr": 0.05, "level": "class"}) == (
        "class_tilt t=1.23 lr=0.05 level=class"
    )
