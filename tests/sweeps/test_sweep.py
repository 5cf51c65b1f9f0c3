"""Whole sweeps as a user starts them: real Ray, Optuna, MLflow and training, and real processes that are killed."""

import contextlib
import json
import os
import signal
import sys

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
import yaml
from mlflow import MlflowClient

from sweeps.reporting.tracking import EXPERIMENT
from sweeps.storage.record import Record
from sweeps.strategy.outcome import Outcome
from tce_core.checkpoint import read_checkpoint
from tce_core.config import TrialConfig
from tce_core.confusion import iou_from_confusion
from tce_core.data.dataset import open_dataset
from tce_core.data.streets.dataset import make_streets
from tce_core.evaluation import evaluate
from tce_core.fairness import fairness_report
from tce_core.model import build_model
from tce_core.results import EpochResult
from tce_core.training import train
from tests.sweeps.browser import BROWSER, Opened
from tests.sweeps.commands import SCRIPTS, SPACE, Command

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(sys.platform == "win32", reason="sessions and SIGKILL are POSIX"),
]
DIVERGING = (
    SPACE
    + """
space: {loss: {choices: [class_tilt]}, lr: {choices: [0.05, 1.0e+12, 0.2]}}
baselines: {mcce: {loss: mcce}}
"""
)
PLAIN = (
    SPACE
    + """
space: {t: {choices: [0.5, 2]}}
"""
)
DEADLY = """
import json, sys, ray
from sweeps.execution.ray_cluster import start_ray
from sweeps.execution.worker_group import GroupSettings, WorkerGroup
data, folder, config = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
start_ray(None)
group = WorkerGroup(GroupSettings(data, folder, folder + "/ray", 1, 1, 0.0, retries=2))
print(json.dumps(group.advance(0, config, config["epochs"]).as_dict()), flush=True)
print(json.dumps(group.advance(1, config, 1).as_dict()), flush=True)
group.close()
ray.shutdown()
"""

HELPLESS = """
import json, sys, ray
from sweeps.execution.ray_cluster import start_ray
from sweeps.execution.worker_group import GroupSettings, WorkerGroup
data, folder, config = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
start_ray(None)
for dataset, storage in (("no/such/data", folder + "/ray"), (data, folder + "/file/ray")):
    group = WorkerGroup(GroupSettings(dataset, folder, storage, 1, 1, 0.0))
    print(json.dumps(group.advance(0, config, 1).as_dict()), flush=True)
    group.close()
ray.shutdown()
"""


