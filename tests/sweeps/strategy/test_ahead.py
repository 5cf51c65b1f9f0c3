"""Proposals ahead of their use: as many as suit the running trials, in order, and none while few trials run."""

import threading

import pytest

from sweeps.strategy.ahead import MOST, TRIALS_EACH
from sweeps.strategy.search import Search
from tests.sweeps.searching import ALONE, EPOCHS, result, train


@pytest.fixture
def search(begin):
    """A search that notes what each proposal was told. Proposals wait while `search.gate` is cleared."""
    search = begin(space=ALONE, trials=200, confirm=0, rungs=())
    search.gate, search.told, propose = threading.Event(), [], search.proposer.next
    search.gate.set()

    def noted(earlier):
        search.told.append([one.values for one in earlier])
        assert search.gate.wait(60)
        return propose(earlier)

    search.proposer.next = noted
    yield search
    search.gate.set()


def idle(search):
    """Wait until all proposals that were begun are there."""
    for future in search.ahead.made:
        future.result()


def test_while_few_trials_run_each_proposal_knows_all_results(search):
    for i in range(TRIALS_EACH - 1):
        assert search.next().number == i
    train(search, search.record[0], (0.5, 0.1))
    search.next()
    assert search.told[-1] == [search.plan.objectives.told(result(EPOCHS)), *[None] * (TRIALS_EACH - 2)]
    assert not search.ahead.made


def test_while_many_trials_run_a_slot_does_not_wait_for_the_sampler(search):
    trials = [search.next() for _ in range(TRIALS_EACH)]
    idle(search)
    search.gate.clear()
    train(search, trials[0], (0.5, 0.1))
    assert search.next().number == TRIALS_EACH  # the sampler has stopped, but this proposal was made before
    assert search.record_epoch(trials[1].number, result(1))
    assert len(search.record.running) == TRIALS_EACH


def test_the_more_trials_run_the_more_proposals_are_made_ahead(search):
    numbers = []
    for _ in range(TRIALS_EACH * (MOST + 2)):
        search.next()
        numbers.append(len(search.ahead.made))
    assert numbers == [min(MOST, (i + 1) // TRIALS_EACH) for i in range(len(numbers))]
    idle(search)
    assert [len(told) for told in search.told] == list(range(len(search.told)))  # each knows of all before it


def test_proposals_made_ahead_differ_from_those_that_wait(begin):
    """The place, which seeds a proposal, counts those that wait. So the trials are those of a search one by one."""
    many, one = (begin(space=ALONE, trials=99, confirm=0, rungs=()) for _ in range(2))
    found = [many.next().params for _ in range(30)]
    wanted = []
    for _ in range(30):
        trial = one.next()
        wanted.append(trial.params)
        train(one, trial, (0.5, 0.1))
    assert found == wanted  # random draws, which ignore results
    assert len({repr(params) for params in found}) == 30


def test_a_search_that_continues_makes_proposals_anew_from_all_results(search):
    for _ in range(TRIALS_EACH):
        search.next()
    idle(search)  # one more proposal is ready, made without any result
    train(search, search.record[0], (0.5, 0.1))
    search.request_stop()
    assert search.next() is None
    again, told = Search.resume(search.record), []
    propose = again.proposer.next
    again.proposer.next = lambda earlier: told.append([one.values for one in earlier]) or propose(earlier)
    while again.unfinished:
        again.next()
    again.next()
    assert told[0] == [search.plan.objectives.told(result(EPOCHS)), *[None] * (TRIALS_EACH - 1)]


def test_no_more_proposals_are_made_than_the_plan_has_trials(begin):
    search = begin(space=ALONE, trials=TRIALS_EACH + 1, confirm=0, rungs=())
    for left in range(TRIALS_EACH, -1, -1):
        search.next()
        assert len(search.ahead.made) <= left


def test_a_failure_of_the_sampler_reaches_the_caller(search):
    for _ in range(TRIALS_EACH):
        search.next()
    idle(search)
    search.proposer.next = lambda earlier: 1 / 0
    search.next()
    with pytest.raises(ZeroDivisionError):
        search.next()


def test_a_space_that_is_exhausted_ends_the_search_once(begin):
    few = {**ALONE, "space": {**ALONE["space"], "t": {"choices": [round(0.1 * i, 1) for i in range(1, 13)]}}}
    search = begin(space=few, trials=99, confirm=0, rungs=())
    trials = [search.next() for _ in range(12)]
    assert len({trial.params["t"] for trial in trials}) == 12
    assert search.next() is None
    for trial in trials:
        train(search, trial, (0.5, 0.1))
    assert search.finished
