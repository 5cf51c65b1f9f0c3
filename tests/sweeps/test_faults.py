"""Sweeps whose process is killed, interrupted or started twice: real Ray, Optuna, MLflow, signals and processes."""

import random
import time

import pytest

from sweeps.storage.record import Record
from sweeps.strategy.outcome import Outcome
from tests.sweeps.driver import faulty, listening, measured, replayed

pytestmark = faulty
SEARCHED = {"space": {"t": {"low": 0.1, "high": 3, "log": True}, "lr": {"low": 0.01, "high": 0.4, "log": True}}}

CLOCK = """
import datetime, os, sys, time, types
import optuna.storages._rdb.storage
import sweeps.run
from sweeps.cli import run_command

usual, real = time.time, datetime.datetime

def shifted():
    return usual() - 3600 * os.path.exists("back")

class Anything(type):
    def __instancecheck__(cls, value):
        return isinstance(value, real)

class Shifted(real, metaclass=Anything):
    @classmethod
    def now(cls, tz=None):
        return real.fromtimestamp(shifted(), tz)

time.time = shifted
for name, module in list(sys.modules.items()):  # datetime itself cannot be replaced: it is C, and others build on it
    if name.startswith("optuna.") and getattr(module, "datetime", None) is real:
        module.datetime = Shifted
    elif name.startswith("optuna.") and getattr(module, "datetime", None) is datetime:
        module.datetime = types.SimpleNamespace(**{**vars(datetime), "datetime": Shifted})
sys.exit(run_command(sweeps.run.main))
"""


@pytest.mark.slow
def test_a_sweep_is_resumed_after_a_kill_and_after_ctrl_c_and_refuses_a_second_process(place):
    """A second process is refused while the sweep runs. Then the sweep is killed, resumed, interrupted and resumed.

    Record and MLflow are complete, and the trials are those of an uninterrupted sweep.
    """
    space = {**SEARCHED, "trial": {"steps_per_epoch": 8}, "baselines": {"mcce": {"loss": "mcce"}}}
    first = place.sweep(space, "--sampler", "tpe", "--trials", 4, "--epochs", 4, "--confirm", 1)
    first.until(lambda: place.epochs() >= 2)
    assert listening(first.members()) == []

    second = place.resume()
    refused = second.ended(code=75)
    assert f"sweep 'a' is being run by process {first.process.pid} on " in refused
    assert len(refused.splitlines()) == 1

    known = place.epochs()
    first.kill_driver()
    again = place.resume()  # at once, while processes of the first one may still run
    again.until(lambda: place.epochs() >= known + 3)
    before = place.epochs()
    again.interrupt()
    text = again.ended(code=130)
    assert "Stopping when the running epochs are done." in text
    assert text.rstrip().endswith("Continue with: tilted-sweeps run --resume a")
    assert place.epochs() >= before
    assert not place.record().finished
    first.gone()

    known = place.epochs()
    assert f"; it continues after {known} epochs" in place.resume().ended()
    record = place.completely_recorded(place.planned(searched=4))
    assert [trial.params for trial in record.trials("search")] == replayed(record)
    place.completely_shown(record)


@pytest.mark.soak
def test_a_sweep_killed_at_twenty_random_moments_has_the_results_of_an_uninterrupted_one(place):
    space = {**SEARCHED, "trial": {"steps_per_epoch": 8}, "baselines": {"mcce": {"loss": "mcce"}}}
    flags = ["--sampler", "tpe", "--trials", 14, "--epochs", 6, "--confirm", 1]
    began = time.monotonic()
    place.sweep(space, *flags, name="unbroken").ended()
    unbroken, length = place.record("unbroken"), time.monotonic() - began

    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    sweep = place.sweep(space, *flags)
    for moment in range(20):
        if moment % 2:  # while it trains
            known = place.epochs()
            while place.epochs() == known and sweep.process.poll() is None:
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 3))
        else:  # anywhere, most often while it starts
            time.sleep(rng.uniform(0, length / 3))
        print(f"killed after {place.epochs()} epochs, exit code {sweep.process.poll()}")
        sweep.kill_driver()
        begun = "a" in Record.names(place.storage)
        sweep = place.resume() if begun else place.sweep(space, *flags)
    sweep.ended()
    for earlier in place.started:
        earlier.gone()

    record = place.completely_recorded(planned=len(unbroken.trials()))
    assert measured(record) == measured(unbroken)
    place.completely_shown(record)
    place.completely_shown(unbroken)