@pytest.fixture
def command(tmp_path):
    """Start commands in `tmp_path`. Processes that a failed test leaves there are killed."""
    started = []

    def start(*arguments):
        started.append(Command(tmp_path, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def data(tmp_path):
    return make_streets(tmp_path / "tiny", 0, 16, 8, 8, (48, 64))


@pytest.fixture
def load(tmp_path):
    """Read the current record of a sweep; None before the sweep has begun."""

    def read(name):
        storage = f"sqlite:///{tmp_path}/sweeps.db"
        with contextlib.suppress(Exception):  # the record is being created
            return Record.load(storage, name)
        return None

    return read


def trained(record):
    """The number of recorded epochs."""
    return sum(len(trial.results) for trial in record.trials()) if record is not None else 0


def mlflow_runs(folder):
    """The client, the one parent run, and the nested runs by trial number; each trial has exactly one."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    nested = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in nested} == {parent.info.run_id}
    by_number = {int(run.data.tags["trial"]): run for run in nested}
    assert len(by_number) == len(nested)
    return client, parent, by_number


def test_a_sweep_survives_a_lost_worker_and_a_diverging_trial_and_its_best_can_be_trained_again(
    tmp_path, command, data, load
):
    """A worker is killed and one trial diverges. The sweep still completes its record, files and MLflow."""
    (tmp_path / "own.yaml").write_text(DIVERGING)
    flags = ["--space", "own.yaml", "--trials", 3, "--epochs", 3, "--confirm", 1, "--concurrent", 2, "--no-halving"]
    sweep = command(SCRIPTS / "run.py", "--dataset", "tiny", "--name", "a", *flags)
    sweep.until(lambda: trained(load("a")))
    before = sweep.workers()
    os.kill(before[0], signal.SIGKILL)
    sweep.until(lambda: set(sweep.workers()) - set(before))  # replaced
    printed = sweep.finish()
    assert "Traceback" not in printed

    # The record: all planned trials have ended, and the one that diverged gives the reason.
    record = load("a")
    trials = record.trials()
    assert all(trial.state.is_finished() for trial in trials)
    assert [(t.role, t.config["loss"], t.config["lr"]) for t in record.trials("search")] == [
        ("search", "class_tilt", lr) for lr in (0.05, 1e12, 0.2)
    ]
    assert [trial.label for trial in record.trials("baseline")] == ["mcce"]
    (failed,) = [trial for trial in trials if not trial.complete]
    assert failed.config["lr"] == 1e12
    assert "the loss is" in failed.reason
    assert failed.reason in printed
    for trial in trials:
        assert [result.epoch for result in trial.results] == ([] if trial is failed else [1, 2, 3])
    choice = Outcome(record, record.plan.objectives).choose()
    confirmed = {trial.repeats for trial in record.trials("confirm")}
    assert confirmed == {choice.trial.number, choice.baseline.number}

    # The files that the sweep leaves.
    folder = tmp_path / "runs" / "a"
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "front.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert "Read the report     runs/a/report.html" in printed
    report = folder / "report.html"
    assert report.stat().st_size < 6_000_000
    for gone in ("weights of these models were not kept", "counts of the images are gone", "no other model to compare"):
        assert gone not in report.read_text(encoding="utf-8")
    if BROWSER is not None:
        opened = Opened(report, tmp_path / "profile")
        assert opened.empty == []
        assert opened.figures >= 8
        assert opened.pictures % 4 == 0
        assert opened.pictures
        assert opened.fetched == []
    best = yaml.safe_load((folder / "best.yaml").read_text(encoding="utf-8"))
    assert best["sweep"]["trial"] == choice.trial.number
    assert best["trial"] == choice.trial.config
    assert best["logit_adjustment"] == choice.point.tau
    assert list(best["measured"]["iou"].values()) == [None if x != x else x for x in choice.scores.iou]

    # MLflow: one run for the sweep, one for each trial, and the front marked.
    client, parent, runs = mlflow_runs(tmp_path)
    assert parent.info.status == "FINISHED"
    assert sorted(runs) == [trial.number for trial in trials]
    front = {point.trial.number for point in Outcome(record, record.plan.objectives).front()}
    assert {number for number, run in runs.items() if run.data.tags.get("pareto") == "true"} == front
    for trial in trials:
        shown = runs[trial.number]
        assert shown.info.status == ("FAILED" if trial is failed else "FINISHED")
        history = client.get_metric_history(shown.info.run_id, "miou")
        assert [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)] == [
            (result.epoch, result.report.miou) for result in trial.results
        ]
    assert runs[failed.number].data.tags["reason"] == failed.reason

    # The exported file, trained again, gives exactly the IoUs that it states. So do its weights, up to rounding.
    command(SCRIPTS / "train.py", folder / "best.yaml", "--dataset", "tiny").finish()
    result = EpochResult.from_json(read_checkpoint(folder / "best.checkpoint" / "trial-00000.pt")["result"])
    assert dict(zip(data.class_names, result.at(best["logit_adjustment"]).iou, strict=True)) == pytest.approx(
        {name: float("nan") if x is None else x for name, x in best["measured"]["iou"].items()}, abs=0, nan_ok=True
    )
    with safetensors.safe_open(folder / "best.safetensors", "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["classes"]) == list(data.class_names)
    assert float(metadata["tau"]) == best["logit_adjustment"]
    assert TrialConfig.model_validate_json(metadata["config"]) == TrialConfig(**best["trial"])
    model = build_model(TrialConfig(**best["trial"]), data.num_classes)
    model.load_state_dict(safetensors.torch.load_file(folder / "best.safetensors"), strict=True)
    model = model.to(memory_format=torch.channels_last)
    val = open_dataset(tmp_path / "tiny").val
    (confusion,), _ = evaluate(model, val, torch.device("cpu"))
    iou = np.where(val.pixel_counts.sum(axis=0) > 0, iou_from_confusion(confusion), np.nan)
    tolerance = 1e-3 if best["logit_adjustment"] else 1e-6  # folded, the adjustment is rounded in another place
    assert fairness_report(iou).miou == pytest.approx(best["measured"]["miou"], abs=tolerance)


@pytest.mark.slow
def test_a_killed_sweep_with_two_workers_per_trial_is_resumed_where_it_was(tmp_path, command, data, load):
    """The sweep is killed after its first epoch. Resumed, it trains the missing epochs and repeats no recorded one."""
    (tmp_path / "own.yaml").write_text(PLAIN)
    flags = ["--space", "own.yaml", "--epochs", 4, "--confirm", 0, "--workers-per-trial", 2, "--no-halving"]
    sweep = command(SCRIPTS / "run.py", "--dataset", "tiny", "--name", "b", *flags)
    sweep.until(lambda: trained(load("b")))
    assert len(sweep.workers()) == 2
    sweep.kill()
    before = load("b")
    assert not all(trial.complete for trial in before.trials()) or len(before.trials()) < 2

    command(SCRIPTS / "run.py", "--resume", "--name", "b").finish()
    record = load("b")
    assert [trial.params for trial in record.trials()] == [{"t": 0.5}, {"t": 2}]
    for trial in record.trials():
        assert trial.complete
        assert [result.epoch for result in trial.results] == [1, 2, 3, 4]
    for trial in before.trials():  # no recorded epoch was trained again
        assert record[trial.number].results[: len(trial.results)] == trial.results
    _, parent, runs = mlflow_runs(tmp_path)
    assert [runs[number].info.status for number in (0, 1)] == ["FINISHED"] * 2
    assert parent.info.status == "FINISHED"
    assert (tmp_path / "runs" / "b" / "best.yaml").is_file()


@pytest.mark.slow
def test_a_sweep_starts_from_a_model_whose_evaluation_is_the_reference(tmp_path, command, data, load):
    small = TrialConfig(**yaml.safe_load(SPACE)["trial"])
    config = small.model_copy(update={"loss": "mcce", "epochs": 2, "atrous_rates": (3, 6, 9)})
    *_, last = train(config, data, checkpoint=tmp_path / "mine.pt", device=torch.device("cpu"))
    (tmp_path / "own.yaml").write_text(PLAIN + "baselines: {mcce: {loss: mcce}}\n")
    flags = ["--trials", 1, "--epochs", 1, "--confirm", 0, "--no-halving"]
    sweep = command(
        SCRIPTS / "run.py", "--from", "mine.pt", "--dataset", "tiny", "--space", "own.yaml", "--name", "a", *flags
    )
    assert f"Sweep 'a': from {tmp_path / 'mine.pt'} (10 classes by name), 2 baselines" in sweep.finish()
    record = load("a")
    as_it_is, *trained = record.trials()
    assert Outcome(record, record.plan.objectives).reference() == as_it_is
    assert [trial.label for trial in (as_it_is, *trained)][:2] == ["as it is", "mcce"]
    for scores, wanted in zip(as_it_is.last.curve, last.curve, strict=True):
        assert scores.iou == pytest.approx(wanted.iou, abs=1e-3, nan_ok=True)
    assert as_it_is.last.train_loss is None
    assert all(trial.config["atrous_rates"] == [3, 6, 9] for trial in trained)
    _, _, runs = mlflow_runs(tmp_path)
    assert ["train_loss" in runs[trial.number].data.metrics for trial in record.trials()] == [False, True, True]
    assert runs[0].data.metrics["miou"] == pytest.approx(as_it_is.last.report.miou)


@pytest.mark.slow
def test_missing_data_and_workers_that_cannot_start_are_fatal(tmp_path, command, data):
    """One group has no data; the other cannot start, because a file is in the place of its folder.

    No trial is at fault, so the answers are `fatal` instead of `error`.
    """
    script = tmp_path / "helpless.py"
    script.write_text(HELPLESS)
    (tmp_path / "file").touch()
    config = TrialConfig(**yaml.safe_load(SPACE)["trial"]).model_dump_json()
    text = command(script, data.path, tmp_path, config).finish()
    without_data, without_workers = [json.loads(line) for line in text.splitlines() if line.startswith('{"fatal"')]
    assert without_data["fatal"].startswith("no/such/data: no such data set")
    assert without_workers["fatal"].startswith("the workers cannot be kept running: ")


@pytest.mark.slow
def test_a_trial_that_always_kills_its_workers_fails_and_the_next_one_trains(tmp_path, command, data):
    """The worker of a slot is killed three times while it trains trial 0. Trial 0 fails, and trial 1 is trained."""
    script = tmp_path / "deadly.py"
    script.write_text(DEADLY)
    settings = yaml.safe_load(SPACE)["trial"] | {"epochs": 10**6, "steps_per_epoch": 1}
    config = TrialConfig(**settings).model_dump_json()
    slot = command(script, data.path, tmp_path / "checkpoints", config)
    checkpoint = tmp_path / "checkpoints" / "trial-00000.pt"

    def written():
        return checkpoint.stat().st_mtime_ns if checkpoint.exists() else None

    for _ in range(3):
        (worker,) = slot.until(slot.workers)
        known = written()
        slot.until(lambda known=known: written() != known)
        os.kill(worker, signal.SIGKILL)
        slot.until(lambda worker=worker: worker not in slot.workers())
    answers = [json.loads(line) for line in slot.finish().splitlines() if line.startswith("{")]
    assert answers[0]["error"] == "its workers died 3 times in epoch 1000000"
    assert EpochResult.from_json(answers[1]["result"]).epoch == 1
