"""Shared by the tests of MLflow: a record that the test fills, and functions that read what MLflow shows."""

import math
import sqlite3
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from sweeps.reporting.mlflow_connection import connect
from sweeps.reporting.tracking import EXPERIMENT, Tracking
from sweeps.storage.plan import Plan
from sweeps.storage.record import Record
from sweeps.strategy.outcome import Outcome
from tce_core.config import TrialConfig
from tce_core.results import EpochResult, Scores

NAMES = ("road", "traffic light", "traffic/light", "rider")
EPOCHS = 3
COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
OUTDONE = "not among the best 50% at epoch 1"
SPACE = {"baselines": {"mcce": {}}, "space": {"t": {"low": 0.1, "high": 3.0}, "loss": {"choices": ["class_tilt"]}}}


def plan(name="streets-1", dataset="data/streets"):
    return Plan(
        name=name,
        objective="worst_iou",
        allowance=0.05,
        sampler="random",
        seed=0,
        trials=3,
        confirm=1,
        dataset=dataset,
        fingerprint="5eed" * 16,
        space=SPACE,
        space_file="tce",
        workers=1,
        cpus_per_worker=1,
        gpus_per_worker=0.0,
        versions={"torch": "2.6", "mlflow": mlflow.__version__},
    )


def result(epoch, miou, worst):
    """A result of four classes. The second is absent: it is in neither truth nor prediction."""
    high = (3 * miou - worst) / 2
    intervals = {"miou": (miou - 0.02, miou + 0.01), "worst_iou": (worst - 0.03, worst + 0.01)}
    plain = Scores(0.0, (high, math.nan, high, worst), intervals=intervals)
    return EpochResult(epoch, 1 / epoch, 0.1 / epoch, (plain,), None, 2.0, 0.5)


def adjusted(found, by_tau):
    """The same result with further strengths of logit adjustment. `by_tau`: mIoU and worst IoU of each."""
    more = [replace(result(found.epoch, *pair).plain, tau=tau) for tau, pair in by_tau.items()]
    return replace(found, curve=(found.plain, *more))


class Sweep:
    """A record that the test fills. `listener` is notified as in a real sweep."""

    def __init__(self, storage, listener=None, **settings):
        self.record = Record.create(storage, plan(**settings))
        self.outcome = Outcome(self.record, self.record.plan.objectives)
        self.listener = listener

    def tracking(self, uri, **settings):
        return Tracking(self.outcome, NAMES, uri, **settings)

    def begin(self, role, label, params=None, repeats=None):
        config = TrialConfig(**{**(params or {}), "epochs": EPOCHS, "crop": (32, 48)}).model_dump(mode="json")
        spaces = {"t": FloatDistribution(0, 9), "loss": CategoricalDistribution(["class_tilt"])}
        distributions = {name: spaces[name] for name in params or {}}
        number = self.record.begin(role, label, config, params, distributions, repeats=repeats).number
        if self.listener:
            self.listener.on_trial_start(number)
        return number

    def train(self, number, miou, worst, epochs=range(1, EPOCHS + 1), by_tau=None):
        """`by_tau`: mIoU and worst IoU after the last epoch with further strengths of logit adjustment."""
        for epoch in epochs:
            part = epoch / EPOCHS
            more = {tau: (part * one, part * other) for tau, (one, other) in (by_tau or {}).items()}
            self.record.add_epoch(number, adjusted(result(epoch, miou * part, worst * part), more), 1.0)
            if self.listener:
                self.listener.on_epoch(number)

    def end(self, number, state=COMPLETE, reason=None):
        self.record.end(number, state, reason, seconds=2.5 * self.record.epochs)
        if self.listener:
            self.listener.on_trial_end(number)

    def run(self):
        """Run seven trials: 2 is recommended, 2 and 3 are the front, 4 fails, 5 is stopped, 6 confirms trial 2.

        Trial 5 has results that would be on the front.
        """
        found = [("mcce", 0.50, 0.10), ("t=0.2", 0.48, 0.08), ("t=1", 0.49, 0.30), ("t=2", 0.52, 0.12)]
        for label, miou, worst in found:
            role = "baseline" if label == "mcce" else "search"
            params = None if role == "baseline" else {"loss": "class_tilt", "t": float(label[2:])}
            number = self.begin(role, label, params)
            self.train(number, miou, worst)
            self.end(number)
        failing = self.begin("search", "t=3", {"loss": "class_tilt", "t": 3.0})
        self.train(failing, 0.1, 0.0, epochs=[1])
        self.end(failing, FAIL, "the loss is not finite\nat step 3")
        stopped = self.begin("search", "t=4", {"loss": "class_tilt", "t": 4.0})
        self.train(stopped, 1.8, 0.9, epochs=[1])
        self.end(stopped, PRUNED, OUTDONE)
        again = self.begin("confirm", "t=1 seed=1", repeats=2)
        self.train(again, 0.495, 0.29)
        self.end(again)
        self.record.finish()
        return self

    def run_adjusted(self, baseline=None):
        """Run three trials. Trial 1 is recommended with tau 0.5; the front is that, its plain model and tau 1.

        `baseline`: the curve of the baseline, by tau.
        """
        curves = [
            ("mcce", {0.0: (0.50, 0.10), **(baseline or {0.5: (0.48, 0.15)})}),
            ("t=1", {0.0: (0.52, 0.12), 0.5: (0.49, 0.30), 1.0: (0.40, 0.35)}),
            ("t=2", {0.0: (0.45, 0.05), 0.5: (0.46, 0.10)}),
        ]
        for label, curve in curves:
            role = "baseline" if label == "mcce" else "search"
            number = self.begin(role, label, None if role == "baseline" else {"t": float(label[2:])})
            self.train(number, *curve[0.0], by_tau={tau: pair for tau, pair in curve.items() if tau})
            self.end(number)
        return self


def runs(uri, query=""):
    client = connect(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return client.search_runs([experiment.experiment_id], query) if experiment else []


def numbers(uri, query):
    return sorted(int(run.data.tags["trial"]) for run in runs(uri, query))


def parent(uri):
    (run,) = runs(uri, "tags.role = 'sweep'")
    return run


def history(uri, run, key):
    return [(m.step, m.value, m.timestamp) for m in connect(uri).get_metric_history(run.info.run_id, key)]


def artifact(uri, name):
    with TemporaryDirectory() as folder:
        return Path(connect(uri).download_artifacts(parent(uri).info.run_id, name, folder)).read_text(encoding="utf-8")


def content(uri):
    """Everything that the store shows of the sweep, by trial.

    Ids and the history of the `best_` metrics are left out: they differ between two stores.
    """
    shown = {}
    for run in runs(uri):
        own = "mlflow.parentRunId"
        tags = {key: value for key, value in run.data.tags.items() if key != own}
        metrics = {key: history(uri, run, key) for key in run.data.metrics if not key.startswith("best_")}
        best = {key: value for key, value in run.data.metrics.items() if key.startswith("best_")}
        files = [(file.path, file.file_size) for file in connect(uri).list_artifacts(run.info.run_id)]
        times = run.info.start_time, run.info.end_time
        key = tags.get("trial", "sweep")
        assert key not in shown
        shown[key] = run.info.status, times, tags, run.data.params, metrics, best, files
    return shown


def rows(uri):
    """All rows of every table of the store."""
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as store:
        tables = [name for (name,) in store.execute("select name from sqlite_master where type = 'table'")]
        return {table: sorted(map(repr, store.execute(f"select * from {table}"))) for table in tables}
