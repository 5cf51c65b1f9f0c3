"""Whole sweeps on a GPU: two trials share one card through Ray Train and NCCL, and one trial needs more memory than
it has."""

import itertools
import subprocess

import pytest

from tests.sweeps.commands import SCRIPTS
from tests.sweeps.driver import faulty

pytestmark = [pytest.mark.gpu, *faulty]


def on_the_card():
    """The ids of the processes that compute on a GPU."""
    query = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    return {int(line) for line in answer.split() if line.isdigit()}


def test_two_slots_share_one_card(place):
    """The built-in data and their space, as the first command of the README runs them."""
    flags = ["--gpus-per-worker", 0.5, "--concurrent", 2, "--cpus-per-worker", 2]
    less = ["--trials", 3, "--epochs", 3, "--confirm", 0, "--no-halving"]
    sweep = place.start(SCRIPTS / "run.py", "--name", "a", *flags, *less)
    workers = sweep.until(lambda: len(sweep.workers()) == 2 and set(sweep.workers()))
    sweep.until(lambda: workers <= on_the_card())
    sweep.ended()

    record = place.record()
    trials = record.trials()
    assert record.finished
    assert record.plan.gpus_per_worker == 0.5
    assert all(trial.complete and trial.epoch == 3 for trial in trials), [trial.reason for trial in trials]
    assert {trial.config["loss"] for trial in trials} > {"mcce", "weighted_ce"}
    # Between two epochs of one trial, the sweep finished an epoch of another: two slots trained side by side.
    spent = [[one.epochs for one in trial.spent] for trial in trials]
    assert any(later - earlier > 1 for epochs in spent for earlier, later in itertools.pairwise(epochs))
    assert (place.folder / "runs" / "a" / "best.yaml").exists()


def test_a_trial_without_enough_memory_fails_and_the_sweep_goes_on(place):
    """The middle trial wants a batch of 4,096 images of 512x512 pixels: more than 200 GB for its activations."""
    trial = {"crop": [512, 512], "scale": [1, 1], "jitter": 0, "flip": False}
    space = {"trial": trial, "space": {"batch_size": {"choices": [4, 4096, 8]}}}
    flags = ["--trials", 3, "--epochs", 2, "--confirm", 0, "--no-halving", "--gpus-per-worker", 1]
    printed = place.sweep(space, *flags, "--cpus-per-worker", 2).ended()

    small, huge, last = place.record().trials()
    assert [trial.config["batch_size"] for trial in (small, huge, last)] == [4, 4096, 8]
    assert huge.failed
    assert huge.epoch == 0
    assert "out of memory" in huge.reason
    assert "out of memory" in printed
    assert small.complete
    assert last.complete  # on the same worker, which has its memory back
