"""`sweeps.strategy.proposals` with real samplers: proposals are in the space, and interruptions do not change them."""

import math
from statistics import mean, median

import pytest

from search_spaces.loading import load_space
from search_spaces.space import parse_space
from sweeps.strategy.proposals import GP_SERVES, SHOWN, Observation, Proposal, Proposer
from sweeps.strategy.tried import CLOSE
from tce_core.results import EpochResult, Scores
from tests.sweeps.searching import reopened

SAMPLERS = ("tpe", "gp", "nsga2", "random", "grid")
LEARNING = ("tpe", "gp")
TRIALS = {"tpe": 13, "gp": 13, "nsga2": 20, "random": 6, "grid": 12}  # more than each sampler's first random trials
SPACE = {
    "trial": {"epochs": 1, "crop": [32, 48]},
    "space": {
        "loss": {"choices": ["class_tilt", "stochastic_tilt"]},
        "t": {"low": 0.1, "high": 10, "log": True, "points": 2},
        "gamma": {"low": 0.01, "high": 0.5, "log": True, "points": 2, "when": {"loss": "stochastic_tilt"}},
        "lr": {"low": 0.01, "high": 0.1, "points": 2},
    },
}


LINE = parse_space({"space": {"lr": {"low": 0.0001, "high": 1}, "momentum": {"low": 0.5, "high": 0.9}}}, "own.yaml")
"""One dimension that matters, and one that does not, so that there is always an untried configuration."""


def outcome(trial):
    """A trade-off: the tilt helps the worst class and harms the mean. Every fifth trial fails (None)."""
    if trial.number % 5 == 4:
        return None
    t, lr = trial.params["t"], trial.params["lr"]
    worst = 0.3 * t / (1 + t) - 0.1 * (trial.params["loss"] == "class_tilt") * lr
    mean = 0.7 - 0.02 * t + lr
    high = (4 * mean - worst) / 3
    return EpochResult(1, 0.5, 0.01, (Scores(0.0, (high, high, high, max(worst, 0.0))),), None, 1.0, 0.1)


def end(search, trial):
    result = outcome(trial)
    if result is not None:
        search.record_epoch(trial.number, result)
    search.record_end(trial.number, None if result else "diverged")


def proposals(search, interrupted):
    """Run two trials at a time and return the parameters of all trials.

    `interrupted`: the search is reopened after every fourth trial.
    """
    running = []
    while True:
        while len(running) < 2 and (trial := search.next()) is not None:
            running.append(trial)
        if not running:
            break
        ended = running.pop(0)
        end(search, ended)
        if interrupted and ended.number % 4 == 3:
            search = reopened(search)
            # The interrupted trials come first, under their own numbers.
            assert [search.next().number for _ in running] == [trial.number for trial in running]
    assert search.finished
    return [trial.params for trial in search.record.trials()]


def within(params):
    assert set(params) == {"loss", "t", "lr"} | ({"gamma"} if params["loss"] == "stochastic_tilt" else set())
    assert params["loss"] in ("class_tilt", "stochastic_tilt")
    assert 0.1 <= params["t"] <= 10
    assert 0.01 <= params["lr"] <= 0.1
    assert 0.01 <= params.get("gamma", 0.1) <= 0.5
    return True


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_interrupted_search_proposes_the_same_as_an_uninterrupted_one(begin, sampler):
    plan = {"space": SPACE, "sampler": sampler, "trials": TRIALS[sampler], "confirm": 0}
    unbroken = proposals(begin(**plan), interrupted=False)
    broken = proposals(begin(**plan), interrupted=True)
    assert broken == unbroken
    assert len(unbroken) == TRIALS[sampler]
    assert all(within(params) for params in unbroken)
    assert {params["loss"] for params in unbroken} == {"class_tilt", "stochastic_tilt"}


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "random"])
def test_another_seed_proposes_another_configuration(sampler):
    space = parse_space(SPACE, "own.yaml")
    assert len({repr(Proposer(space, sampler, seed, (True, True)).next([]).params) for seed in range(4)}) == 4


