"""Workers that die, trials that fail, and a hundred trials that are stopped: real Ray and real processes."""

import json
import os
import random
import signal
import time

import pytest
import torch
import yaml
from optuna.trial import TrialState

from sweeps.strategy.outcome import Outcome
from sweeps.strategy.search import Search
from tce_core.checkpoint import read_checkpoint
from tce_core.config import TrialConfig
from tce_core.results import EpochResult
from tests.sweeps.driver import SPACE, faulty, harmful_checkpoints

pytestmark = faulty
PAIR = """
import json, sys, ray
from sweeps.execution.ray_cluster import start_ray
from sweeps.execution.worker_group import GroupSettings, WorkerGroup
data, folder, config = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
start_ray(None)
group = WorkerGroup(GroupSettings(data, folder, folder + "/ray", 2, 1, 0.0, retries=10))
for trial in (0, 1):
    for epoch in range(1, config["epochs"] + 1):
        print(json.dumps({"trial": trial, "epoch": epoch, **group.advance(trial, config, epoch).as_dict()}), flush=True)
group.close()
ray.shutdown()
"""
HUNDRED = """
import json, os, sys, time
import ray
from ray import tune
import sweeps.execution.slot, sweeps.execution.tune, sweeps.run, sweeps.sweep
from dataclasses import replace
from sweeps.cli import run_command
from sweeps.execution.worker_group import WorkerGroups
from tce_core.results import EpochResult, Scores

class Instant(sweeps.execution.slot.Slot):
    def step(self):
        epoch = self.order.epoch
        self.order = replace(self.order, epoch=epoch + 1)
        iou = (max(0.1, 1 - self.order.trial / 200),) * 10
        result = EpochResult(epoch, 1.0, 0.1, (Scores(0.0, iou),), None, 0.1, 0.1)
        return {"result": result.to_json()}

class NoWorkers:
    mailbox = None
    def __init__(self, settings):
        pass
    def begin(self, order):
        pass
    def stop(self):
        pass
    def wait(self, until):
        pass
    close = leave = kill = stop

class NoGroups(WorkerGroups):
    def __init__(self, settings):
        super().__init__(settings, NoWorkers)
    def check(self, plan, meanwhile):
        meanwhile()

sweeps.sweep.WorkerGroups = NoGroups
dashboard = sys.argv.pop() == "dashboard"
start, until_done = ray.init, sweeps.execution.tune.tune_until_done

def init(**settings):
    return start(**{**settings, "include_dashboard": dashboard})

def counted(*arguments):
    until_done(*arguments, trainable=Instant)
    deadline = time.monotonic() + 60
    while True:
        actors = ray._private.state.actors().values()
        groups = ray.util.placement_group_table().values()
        alive = [actor["Name"] for actor in actors if actor["State"] != "DEAD"]
        held = [group["state"] for group in groups if group["state"] != "REMOVED"]
        if not (alive or held) or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    print("left over " + json.dumps({"alive": alive, "held": held}))

ray.init = init
sweeps.execution.tune.tune_until_done = counted
sys.exit(run_command(sweeps.run.main))
"""


@pytest.mark.soak
def test_a_trial_of_two_workers_that_are_killed_at_random_moments_ends_with_the_same_weights(place):
    """The same trial is trained twice: undisturbed as trial 0, and as trial 1 while workers are killed."""
    script, folder = place.folder / "pair.py", place.folder / "checkpoints"
    script.write_text(PAIR)
    settings = yaml.safe_load(SPACE)["trial"] | {"epochs": 8, "steps_per_epoch": 12}
    config = TrialConfig(**settings).model_dump_json()
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    pair = place.start(script, place.data.path, folder, config)
    checkpoint, reached, first = folder / "trial-00001.pt", [], set()

    def look():
        """Note the epoch of the checkpoint, and return whether there is a checkpoint."""
        if checkpoint.exists():
            reached.append(read_checkpoint(checkpoint)["epoch"])
        return bool(reached)

    pair.until(look)
    for _ in range(4):
        workers = pair.until(lambda: len(pair.workers()) == 2 and sorted(pair.workers()))
        known = reached[-1]
        pair.until(lambda known=known: look() and reached[-1] > known)  # they train
        if reached[-1] >= 7:
            break
        time.sleep(rng.uniform(0, 1))
        victim = rng.randrange(2)
        first.add(victim)
        look()
        print(f"killed worker {victim} after epoch {reached[-1]}")
        os.kill(workers[victim], signal.SIGKILL)
        pair.until(lambda workers=workers: look() and not set(workers) & set(pair.workers()))
    assert len(first) > 0
    answers = [json.loads(line) for line in pair.ended().splitlines() if line.startswith("{")]
    assert reached == sorted(reached), "an epoch that was saved was trained again"
    assert [answer["epoch"] for answer in answers] == [*range(1, 9), *range(1, 9)]
    results = [EpochResult.from_json(answer["result"]) for answer in answers]
    for one, other in zip(results[:8], results[8:], strict=True):
        assert (one.epoch, one.train_loss) == (other.epoch, other.train_loss)
        assert one.iou == pytest.approx(other.iou, abs=0, nan_ok=True)
    one, other = (read_checkpoint(path)["model"] for path in (folder / "trial-00000.pt", checkpoint))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_failed_trials_harm_no_other_trial_and_mlflow_is_written_later(place):
    """Trials fail by lack of memory, a loss that is not finite, and checkpoints that would run code when read.

    The other trials complete. MLflow is down all the time, and shows the whole sweep afterwards.
    """
    with open("/proc/sys/vm/overcommit_memory", encoding="ascii") as policy:
        if policy.read().strip() == "1":
            pytest.skip("this machine grants any memory that is asked for")
    baselines = {
        "mcce": {"loss": "mcce"},
        "huge": {"loss": "mcce", "crop": [1_600_000, 1_600_000]},
        "diverging": {"loss": "class_tilt", "t": 1.0, "lr": 1.0e12},
    }
    space = {"space": {"t": {"choices": [0.5, 1, 2]}}, "baselines": baselines}
    nowhere = ("--tracking-uri", "http://127.0.0.1:9")
    sweep = place.sweep(space, "--epochs", 2, "--confirm", 0, "--no-halving", *nowhere)
    sweep.until(lambda: "Sweep 'a'" in sweep.text())  # by now it has cleared the folder
    harmful_checkpoints(place, place.folder / "runs" / "a" / "checkpoints", "trial-00003.pt", "trial-00004.pt")
    text = sweep.ended()
    assert not (place.folder / "harm").exists()
    assert text.count("MLflow lags behind, the record does not") == 1

    record = place.completely_recorded(planned=6)
    trials = record.trials()
    assert [trial.state for trial in trials] == [
        TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL, TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE
    ]  # fmt: skip
    assert trials[1].reason.startswith("out of memory: ")
    assert trials[2].reason.startswith("the loss is ")
    assert "not a checkpoint that can be read safely" in trials[3].reason
    assert "not a checkpoint that can be read safely" in trials[4].reason
    for trial in trials[1:5]:
        assert trial.reason in text
    front = Outcome(record, record.plan.objectives).front()
    assert front
    assert {point.trial.number for point in front} <= {0, 5}
    observations = Search(record).observations
    told = [observations.of_trial(trial) for trial in trials]
    assert [(one.failed, one.values is None) for one in told] == [(t.state == TrialState.FAIL,) * 2 for t in trials]

    place.catch_up()
    place.completely_shown(record)