@pytest.mark.soak
def test_a_second_ctrl_c_ends_the_sweep_at_once_and_nothing_is_lost(place):
    """The second trial's epoch is too long to end before the second Ctrl-C. The resumed sweep trains it."""
    space = {"space": {"steps_per_epoch": {"choices": [2, 300]}}}
    sweep = place.sweep(space, "--epochs", 1, "--confirm", 0)
    sweep.until(lambda: place.epochs() == 1 and len(place.record().trials()) == 2)
    time.sleep(2)
    sweep.interrupt()
    sweep.until(lambda: "Stopping when the running epochs are done." in sweep.text())
    sweep.interrupt()
    sweep.ended(code=130)
    assert [trial.epoch for trial in place.record().trials()] == [1, 0]

    place.resume().ended()
    record = place.completely_recorded(planned=2)
    assert [trial.epoch for trial in record.trials()] == [1, 1]
    place.completely_shown(record)


@pytest.mark.soak
def test_two_sweeps_at_once_on_one_store_and_one_mlflow_stay_apart(place):
    """Two sweeps run at the same time. Each has its own trials, MLflow runs and exported file."""
    flags = ["--sampler", "random", "--epochs", 2, "--confirm", 0, "--no-halving"]
    one = place.sweep({**SEARCHED, "trial": {"steps_per_epoch": 12}}, *flags, "--trials", 4, "--seed", 1, name="one")
    other = place.sweep({**SEARCHED, "trial": {"steps_per_epoch": 12}}, *flags, "--trials", 3, "--seed", 2, name="two")
    one.ended()
    other.ended()
    records = [place.completely_recorded(4, "one"), place.completely_recorded(3, "two")]
    for record in records:
        assert [trial.params for trial in record.trials()] == replayed(record)
        place.completely_shown(record)
    params = [[trial.params for trial in record.trials()] for record in records]
    assert not [one for one in params[0] if one in params[1]]
    shown = [place.mlflow(name) for name in ("one", "two")]
    assert len({run.info.run_id for parent, nested in shown for run in (parent, *nested.values())}) == 9
    for name in ("one", "two"):
        assert (place.folder / "runs" / name / "best.yaml").is_file()


@pytest.mark.soak
def test_a_clock_that_is_set_back_an_hour_changes_nothing(place):
    """The sweep's process sees a clock that is set back an hour when the file `back` exists.

    Its results are those of a sweep with the usual clock.
    """
    (place.folder / "clock.py").write_text(CLOCK)
    space = {**SEARCHED, "trial": {"steps_per_epoch": 8}, "baselines": {"mcce": {"loss": "mcce"}}}
    flags = ["--sampler", "tpe", "--trials", 4, "--epochs", 2, "--confirm", 1]
    sweep = place.sweep(space, *flags, script="clock.py")
    sweep.until(lambda: place.epochs() >= 4)
    (place.folder / "back").touch()
    sweep.ended()
    record = place.completely_recorded(place.planned(searched=4))
    started = [trial.datetime_start for trial in record.study.get_trials()]
    assert started != sorted(started), "the clock was not set back"
    place.completely_shown(record)
    history, _ = Outcome(record, record.plan.objectives).history()
    assert [trial.number for trial in history] == sorted(trial.number for trial in history)
    assert all(trial.ended.seconds < 3000 for trial in record.trials())
    spent = [trial.ended.seconds for trial in record.trials()]
    assert spent == sorted(spent)

    place.sweep(space, *flags, name="usual").ended()
    assert measured(place.record("usual")) == measured(record)
