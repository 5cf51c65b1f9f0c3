"""`sweeps.storage.ledger`: what it keeps up to date is what a walk over all trials would find."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from sweeps.storage.ledger import Ledger
from sweeps.storage.trial import Ended, Spent, TrialRecord
from tests.sweeps.searching import result

ROLES = ("baseline", "search", "confirm", "trunk")
EVENTS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["epoch", "again", "complete", "stopped", "failed"])), max_size=40
)


def begun(number):
    """Trial 3 is a trunk, and trial 4 begins behind it. Trial 5 begins trial 1 again."""
    role = ("baseline", "search", "confirm", "trunk", "baseline", "search")[number]
    retries, trunk = 1 if number == 5 else None, 3 if number == 4 else None
    config = {"epochs": 3, "trunk": 0.4}
    return TrialRecord(
        number, role, "", TrialState.RUNNING, config, {}, (), (), None, None, None, retries, trunk, 3, {}
    )


@given(EVENTS)
def test_counts_and_lists_are_those_of_all_trials(events):
    ledger, trials = Ledger(), {}
    states = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
    for number in range(6):
        trials[number] = ledger.keep(begun(number))
    for moment, (number, event) in enumerate(events):
        trial = trials[number]
        if trial.state.is_finished():
            continue
        if event == "epoch":
            more = result(trial.epoch + 1), Spent(moment, 0.0)
            trial = replace(trial, results=(*trial.results, more[0]), spent=(*trial.spent, more[1]))
        elif event == "again":  # its checkpoint was lost: the trial begins anew
            trial = replace(trial, results=(result(trial.start + 1),), spent=(Spent(moment, 0.0),))
        else:
            trial = replace(trial, state=states[event], ended=Ended(moment // 3, 0.0, None))
        trials[number] = ledger.keep(trial)
    everything = list(trials.values())
    assert trials[4].epoch == len(trials[4].results) + 1
    assert ledger.trials() == everything
    assert ledger.epochs == sum(len(trial.results) for trial in everything)
    for role in ROLES:
        own = [trial for trial in everything if trial.role == role]
        assert ledger.trials(role) == own
        assert ledger.begun(role) == (len(own), sum(len(trial.results) for trial in own))
    assert ledger.running == {trial.number for trial in everything if not trial.state.is_finished()}
    complete = [trial for trial in everything if trial.complete and trial.role in ("baseline", "search")]
    assert ledger.candidates == sorted(complete, key=lambda trial: (trial.ended_at, trial.number))
    assert [trial.number for trial in ledger.current()] == [0, 2, 3, 4, 5]
    assert ledger.proposals == len(ledger.current("search"))
    assert ledger.failures() == [trial for trial in everything if trial.failed and trial.number != 1]