def test_a_grid_tries_each_point_once_in_order_and_then_ends(begin):
    search = begin(space=SPACE, sampler="grid", trials=99, confirm=0)
    tried = []
    while (trial := search.next()) is not None:
        tried.append(trial.params)
        end(search, trial)
    assert tried == search.space.grid()
    assert len(tried) == 2 * 2 + 2 * 2 * 2
    assert search.finished


def test_a_grid_begins_with_the_warm_start_and_does_not_repeat_its_point(begin):
    last = begin(space=SPACE, sampler="grid").space.grid()[-1]
    search = begin(space=SPACE, sampler="grid", trials=99, confirm=0, warm_start=(last,))
    tried = [search.next().params for _ in search.space.grid()]
    assert tried == [last, *search.space.grid()[:-1]]
    assert search.next() is None


# What the sampler does with its observations


def late(sampler, values, shortfalls=lambda lr: {}, maximize=(True, True)):
    """The learning rates proposed after the first 10 trials. `values` and `shortfalls` are functions of the rate."""
    proposer, earlier = Proposer(LINE, sampler, 0, maximize), []
    for _ in range(18 if sampler == "gp" else 24):  # GP learns faster, but is slow
        params = proposer.next(earlier).params
        earlier.append(Observation(params, values(params["lr"]), shortfalls=shortfalls(params["lr"])))
    return [one.params["lr"] for one in earlier[10:]]


@pytest.mark.parametrize("sampler", LEARNING)
@pytest.mark.parametrize("maximize", [(True, True), (True, False)])
def test_a_sampler_learns_from_observations(sampler, maximize):
    """Only low learning rates do well in both objectives. So late proposals are lower than those of a random search.

    Not all of them are low: a proposal that is too close to an earlier one becomes a random one.
    """

    def values(lr):
        off = abs(lr - 0.1)
        return -off, -off if maximize[1] else off

    assert median(late(sampler, values, maximize=maximize)) < 0.5 * median(late("random", values))


@pytest.mark.parametrize("sampler", LEARNING)
def test_a_sampler_prefers_configurations_that_keep_the_guard(sampler):
    """Learning rates near 0.8 do best, but only rates up to 0.3 keep the guard. A little more than 0.3 is tolerated."""

    def values(lr):
        return (-abs(lr - 0.8),) * 2

    def kept(shortfalls):
        return mean(lr <= 0.35 for lr in late(sampler, values, shortfalls))

    free = kept(lambda lr: {"miou": -1.0})
    assert kept(lambda lr: {"miou": lr - 0.3}) > 0.5 > 2 * free
    assert kept(lambda lr: {"miou": lr - 0.3, "wall": -1.0}) > 0.5  # every floor counts, wherever it stands
    assert kept(lambda lr: {"miou": -1.0, "wall": lr - 0.3}) > 0.5


@pytest.mark.parametrize("sampler", LEARNING)
def test_no_configuration_is_proposed_twice(sampler):
    """The best learning rate is the highest of the range, and samplers tend to repeat the edge of a range."""
    space = parse_space(
        {
            "space": {
                "loss": {"choices": ["class_tilt", "stochastic_tilt"]},
                "lr": {"low": 0.01, "high": 0.1},
                "gamma": {"low": 0.01, "high": 0.5, "when": {"loss": "stochastic_tilt"}},
            }
        },
        "own.yaml",
    )
    proposer, earlier = Proposer(space, sampler, 0, (True, True)), []
    for _ in range(16):
        params = proposer.next(earlier).params
        assert params not in [one.params for one in earlier]
        worth = params["lr"] * (1 if params["loss"] == "class_tilt" else 0.1)
        earlier.append(Observation(params, (worth, worth)))


