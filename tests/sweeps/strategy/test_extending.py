"""A recorded sweep with new limits continues as if it always had them, and its failed trials can begin again."""

import pytest

from sweeps.storage.plan import Method
from sweeps.strategy.options import ResumeOptions, Runtime
from sweeps.strategy.planning import extend, resolve_name
from sweeps.strategy.search import Search
from tce_core.errors import UserError
from tests.sweeps.searching import ALONE, EPOCHS, reopened, result, train

ONE_BASELINE = {**ALONE, "baselines": {"mcce": {"loss": "mcce"}}}


def run(search, *worst):
    """Run to the end. The i-th searched trial has the i-th worst IoU, or the last one; None makes it fail."""
    while (trial := search.next()) is not None:
        place = len(search.record.trials("search")) - 1 if trial.role == "search" else -1
        value = 0.1 if place < 0 else worst[min(place, len(worst) - 1)]
        if value is None:
            search.record_end(trial.number, "diverged")
        else:
            train(search, trial, (0.5, value))
    assert search.finished
    search.record.finish()
    return search


def extended(search, **changes):
    """Continue the sweep in another process with these changes."""
    record = reopened(search).record
    extend(record, ResumeOptions(**changes))
    return reopened(Search(record))


def searched(search):
    return [trial.params for trial in search.record.current("search")]


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "grid"])
def test_an_extended_sweep_tries_the_same_configurations_as_a_longer_sweep(begin, sampler):
    plan = {"space": ONE_BASELINE, "confirm": 1, "sampler": sampler}
    long = run(begin(**plan, trials=4), 0.1, 0.3, 0.2, 0.4)
    search = extended(run(begin(**plan, trials=2), 0.1, 0.3), trials=4)
    assert not search.record.finished
    run(search, 0.1, 0.3, 0.2, 0.4)
    assert searched(search) == searched(long)
    assert search.outcome.choose().trial.params == long.outcome.choose().trial.params


def test_a_later_winner_is_confirmed_and_the_reference_is_not_confirmed_again(begin):
    """The extension finds a better trial. It gets two confirmation runs; those of the first winner stay."""
    search = extended(run(begin(space=ONE_BASELINE, trials=1, confirm=2), 0.2), trials=2)
    first = [trial.number for trial in search.record.trials("search")]
    run(search, 0.2, 0.4)
    (winner,) = (trial.number for trial in search.record.trials("search") if trial.number not in first)
    repeated = [trial.repeats for trial in search.record.trials("confirm")]
    assert sorted(repeated) == [0, 0, first[0], first[0], winner, winner]


def test_other_floors_can_choose_another_winner_which_is_confirmed(begin):
    search = run(begin(space=ONE_BASELINE, trials=1, confirm=1, classes=tuple("abcd")), 0.2)
    assert search.outcome.choose().trial.role == "search"
    search = run(extended(search, floors=("b=0.5",)), 0.2)  # out of reach: the best has 0.2
    assert search.outcome.choose() is None
    search = run(extended(search, floors=("b=-0.1",), trials=2), 0.2, 0.3)
    winner = search.outcome.choose().trial.number
    assert [trial.repeats for trial in search.record.trials("confirm")].count(winner) == 1
    with pytest.raises(UserError, match="--floor e=1: no class or measure 'e'"):
        extended(search, floors=("e=1",))


def test_extending_keeps_room_for_the_confirmation_of_a_later_winner(begin):
    """16 of 27 epochs are spent. One more trial and its confirmation run fit; another trial does not."""
    search = run(begin(space=ONE_BASELINE, trials=1, confirm=1, max_epochs=16), 0.2)
    assert search.record.epochs == 16
    search = run(extended(search, trials=9, max_epochs=27), 0.2, 0.4)
    assert [trial.role for trial in search.record.trials()][4:] == ["search", "confirm"]
    assert all(trial.complete for trial in search.record.trials())
    assert "27 epochs" in search.record.search_stopped


def test_a_search_that_patience_stopped_continues_only_with_more_patience(begin):
    """More trials alone change nothing. A patience of 12 epochs allows two more trials."""
    plan = {"space": ONE_BASELINE, "trials": 9, "confirm": 2, "patience": 4}
    search = run(begin(**plan), 0.2, 0.1)
    tried = len(searched(search))
    assert search.record.search_stopped == "no better front for 4 epochs"
    again = run(extended(search, trials=12), 0.2, 0.1)
    assert len(searched(again)) == tried
    assert again.record.search_stopped == "no better front for 4 epochs"  # confirmation runs do not count
    more = run(extended(again, patience=12), 0.2, 0.1)
    assert len(searched(more)) == tried + 2


