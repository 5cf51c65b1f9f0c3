"""Sweeps with a trunk whose process is killed, and whose trunk's checkpoint is damaged: real Ray, Optuna and MLflow."""

import pytest

from tests.sweeps.driver import faulty, measured

pytestmark = [pytest.mark.slow, *faulty]
SPACE = {
    "space": {"t": {"low": 0.1, "high": 3, "log": True}, "lr": {"low": 0.01, "high": 0.4, "log": True}},
    "trial": {"steps_per_epoch": 8, "epochs": 8, "trunk": 0.5},
    "baselines": {"mcce": {"loss": "mcce"}},
}
FLAGS = ("--sampler", "random", "--trials", 2, "--confirm", 1)


def test_a_sweep_killed_in_its_trunk_and_behind_a_damaged_one_ends_as_an_unbroken_one(place):
    place.sweep(SPACE, *FLAGS, name="unbroken").ended()
    unbroken = place.record("unbroken")

    first = place.sweep(SPACE, *FLAGS)
    first.until(lambda: place.epochs() >= unbroken.epochs + 2)
    first.kill_driver()
    (trunk,) = place.record().trials()
    assert (trunk.role, trunk.state.name) == ("trunk", "RUNNING")

    second = place.resume()
    second.until(lambda: place.epochs() >= unbroken.epochs + 5)  # the trunk has 4 epochs
    second.kill_driver()
    (checkpoint,) = (place.folder / "runs" / "a" / "checkpoints").glob("trial-00000.pt")
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-1000])

    said = "The checkpoint of trial 0 is gone or damaged: its 4 epochs are trained again, if a trial still needs"
    assert said in place.resume().ended()
    record = place.completely_recorded(len(unbroken.trials()) + 1)
    again = [trial for trial in record.trials("trunk") if trial.config["seed"] == 0]
    assert [(trial.start, trial.trained, trial.state.name) for trial in again] == [(0, 4, "COMPLETE")] * 2
    assert measured_by_label(record) == measured_by_label(unbroken)
    assert record.epochs == unbroken.epochs + 4
    assert not list((place.folder / "runs" / "a" / "checkpoints").glob("trial-00000.pt"))
    place.completely_shown(record)


def measured_by_label(record):
    """What each trial measured, by its label; a trunk that was trained twice counts once."""
    return {(row[0], row[1]): row for row in measured(record)}