@pytest.mark.parametrize("sampler", [*LEARNING, "nsga2", "random"])
def test_no_two_proposals_have_the_same_label(sampler):
    """Samplers tend to repeat the best corner of the space. Proposals differ by at least `CLOSE` in one dimension."""
    space = parse_space(
        {
            "trial": {"loss": "class_tilt"},
            "space": {"t": {"low": 0.1, "high": 3, "log": True}, "lr": {"low": 0.1, "high": 0.4, "log": True}},
        },
        "own.yaml",
    )
    proposer, earlier = Proposer(space, sampler, 0, (True, True)), []
    for _ in range(16):
        t, lr = proposer.next(earlier).params.values()
        for one in earlier:  # distances in the unit cube, on log scales
            apart = (
                abs(math.log(t / one.params["t"]) / math.log(30)),
                abs(math.log(lr / one.params["lr"]) / math.log(4)),
            )
            assert max(apart) >= CLOSE
        earlier.append(Observation({"t": t, "lr": lr}, (lr - t, lr - t)))
    labels = [Proposal(dict(one.params), {}, {}).label for one in earlier]
    assert len(set(labels)) == len(labels)


def test_a_search_over_a_range_never_ends():
    """Every value of the range is close to a tried one. The value that is farthest from them is proposed."""
    line = parse_space({"space": {"dropout": {"low": 0, "high": 0.5}}}, "own.yaml")
    step = CLOSE * 0.5
    earlier = [Observation({"dropout": step * i}, (0.5, 0.5)) for i in range(int(0.5 / step) + 1)]
    proposal = Proposer(line, "random", 0, (True, True)).next(earlier)
    assert proposal is not None
    assert all(proposal.params != one.params for one in earlier)


@pytest.mark.parametrize("sampler", ["gp", "tpe", "nsga2", "random"])
def test_a_space_of_few_configurations_tries_each_once_and_then_ends(begin, sampler):
    few = {
        "loss": {"choices": ["mcce", "focal", "class_tilt"]},
        "t": {"choices": [1, 2], "when": {"loss": "class_tilt"}},
    }
    search = begin(space={**SPACE, "space": few}, sampler=sampler, trials=9, confirm=0)
    for _ in range(4):
        trial = search.next()
        search.record_epoch(trial.number, EpochResult(1, 0.5, 0.01, (Scores(0.0, (0.5, 0.3)),), None, 1.0, 0.1))
        search.record_end(trial.number)
    assert search.next() is None
    assert search.finished
    tried = [trial.params for trial in search.record.trials()]
    assert sorted(Proposal(params, {}, {}).label for params in tried) == [
        "class_tilt t=1",
        "class_tilt t=2",
        "focal",
        "mcce",
    ]
    assert search.record.search_stopped == "every configuration of the space has been tried"


def history(n, **changes):
    """Observations of `n` proposals in the conditional space, each better than the one before.

    `changes`: `at_3=one` replaces the observation at place 3.
    """
    found = []
    for i in range(n):
        params = {"loss": "class_tilt", "t": 0.1 + i / n, "lr": 0.01 + 0.09 * i / n}
        if i % 2:
            params = {**params, "loss": "stochastic_tilt", "gamma": 0.01 + 0.49 * i / n}
        found.append(changes.get(f"at_{i}", Observation(params, (i / 100, i / 100))))
    return found


def asked(sampler, earlier):
    return Proposer(parse_space(SPACE, "own.yaml"), sampler, 0, (True, True)).next(earlier).params


@pytest.mark.parametrize("sampler", LEARNING)
def test_an_observation_changes_the_proposal_in_a_conditional_space(sampler):
    """Equal observations give equal proposals, another observation gives another. Random search ignores both."""
    other = Observation(history(12)[3].params, (0.9, 0.9))
    assert within(asked(sampler, history(12)))
    assert asked(sampler, history(12)) == asked(sampler, history(12))
    assert asked(sampler, history(12)) != asked(sampler, history(12, at_3=other))
    assert asked("random", history(12)) == asked("random", history(12, at_3=other))