def test_an_unfinished_sweep_can_be_extended_as_well(begin):
    search = begin(space=ALONE, trials=2, confirm=0)
    train(search, search.next(), (0.5, 0.1))
    search.next()  # this trial is interrupted
    search = run(extended(search, trials=3, max_hours=9), 0.1)
    assert len(searched(search)) == 3
    assert search.plan.max_hours == 9


@pytest.mark.parametrize("changes", [{}, {"trials": 3}, {"retry_failed": True}])
def test_a_finished_sweep_stays_finished_if_nothing_changes(begin, changes):
    search = run(begin(trials=3), 0.1)
    record = reopened(search).record
    extend(record, ResumeOptions(**changes))
    assert record.finished
    assert Search.resume(record).next() is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"trials": 2}, "--trials 2: sweep 'one' has 3 already; give more"),
        ({"max_epochs": 7}, "--max-epochs 7: 2 baselines, 4 confirmation runs and one searched configuration"),
    ],
)
def test_an_impossible_extension_is_refused_and_changes_nothing(begin, changes, named):
    search = run(begin(trials=3), 0.1)
    record = reopened(search).record
    with pytest.raises(UserError) as caught:
        extend(record, ResumeOptions(**changes))
    assert named in str(caught.value)
    assert reopened(search).record.finished


def test_a_grid_is_extended_to_all_its_points_at_most(begin):
    search = run(begin(space=ALONE, sampler="grid", trials=1, confirm=0), 0.1)
    search = run(extended(search, trials=99), 0.1)
    assert search.plan.trials == len(searched(search)) == len(search.space.grid())


# Failed trials


def test_a_retried_trial_has_the_same_configuration_and_replaces_the_failed_one(begin):
    """The retry takes the place of the failed trial among the proposals. The failed trial stays in the record."""
    search = run(begin(space=ONE_BASELINE, trials=3, confirm=0), 0.1, None, 0.3)
    (failed,) = search.record.failures()
    proposed = searched(search)
    search = extended(search, retry_failed=True)
    assert search.record.failures() == []
    again = search.next()
    assert (again.retries, again.role, again.config, again.params) == (
        failed.number,
        "search",
        failed.config,
        failed.params,
    )
    assert train(search, again, (0.5, 0.4)).complete
    run(search, 0.1)
    assert search.record.proposals == 3
    assert sorted(map(repr, searched(search))) == sorted(map(repr, proposed))
    assert search.outcome.choose().trial.number == again.number
    assert search.record[failed.number].state.name == "FAIL"