@pytest.mark.soak
def test_trials_fail_if_no_validation_image_has_a_valid_pixel_and_the_sweep_says_so(place):
    """All validation pixels are void, so no class has an IoU. The sweep ends with exit code 2 and names the reason."""
    folder = place.folder / "mine"
    from PIL import Image

    for split, label in (("train", 1), ("val", 255)):
        (folder / split / "images").mkdir(parents=True)
        (folder / split / "masks").mkdir(parents=True)
        for i in range(8):
            mask = Image.new("L", (64, 48), label)
            mask.paste(0 if label == 1 else 255, (0, 0, 32, 48))
            mask.save(folder / split / "masks" / f"{i}.png")
            Image.new("RGB", (64, 48), (30 * i, 9, 80)).save(folder / split / "images" / f"{i}.png")
    classes = [{"id": i, "name": name, "color": [i, i, i]} for i, name in enumerate(("road", "wall"))]
    (folder / "classes.json").write_text(json.dumps({"num_classes": 2, "ignore_index": 255, "classes": classes}))
    place.start("-m", "tce_core.data.convert", "folder", folder, place.folder / "void").ended()
    space = {"space": {"t": {"choices": [0.5, 2]}}}
    sweep = place.sweep(space, "--dataset", "void", "--epochs", 3, "--confirm", 0)
    last = sweep.ended(code=2).splitlines()[-1]
    assert last.startswith("error: sweep 'a': no trial was trained to its end: ")
    assert last.endswith("no valid pixel in any image")
    record = place.completely_recorded(planned=2)
    assert [trial.state for trial in record.trials()] == [TrialState.FAIL] * 2
    assert Outcome(record, record.plan.objectives).front() == []
    assert all(one.values is None for one in Search(record).observations.all())
    place.completely_shown(record)


@pytest.mark.parametrize(
    ("trials", "dashboard"),
    [
        pytest.param(21, "without", marks=pytest.mark.slow),
        pytest.param(101, "without", marks=pytest.mark.soak),
        pytest.param(101, "dashboard", marks=pytest.mark.soak),
    ],
)
def test_a_hundred_trials_that_are_stopped_early_leave_no_actors_and_no_resources(place, trials, dashboard):
    """Ray, Tune and the record are real. An epoch takes no time, and each trial is worse than the ones before."""
    if dashboard == "dashboard":
        pytest.importorskip("aiohttp_cors", reason="Ray's dashboard needs ray[default]")
    (place.folder / "hundred.py").write_text(HUNDRED)
    space = {"space": {"t": {"low": 0.1, "high": 3}}, "trial": yaml.safe_load(SPACE)["trial"]}
    (place.folder / "own.yaml").write_text(yaml.safe_dump(space))
    flags = ["--dataset", "tiny", "--space", "own.yaml", "--sampler", "random", "--trials", trials, "--confirm", 0]
    flags += ["--epochs", 4, "--rungs", 2, "--keep", 0.01, "--concurrent", 2, "--name", "a"]
    text = place.start("hundred.py", *flags, dashboard).ended()
    (line,) = [line for line in text.splitlines() if line.startswith("left over ")]
    left = json.loads(line.removeprefix("left over "))
    assert left == {"alive": [], "held": []}
    record = place.completely_recorded(planned=trials)
    states = [trial.state for trial in record.trials()]
    assert states.count(TrialState.PRUNED) >= trials - 2  # the first two begin together
    assert set(states) == {TrialState.PRUNED, TrialState.COMPLETE}
    place.completely_shown(record)