@pytest.mark.parametrize("sampler", LEARNING)
def test_running_trials_are_seen_and_failed_trials_only_block_their_own_place(sampler):
    """A trial runs or has failed at the place of the next proposal: the proposal is another one.

    A trial that has failed at another place does not change the proposal.
    """
    ended = [Observation(one.params, (i / 100, -((i / 100) ** 2))) for i, one in enumerate(history(12))]
    alone = asked(sampler, [*ended, Observation(ended[5].params, failed=True)])
    assert asked(sampler, [*ended, Observation(alone)]) != alone
    assert asked(sampler, [*ended, Observation(alone, failed=True)]) != alone
    assert asked(sampler, [*ended, Observation(ended[3].params, failed=True)]) == alone


@pytest.mark.parametrize("sampler", LEARNING)
def test_a_sampler_is_shown_the_best_and_the_latest_only(sampler, monkeypatch):
    """Of 40 trials, the first 10 are the best, the last 10 the latest. Changes to the others have no effect."""
    monkeypatch.setattr("sweeps.strategy.proposals.SHOWN", 20)

    def proposed(*changed):
        earlier = [Observation(one.params, (-i / 100, -i / 100)) for i, one in enumerate(history(40))]
        for place in changed:
            earlier[place] = Observation(earlier[0].params, (-place / 100 - 0.001,) * 2)
        return asked(sampler, earlier)

    assert within(proposed())
    assert proposed() == proposed(*range(10, 30))
    assert proposed() != proposed(*range(1, 10))
    assert proposed() != proposed(*range(30, 40))


def test_a_long_search_shows_the_sampler_a_limited_number_of_trials():
    proposer = Proposer(parse_space(SPACE, "own.yaml"), "tpe", 0, (True, True))
    running = Observation(history(1)[0].params)
    earlier = [running, *history(SHOWN + 25)]
    assert within(proposer.next(earlier).params)
    remembered = proposer._shown(earlier)
    assert len(remembered) == SHOWN + 1
    assert running in remembered
    assert all(one in remembered for one in earlier[-SHOWN // 2 :])  # they are the best and the latest
    assert remembered == [one for one in earlier if one in remembered]


def test_a_gp_takes_turns_with_tpe_if_many_trials_run():
    """Up to `GP_SERVES` running trials, the GP makes every proposal; with twice as many and one more, every third."""
    measured = history(12)

    def turns(running):
        found = []
        for more in range(6):
            earlier = [*measured, *history(more), *[Observation(one.params) for one in history(running)]]
            gp, tpe = asked("gp", earlier), asked("tpe", earlier)
            assert gp != tpe or running > GP_SERVES
            found.append("tpe" if gp == tpe else "gp")
        return found

    assert turns(GP_SERVES) == ["gp"] * 6
    makers = turns(2 * GP_SERVES + 1)
    assert makers.count("gp") == 2
    assert makers[:3] == makers[3:]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_configurations_of_a_warm_start_are_proposed_first(sampler):
    first = [
        {"loss": "stochastic_tilt", "t": 0.1, "gamma": 0.5, "lr": 0.1},
        {"loss": "class_tilt", "t": 2.5, "lr": 0.05},
    ]
    proposer, earlier = Proposer(parse_space(SPACE, "own.yaml"), sampler, 0, (True, True), first), []
    for _ in range(3):
        earlier.append(Observation(proposer.next(earlier).params, (0.5, 0.5)))
    assert [one.params for one in earlier[:2]] == first
    assert within(earlier[2].params)
    assert earlier[2].params not in first


def test_the_built_in_space_has_gamma_only_with_the_stochastic_tilt():
    proposer, found = Proposer(load_space("tce"), "random", 0, (True, True)), []
    for _ in range(30):
        found.append(proposer.next([Observation(params) for params in found]).params)
    assert {params["loss"] for params in found if "gamma" in params} == {"stochastic_tilt"}
    assert {params["loss"] for params in found if "gamma" not in params} == {"class_tilt", "image_tilt"}


def test_the_label_of_a_proposal():
    assert Proposal({"loss": "class_tilt", "t": 1.23456, "lr": 0.05, "level": "class"}, {}, {}).label == (
        "class_tilt t=1.23 lr=0.05 level=class"
    )