@pytest.mark.parametrize("finished", [False, True])
def test_a_trial_that_is_retried_after_the_end_trains_its_own_trunk(begin, finished):
    """The end of a sweep deletes the trunks' checkpoints. An interruption does not."""
    space = {**ONE_BASELINE, "trial": {**ALONE["trial"], "trunk": 0.5}}
    search = begin(space=space, trials=1, confirm=0)
    trunk = train(search, search.next(), (0.5, 0.1))
    train(search, search.next(), (0.5, 0.1))
    failed = search.next()
    assert failed.trunk == trunk.number
    search.record_end(failed.number, "its workers died")
    if finished:
        search.record.finish()
    search = extended(search, retry_failed=True)
    again = search.next()
    assert (again.retries, again.trunk) == (failed.number, None if finished else trunk.number)
    assert again.budget == (EPOCHS if finished else EPOCHS // 2)


def test_a_comparison_has_no_limits_to_change(begin):
    search = begin(space=ONE_BASELINE, trials=0, confirm=0, methods=(Method("mcce", "mcce"),))
    with pytest.raises(UserError, match="--trials, --patience: 'one' is a comparison, which searches nothing"):
        extended(search, trials=3, patience=5)


def test_a_failed_baseline_and_a_failed_confirmation_run_are_retried(begin):
    search = begin(space=ONE_BASELINE, trials=1, confirm=1)
    search.record_end(search.next().number, "diverged")
    train(search, search.next(), (0.5, 0.2))
    confirmation = search.next()
    search.record_end(confirmation.number, "its workers died")
    assert search.finished
    search.record.finish()
    search = extended(search, retry_failed=True)
    roles = {}
    while (trial := search.next()) is not None:
        roles[trial.role, trial.label] = trial.retries
        train(search, trial, (0.5, 0.1))
    assert roles["baseline", "mcce"] == 0
    assert roles["confirm", confirmation.label] == confirmation.number
    assert search.outcome.reference() is not None
    assert len(search.outcome.repetitions(search.record[confirmation.repeats])) == 1


def test_a_trial_that_fails_again_can_be_retried_again(begin):
    search = run(begin(space=ALONE, trials=2, confirm=0), None, 0.1)
    for _ in range(2):
        search = extended(search, retry_failed=True)
        search.record_end(search.next().number, "diverged")
        assert search.finished
        search.record.finish()
    assert len(search.record.failures()) == 1
    assert search.record.proposals == 2
    assert search.record.epochs == EPOCHS


def test_a_search_after_a_retry_proposes_what_it_would_have_without_the_failure(begin):
    """The seed of a proposal is its place, and a retry takes the place of the trial that it retries."""
    plan = {"space": ALONE, "confirm": 0, "sampler": "random"}
    smooth = run(begin(**plan, trials=4), 0.1)
    bumpy = extended(run(begin(**plan, trials=2), None, 0.1), retry_failed=True, trials=4)
    run(bumpy, 0.1)
    assert sorted(map(repr, searched(bumpy))) == sorted(map(repr, searched(smooth)))


def test_a_failed_trial_is_not_retried_beyond_the_limit(begin):
    """There is no room for a whole trial. A retry would be stopped early, and a stopped trial cannot be retried."""
    search = run(begin(space=ALONE, trials=2, confirm=0, max_epochs=8), None, 0.1)
    assert search.record.epochs == 4
    search = run(extended(search, trials=3), 0.1)
    assert search.record.epochs == 8
    with pytest.raises(
        UserError, match="need 4 epochs, and the limit of 8 epochs leaves no room; give a higher --max-e"
    ):
        extended(search, retry_failed=True)
    search = extended(search, retry_failed=True, max_epochs=12)
    assert train(search, search.next(), (0.5, 0.1)).complete


def test_the_command_that_began_a_sweep_finds_it_again_after_an_extension(begin, tmp_path):
    search = run(begin(trials=3), 0.1)
    record = extended(search, trials=5, patience=9).record
    assert (record.plan.trials, record.begun_plan.trials) == (5, 3)
    runtime = Runtime(storage=record.store.url, runs=tmp_path)
    assert resolve_name(record.begun_plan, runtime, "one")[1].plan.trials == 5
    with pytest.raises(UserError, match="begun with other settings: trials 3, not 5"):
        resolve_name(record.plan, runtime, "one")


def test_a_retried_trial_is_not_compared_with_its_own_failure_at_a_rung(begin):
    """The failed trial was the best at the rung. Its retry has the same values, and would lose to it."""
    search = begin(space=ALONE, trials=4, confirm=0, rungs=(2,), keep=0.25)
    for worst in (0.1, 0.1, 0.1):
        train(search, search.next(), (0.5, worst))
    best = search.next()
    for epoch in (1, 2):
        assert search.record_epoch(best.number, result(epoch, 0.6, 0.4))
    search.record_end(best.number, "its workers died")
    search.record.finish()
    search = extended(search, retry_failed=True)
    again = train(search, search.next(), (0.6, 0.4))
    assert (again.retries, again.state.name) == (best.number, "COMPLETE")


def test_a_failed_baseline_that_is_retried_does_not_restart_the_patience(begin):
    space = {**ALONE, "baselines": {"mcce": {"loss": "mcce"}, "focal": {"loss": "focal"}}}
    search = begin(space=space, trials=9, confirm=0, patience=4)
    train(search, search.next(), (0.5, 0.1))
    search.record_end(search.next().number, "diverged")
    search = run(search, 0.2, 0.1)
    tried = search.record.proposals
    assert search.record.search_stopped == "no better front for 4 epochs"
    search = run(extended(search, retry_failed=True), 0.1)
    assert search.record.proposals == tried


def test_a_retried_confirmation_counts_once_in_the_reserve(begin):
    """A later winner keeps room for its confirmation run: the failed run of the reference is not subtracted twice."""
    search = begin(space=ONE_BASELINE, trials=1, confirm=1)
    train(search, search.next(), (0.5, 0.1))
    train(search, search.next(), (0.5, 0.2))
    reference = search.next()
    for epoch in (1, 2, 3):
        search.record_epoch(reference.number, result(epoch))
    search.record_end(reference.number, "its workers died")
    train(search, search.next(), (0.5, 0.2))
    search.record.finish()
    search = extended(search, retry_failed=True, trials=9, max_epochs=28)
    train(search, search.next(), (0.5, 0.1))  # the confirmation run of the reference, again
    search = run(search, 0.2, 0.4)
    assert all(trial.complete for trial in search.record.current())
    winner = search.outcome.choose().trial
    assert search.outcome.repetitions(winner)
