"""`sweeps.tracking` and what it is made of: what MLflow shows of a record, and what an outage does to it.

Real Optuna and real MLflow, both on SQLite; a real server in the slow test.
"""

import contextlib
import json
import logging
import math
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import numpy as np
import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from sweeps import tracking
from sweeps.export import main as export
from sweeps.export import read_export
from sweeps.front import front_points, front_table
from sweeps.mlflow_store import Mirror, connect
from sweeps.mlflow_view import SweepView, metric_keys
from sweeps.outcome import Outcome
from sweeps.pareto import hypervolume
from sweeps.plan import Plan
from sweeps.record import Record
from sweeps.tracking import EXPERIMENT, Tracking
from tce_core.config import TrialConfig
from tce_core.data.streets import make_streets
from tce_core.errors import UserError
from tce_core.results import EpochResult

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
    """Three classes that are present; the second is in neither truth nor prediction."""
    high = (3 * miou - worst) / 2
    intervals = {"miou": (miou - 0.02, miou + 0.01), "worst_iou": (worst - 0.03, worst + 0.01)}
    return EpochResult(epoch, 1 / epoch, 0.1 / epoch, (high, math.nan, high, worst), intervals, None, 2.0, 0.5)


class Sweep:
    """A record that grows by hand; `listener` is told as a real sweep would tell it."""

    def __init__(self, storage, listener=None, **settings):
        self.record = Record.create(storage, plan(**settings))
        self.outcome = Outcome(self.record, self.record.plan.objectives)
        self.listener = listener

    def tracking(self, uri, **settings):
        return Tracking(self.record, self.outcome, NAMES, uri, **settings)

    def begin(self, role, label, params=None, of=None):
        config = TrialConfig(**{**(params or {}), "epochs": EPOCHS, "crop": (32, 48)}).model_dump(mode="json")
        spaces = {"t": FloatDistribution(0, 9), "loss": CategoricalDistribution(["class_tilt"])}
        distributions = {name: spaces[name] for name in params or {}}
        number = self.record.begin(role, label, config, params, distributions, of=of).number
        if self.listener:
            self.listener.trial_started(number)
        return number

    def train(self, number, miou, worst, epochs=range(1, EPOCHS + 1)):
        for epoch in epochs:
            part = epoch / EPOCHS
            self.record.add_epoch(number, result(epoch, miou * part, worst * part), 1.0)
            if self.listener:
                self.listener.epoch_done(number)

    def end(self, number, state=COMPLETE, reason=None):
        self.record.end(number, state, reason, seconds=2.5 * self.record.epochs)
        if self.listener:
            self.listener.trial_ended(number)

    def run(self):
        """Seven trials: the recommended one, 2, and trial 3 are the front; 4 fails; 5 is stopped; 6 confirms.

        The stopped one would be on the front.
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
        again = self.begin("confirm", "t=1 seed=1", of=2)
        self.train(again, 0.495, 0.29)
        self.end(again)
        self.record.finish()
        return self


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """An SQLite store with its tables: making them takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    connect(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(empty_store, tmp_path):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def storage(tmp_path):
    return f"sqlite:///{tmp_path}/sweeps.db"


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
    """All that the store shows of the sweep, by trial; without what two stores cannot share: ids, and the live best."""
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
    """Every table of the store."""
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as store:
        tables = [name for (name,) in store.execute("select name from sqlite_master where type = 'table'")]
        return {table: sorted(map(repr, store.execute(f"select * from {table}"))) for table in tables}


def outage(uri, over=False):
    """The store refuses whatever would change it, or no longer."""
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as store:
        for i, change in enumerate(("insert on runs", "update on runs", "insert on metrics", "insert on tags")):
            refusal = f"create trigger no_{i} before {change} begin select raise(abort, 'out of order'); end"
            store.execute(f"drop trigger no_{i}" if over else refusal)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_a_sweep_is_one_run_with_one_run_nested_for_each_trial(uri, storage):
    sweep = Sweep(storage).run()
    assert sweep.tracking(uri).sync()
    top = parent(uri)
    assert top.info.run_name == "streets-1"
    assert top.info.status == "FINISHED"
    assert top.data.params["objective"] == "worst_iou"
    assert top.data.params["fingerprint"] == top.data.tags["fingerprint"] == "5eed" * 16
    assert [(i.dataset.name, i.dataset.digest) for i in top.inputs.dataset_inputs] == [("streets", "5eed5eed5eed")]
    nested = runs(uri, f"tags.mlflow.parentRunId = '{top.info.run_id}'")
    assert len(nested) == 7
    assert len(runs(uri)) == 8
    run = next(run for run in nested if run.data.tags["trial"] == "2")
    assert run.info.run_name == "002 t=1"
    assert (run.data.tags["role"], run.data.tags["label"], run.data.tags["state"]) == ("search", "t=1", "COMPLETE")
    config = sweep.record[2].config
    assert run.data.params.keys() == config.keys()
    assert all(yaml.safe_load(run.data.params[key]) == config[key] for key in ("loss", "t", "crop", "flip", "seed"))


def test_each_epoch_is_written_with_all_its_figures(uri, storage):
    sweep = Sweep(storage).run()
    sweep.tracking(uri).sync()
    (run,) = runs(uri, "tags.trial = '2'")
    expected = sweep.record[2].last
    for key, value in {
        "miou": expected.report.miou,
        "worst_iou": 0.30,
        "worst_class": 3,
        "std_iou": expected.report.std_iou,
        "bottom25_iou": 0.30,
        "miou_low": 0.47,
        "miou_high": 0.50,
        "worst_iou_low": 0.27,
        "train_loss": 1 / 3,
        "lr": 0.1 / 3,
        "seconds": 2.5,
        "iou/rider": 0.30,
        "iou/traffic_light_2": expected.iou[2],
    }.items():
        steps = history(uri, run, key)
        assert [step for step, _, _ in steps] == [1, 2, 3]
        assert steps[-1][1] == pytest.approx(value)
        assert [b[2] - a[2] for a, b in pairwise(steps)] == [2500, 2500]  # the seconds spent
    assert "iou/traffic_light_1" not in run.data.metrics  # an absent class has no IoU, not 0
    assert run.data.tags["worst_class"] == "rider"


def test_class_names_make_metric_names_that_are_allowed_and_distinct():
    assert metric_keys(["sky", "door;double door", "a b", "a/b", ".."]) == [
        "iou/sky",
        "iou/door_double_door",
        "iou/a_b_2",
        "iou/a_b_3",
        "iou/_",
    ]


def test_writing_again_changes_nothing(uri, storage):
    sweep = Sweep(storage).run()
    tracking = sweep.tracking(uri)
    tracking.sync()
    before = rows(uri)
    tracking.sync()
    sweep.tracking(uri).sync()
    again = Record.load(storage, "streets-1")
    Tracking(again, Outcome(again, again.plan.objectives), NAMES, uri).sync()
    assert rows(uri) == before


def test_live_writing_and_writing_afterwards_show_the_same(uri, storage, tmp_path, empty_store):
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    sweep.listener.sync()  # before the first trial there is nothing to show
    assert runs(uri) == []
    sweep.run()
    sweep.listener.sweep_ended("FINISHED")
    (tmp_path / "later").mkdir()
    shutil.copy(empty_store, tmp_path / "later" / "mlflow.db")
    later = f"sqlite:///{tmp_path}/later/mlflow.db"
    sweep.tracking(later).sync()
    assert content(later) == content(uri)


def test_an_interrupted_sweep_goes_on_in_the_same_runs(uri, storage):
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    number = sweep.begin("baseline", "mcce")
    sweep.train(number, 0.5, 0.1, epochs=[1])
    sweep.listener.sweep_ended("KILLED")
    assert parent(uri).info.status == "KILLED"
    assert runs(uri, "tags.trial = '0'")[0].info.status == "RUNNING"

    sweep.record = Record.load(storage, "streets-1")
    sweep.outcome = Outcome(sweep.record, sweep.record.plan.objectives)
    sweep.listener = sweep.tracking(uri)
    sweep.listener.sync()
    assert parent(uri).info.status == "KILLED"  # nothing has happened yet
    sweep.listener.trial_started(number)
    assert parent(uri).info.status == "RUNNING"
    sweep.train(number, 0.5, 0.1)  # the first epoch is repeated
    sweep.end(number)
    sweep.listener.sweep_ended("FINISHED")
    assert parent(uri).info.status == "FINISHED"
    (run,) = runs(uri, "tags.trial = '0'")
    assert run.info.status == "FINISHED"
    assert run.info.end_time >= run.info.start_time
    assert [step for step, _, _ in history(uri, run, "iou/rider")] == [1, 2, 3]


def test_pareto_and_recommended_are_searchable_and_follow_the_front(uri, storage):
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    sweep.train(sweep.begin("baseline", "mcce"), 0.50, 0.10)
    sweep.end(0)
    assert numbers(uri, "tags.pareto = 'true' and tags.recommended = 'true'") == [0]
    sweep.train(sweep.begin("search", "t=1", {"loss": "class_tilt", "t": 1.0}), 0.51, 0.12)
    assert numbers(uri, "tags.pareto = 'true'") == [0]  # a trial joins when it is complete
    sweep.end(1)
    assert numbers(uri, "tags.pareto = 'true' and tags.recommended = 'true'") == [1]
    assert numbers(uri, "tags.pareto = 'false'") == [0]
    sweep.train(sweep.begin("search", "t=0", {"loss": "class_tilt", "t": 0.0}), 0.55, 0.11)
    sweep.end(2)
    assert numbers(uri, "tags.pareto = 'true'") == [t.number for t in sweep.outcome.front()] == [1, 2]
    assert numbers(uri, "tags.recommended = 'true'") == [1]


def test_a_failed_trial_says_why_and_a_confirming_one_of_what(uri, storage):
    Sweep(storage).run().tracking(uri).sync()
    (failed,) = runs(uri, "attributes.status = 'FAILED'")
    assert failed.data.tags["trial"] == "4"
    assert failed.data.tags["state"] == "FAIL"
    assert failed.data.tags["reason"] == "the loss is not finite\nat step 3"
    assert failed.data.tags["epochs"] == "1"
    assert "pareto" not in failed.data.tags
    (again,) = runs(uri, "tags.role = 'confirm'")
    assert again.data.tags["of"] == "2"
    assert "pareto" not in again.data.tags


def test_a_stopped_trial_has_finished_but_is_no_candidate(uri, storage):
    sweep = Sweep(storage).run()
    sweep.tracking(uri).sync()
    (run,) = runs(uri, "tags.state = 'PRUNED'")
    assert run.info.status == "FINISHED"
    assert run.info.end_time >= run.info.start_time
    tags = run.data.tags
    assert (tags["trial"], tags["epochs"], tags["reason"]) == ("5", "1", OUTDONE)
    assert "pareto" not in tags
    assert run.data.params.keys() == sweep.record[5].config.keys()
    assert [step for step, _, _ in history(uri, run, "miou")] == [1]
    assert numbers(uri, "tags.epochs = '3'") == [0, 1, 2, 3, 6]
    assert numbers(uri, "tags.epochs != '3' and tags.state != 'FAIL'") == [5]


def test_epochs_follow_a_trial_as_it_trains(uri, storage):
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    number = sweep.begin("baseline", "mcce")
    assert "epochs" not in runs(uri, "tags.trial = '0'")[0].data.tags
    for epoch in (1, 2):
        sweep.train(number, 0.5, 0.1, epochs=[epoch])
        assert runs(uri, "tags.trial = '0'")[0].data.tags["epochs"] == str(epoch)


def test_the_note_says_what_was_spent_and_what_full_length_would_have_cost(uri, storage):
    Sweep(storage).run().tracking(uri).sync()
    note = parent(uri).data.tags["mlflow.note.content"]
    # five trials of 3 epochs, and two of 1
    assert "\n\nSpent 17 epochs on 7 trials; all at full length would have been 21 (81%; 1 stopped early).\n\n" in note


def test_progress_is_in_the_order_of_epochs_spent_whatever_the_clock_said(uri, storage, tmp_path):
    sweep = Sweep(storage)
    values = {0: (0.5, 0.1), 1: (0.4, 0.3), 2: (0.6, 0.05)}
    for number, (miou, worst) in values.items():
        sweep.begin("search", f"#{number}", {"t": 1.0 + number})
        sweep.train(number, miou, worst, epochs=[1])
    stopped = sweep.begin("search", "#3", {"t": 4.0})
    sweep.train(stopped, 0.9, 0.9, epochs=[1])
    for number in (2, 0):
        sweep.train(number, *values[number], epochs=[2, 3])
        sweep.end(number)
    sweep.end(stopped, PRUNED, OUTDONE)
    sweep.train(1, *values[1], epochs=[2, 3])
    sweep.end(1)
    with sqlite3.connect(storage.removeprefix("sqlite:///")) as store:  # summer time ends, or a clock is corrected
        clock = {2: "2026-01-01 12:00:00", 0: "2026-01-01 11:00:00", 1: "2026-01-01 11:30:00"}
        for number, time_ in clock.items():
            changed = store.execute("update trials set datetime_complete = ? where number = ?", (time_, number))
            assert changed.rowcount == 1
    record = Record.load(storage, "streets-1")
    Tracking(record, Outcome(record, record.plan.objectives), NAMES, uri).sync()
    ended = [[values[2]], [values[2], values[0]], [values[2], values[0], values[1]]]
    steps = history(uri, parent(uri), "hypervolume")
    assert [step for step, _, _ in steps] == [1, 2, 3]
    assert [value for _, value, _ in steps] == pytest.approx([hypervolume(points, (0, 0)) for points in ended])
    assert len({time for _, _, time in steps}) == 1  # the latest so far, never back
    assert [(step, value) for step, value, _ in history(uri, parent(uri), "epochs_spent")] == [(1, 6), (2, 8), (3, 10)]


def test_the_hypervolume_grows_in_the_order_in_which_trials_finish(uri, storage):
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    values = {0: (0.5, 0.1), 1: (0.4, 0.3), 2: (0.6, 0.05)}
    for number, (miou, worst) in values.items():
        sweep.begin("search", f"#{number}", {"t": 1.0 + number})
        sweep.train(number, miou, worst)
    for number in (2, 0, 1):
        sweep.end(number)
    ended = [[values[2]], [values[2], values[0]], [values[2], values[0], values[1]]]
    expected = [hypervolume(points, (0, 0)) for points in ended]
    steps = history(uri, parent(uri), "hypervolume")
    assert [step for step, _, _ in steps] == [1, 2, 3]
    assert [value for _, value, _ in steps] == pytest.approx(expected)
    assert parent(uri).data.metrics["best_worst_iou"] == pytest.approx(0.3)
    assert parent(uri).data.metrics["best_trial"] == 1


def test_the_files_of_a_sweep(uri, storage, tmp_path):
    sweep = Sweep(storage).run()
    best = tmp_path / "best.yaml"
    tracking = sweep.tracking(uri, best_path=best)
    tracking.sync()  # it is written at the end, so at first it is not there
    best.write_text("trial: {t: 1.0}\n")
    tracking.sweep_ended("FINISHED")
    client, run = connect(uri), parent(uri)
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"best.yaml", "environment.json", "front.html", "front.json", "front.png", "space.yaml"}
    assert (tmp_path / "mlartifacts" / run.info.run_id / "artifacts" / "front.png").is_file()
    assert artifact(uri, "best.yaml") == best.read_text()
    assert yaml.safe_load(artifact(uri, "space.yaml")) == SPACE
    environment = json.loads(artifact(uri, "environment.json"))
    assert environment["packages"]["torch"] == "2.6"
    page = artifact(uri, "front.html")
    assert "<script src=" not in page  # it shows without a network
    assert "95% interval" in page
    assert "`t=1`" in run.data.tags["mlflow.note.content"]
    assert "| rider " in run.data.tags["mlflow.note.content"]


def test_the_front_is_a_table_in_mlflow(uri, storage, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # `load_table` looks nowhere else
    sweep = Sweep(storage).run()
    sweep.tracking(uri).sync()
    run = parent(uri)
    table = connect(uri).load_table(run.info.experiment_id, "front.json", [run.info.run_id])
    assert list(table["number"]) == [3, 2, 0, 1, 5]  # the front first, by mIoU, and last what was stopped
    assert list(table["state"]) == ["complete"] * 4 + ["stopped"]
    assert list(table["epochs"]) == [3, 3, 3, 3, 1]
    assert list(table["on_front"]) == [True, True, False, False, False]
    assert list(table["recommended"]) == [False, True, False, False, False]
    assert list(table["worst_class"]) == ["rider"] * 5
    assert table["worst_iou"].tolist() == pytest.approx([0.12, 0.30, 0.10, 0.08, 0.30])
    assert list(table["loss"]) == ["class_tilt", "class_tilt", "mcce", "class_tilt", "class_tilt"]
    assert np.isnan(table["t"][2])  # a baseline was not searched
    assert {"miou", "std_iou", "bottom25_iou", "label", "role"} <= set(table.columns)


def test_points_of_the_picture(storage):
    sweep = Sweep(storage)
    assert front_points(sweep.outcome, NAMES) == []
    assert front_table(sweep.outcome, NAMES) == {"columns": [], "data": []}
    points = front_points(sweep.run().outcome, NAMES)
    assert [point.number for point in points] == [0, 1, 2, 3, 5]  # neither the failed nor the confirming trial
    assert [point.role for point in points] == ["baseline", "search", "search", "search", "search"]
    assert [point.on_front for point in points] == [False, False, True, True, False]
    assert [point.recommended for point in points] == [False, False, True, False, False]
    assert [point.stopped for point in points] == [False, False, False, False, True]
    assert points[2].details == {"loss": "class_tilt", "t": "1", "worst class": "rider (0.3000)", "epochs": "3 of 3"}
    assert (points[4].x, points[4].y) == pytest.approx((0.6, 0.3))
    assert points[4].details["epochs"] == "1 of 3"
    assert points[4].details["stopped"] == OUTDONE
    assert points[2].interval_x == pytest.approx((0.47, 0.50))
    assert points[2].interval_y == pytest.approx((0.27, 0.31))


def test_only_complete_trials_are_exported(storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = make_streets(tmp_path / "data", train=1, val=1, test=1, size=(32, 32))
    sweep = Sweep(storage, dataset=str(tmp_path / "data"))
    iou = np.full(data.num_classes, 0.9)
    stopped = sweep.begin("search", "t=4", {"loss": "class_tilt", "t": 4.0})
    sweep.record.add_epoch(stopped, EpochResult(1, 1.0, 0.1, tuple(iou), {}, None, 1.0, 1.0), 1.0)
    sweep.end(stopped, PRUNED, OUTDONE)
    with pytest.raises(UserError, match="no completed trial"):
        export(["streets-1", "--storage", storage])
    complete = sweep.begin("search", "t=1", {"loss": "class_tilt", "t": 1.0})
    for epoch in range(1, EPOCHS + 1):
        sweep.record.add_epoch(complete, EpochResult(epoch, 1.0, 0.1, tuple(iou / 2), {}, None, 1.0, 1.0), 1.0)
    sweep.end(complete)
    export(["streets-1", "--storage", storage])
    export(["streets-1", "--storage", storage, "--all"])
    paths = sorted((tmp_path / "runs").rglob("*.yaml"))
    assert [path.name for path in paths] == ["best.yaml", f"trial-{complete:05d}.yaml"]
    for path in paths:
        saved, config = read_export(path)
        assert (saved["sweep"]["trial"], config.t) == (complete, 1.0)
        assert saved["measured"]["epochs"] == saved["trial"]["epochs"] == EPOCHS


def test_two_sweeps_of_one_name_stay_apart(uri, storage, tmp_path):
    Sweep(storage).run().tracking(uri).sync()
    other = Sweep(f"sqlite:///{tmp_path}/elsewhere.db")
    other.train(other.begin("baseline", "mcce"), 0.3, 0.1)
    assert other.tracking(uri).sync()
    assert len(runs(uri, "tags.role = 'sweep' and tags.sweep = 'streets-1'")) == 2
    assert len(runs(uri, "tags.trial = '0'")) == 2


def test_an_unreachable_server_costs_little_and_is_caught_up_with(uri, storage, caplog, tmp_path, empty_store):
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(f"http://watcher:secret@127.0.0.1:{free_port()}")
    began = time.monotonic()
    sweep.run()
    sweep.listener.sweep_ended("FINISHED")
    assert time.monotonic() - began < 60
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]  # once, not per epoch
    assert "\n" not in warning.getMessage()
    assert "secret" not in warning.getMessage()
    assert not sweep.listener.sync()
    assert runs(uri) == []
    assert sweep.tracking(uri).sync()
    later = f"sqlite:///{tmp_path}/never-down.db"
    shutil.copy(empty_store, tmp_path / "never-down.db")
    sweep.tracking(later).sync()
    assert content(uri) == content(later)
    assert len(runs(uri)) == 8
    assert parent(uri).info.status == "FINISHED"


def test_an_outage_in_the_midst_is_caught_up_with(uri, storage, caplog, capfd, monkeypatch):
    monkeypatch.setattr(tracking, "PAUSE", 0.0)
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    sweep.train(sweep.begin("baseline", "mcce"), 0.5, 0.1)
    sweep.end(0)
    outage(uri)
    sweep.begin("search", "t=1", {"loss": "class_tilt", "t": 1.0})
    sweep.train(1, 0.49, 0.3, epochs=[1, 2])
    outage(uri, over=True)
    sweep.listener.next_attempt = 0.0  # time passes
    sweep.train(1, 0.49, 0.3, epochs=[3])
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 2  # and nothing from MLflow
    assert capfd.readouterr() == ("", "")
    assert "lags behind" in said[0]
    assert "up to date" in said[1]
    (run,) = runs(uri, "tags.trial = '1'")
    assert [step for step, _, _ in history(uri, run, "miou")] == [1, 2, 3]
    assert len(runs(uri)) == 3


def test_during_an_outage_attempts_are_rare(uri, storage):
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    outage(uri)
    sweep.begin("baseline", "mcce")
    first = sweep.listener.next_attempt
    assert first >= time.monotonic() + 0.9 * tracking.PAUSE
    sweep.train(0, 0.5, 0.1)
    assert sweep.listener.next_attempt == first  # not one attempt more
    outage(uri, over=True)
    assert sweep.listener.sync()  # asked for by name it does not wait


def corrupt(uri, damage):
    """The URI of a store that cannot be used; a whole one is at `uri`."""
    path = Path(uri.removeprefix("sqlite:///"))
    if damage == "no store":
        return str(path.parent / "no" / "such:store")
    if damage == "not a database":
        path.write_bytes(b"not a database " * 1000)
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if damage == "a folder":
        path.unlink()
        path.mkdir()
    if damage == "below a file":
        return f"{uri}/mlflow.db"
    deleted = f"insert into experiments (name, lifecycle_stage) values ('{EXPERIMENT}', 'deleted')"
    statement = {
        "of another version": "update alembic_version set version_num = 'fffffffffff'",
        "of other columns": "alter table metrics rename column value to nonsense",
        "its experiment is deleted": deleted,
    }.get(damage)
    if statement:
        with sqlite3.connect(path) as store:
            store.execute(statement)
    return uri


@pytest.mark.parametrize(
    "damage",
    [
        "no store",
        "not a database",
        "cut off",
        "a folder",
        "below a file",
        "of another version",
        "of other columns",
        "its experiment is deleted",
    ],
)
def test_a_store_that_cannot_be_used_costs_one_line_and_little_time(uri, storage, caplog, damage):
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(corrupt(uri, damage))
    began = time.monotonic()
    sweep.run()
    sweep.listener.sweep_ended("FINISHED")
    assert time.monotonic() - began < 60  # MLflow's own attempts: two minutes for a folder
    assert not sweep.listener.sync()
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "lags behind" in said[0]


def test_a_store_that_holds_nonsense_about_the_sweep_does_not_end_it(uri, storage):
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    sweep.train(sweep.begin("baseline", "mcce"), 0.5, 0.1, epochs=[1])
    (run,) = runs(uri, "tags.trial = '0'")
    for number in ("-7", "zero", "", "999"):
        tags = {**sweep.listener.mirror.runs[0].tags, "trial": number}
        connect(uri).create_run(run.info.experiment_id, tags=tags)
    sweep.listener.sync()
    sweep.train(0, 0.5, 0.1, epochs=[2, 3])
    sweep.end(0)
    sweep.listener.sweep_ended("FINISHED")
    assert [step for step, _, _ in history(uri, run, "miou")] == [1, 2, 3]
    assert connect(uri).get_run(run.info.run_id).data.tags["state"] == "COMPLETE"


def test_a_store_that_is_moved_in_the_midst_is_said_once_and_caught_up_with(uri, storage, caplog, monkeypatch):
    monkeypatch.setattr(tracking, "PAUSE", 0.0)
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    sweep.train(sweep.begin("baseline", "mcce"), 0.5, 0.1)
    before = Path(uri.removeprefix("sqlite:///"))
    after = before.with_name("after.db")
    before.rename(after)
    sweep.end(0)
    sweep.listener.sweep_ended("FINISHED")
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    assert sweep.tracking(f"sqlite:///{after}").sync()
    assert numbers(f"sqlite:///{after}", "attributes.status = 'FINISHED'") == [0]


def test_a_trial_without_any_class_is_shown_and_does_not_hide_the_others(uri, storage):
    sweep = Sweep(storage)
    nothing = EpochResult(1, math.inf, 0.1, (math.nan,) * 4, {}, None, 2.0, 0.5)
    sweep.record.add_epoch(sweep.begin("baseline", "mcce"), nothing, 1.0)
    sweep.end(0, FAIL, "the objectives are not finite after epoch 1")
    sweep.train(sweep.begin("search", "t=1", {"loss": "class_tilt", "t": 1.0}), 0.49, 0.3)
    sweep.end(1)
    assert sweep.tracking(uri).sync()
    before = rows(uri)
    assert sweep.tracking(uri).sync()
    assert rows(uri) == before
    (failed,) = runs(uri, "attributes.status = 'FAILED'")
    assert failed.data.metrics == {"lr": 0.1, "seconds": 2.5}
    read = Mirror(SweepView(sweep.outcome, NAMES), uri, EXPERIMENT)
    assert read.runs[0].marks == {("seconds", 1)}  # known to be there, so not even tried again
    assert read.runs[1].marks == {("seconds", epoch) for epoch in (1, 2, 3)}
    assert numbers(uri, "tags.pareto = 'true'") == [1]


def test_a_sweep_whose_end_was_missed_is_shown_as_finished(uri, storage):
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    sweep.train(sweep.begin("baseline", "mcce"), 0.5, 0.1, epochs=[1])
    sweep.listener.sweep_ended("KILLED")
    sweep.listener = None  # it goes on, and MLflow is down
    sweep.train(0, 0.5, 0.1, epochs=[2, 3])
    sweep.end(0)
    assert sweep.tracking(uri).sync()
    assert parent(uri).info.status == "KILLED"  # there may be more to come
    sweep.record.finish()
    assert sweep.tracking(uri).sync()
    assert parent(uri).info.status == "FINISHED"


def test_the_command_writes_a_sweep_later(uri, storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = make_streets(tmp_path / "data", train=1, val=1, test=1, size=(32, 32))
    record = Record.create(storage, plan(dataset=str(tmp_path / "data")))
    number = record.begin("baseline", "mcce", TrialConfig().model_dump(mode="json")).number
    iou = tuple(np.linspace(0.9, 0.1, data.num_classes))
    record.add_epoch(number, EpochResult(1, 1.0, 0.1, iou, {}, None, 1.0, 1.0), 1.0)
    record.end(number, COMPLETE, None, seconds=2.0)
    # An old file store, which MLflow would choose (and refuse) if it were left to choose.
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    (tmp_path / "mlruns" / "0" / "meta.yaml").write_text("name: Default\n")
    assert tracking.main(["streets-1", "--storage", storage]) == 0
    assert {key for key in runs(uri, "tags.trial = '0'")[0].data.metrics if key.startswith("iou/")} == set(
        metric_keys(data.class_names)
    )
    assert (tmp_path / "mlartifacts").is_dir()
    assert tracking.main(["streets-1", "--storage", storage, "--tracking-uri", "nowhere://"]) == 1


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back(uri, storage, tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    monkeypatch.setattr(tracking, "PAUSE", 0.0)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store = ["--backend-store-uri", uri, "--artifacts-destination", str(tmp_path / "artifacts")]

    def start():
        server = subprocess.Popen(command + store, cwd=tmp_path, start_new_session=True)
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                return server
            except OSError:
                time.sleep(0.5)
        stop(server)
        raise TimeoutError("the MLflow server does not start")

    def stop(server):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # with the workers that it started
        server.wait()

    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(f"http://127.0.0.1:{port}")
    server = start()
    try:
        sweep.train(sweep.begin("baseline", "mcce"), 0.5, 0.1)
        sweep.end(0)
        assert sweep.listener.mirror is not None
        stop(server)
        sweep.begin("search", "t=1", {"loss": "class_tilt", "t": 1.0})
        sweep.train(1, 0.49, 0.3, epochs=[1, 2])
        assert sweep.listener.behind
        server = start()
        sweep.train(1, 0.49, 0.3, epochs=[3])
        sweep.end(1)
        sweep.listener.sweep_ended("FINISHED")
        assert not sweep.listener.behind
        remote = f"http://127.0.0.1:{port}"
        assert len(runs(remote)) == 3
        for number in ("0", "1"):
            (run,) = runs(remote, f"tags.trial = '{number}'")
            assert [step for step, _, _ in history(remote, run, "miou")] == [1, 2, 3]
        assert parent(remote).info.status == "FINISHED"
        assert (tmp_path / "artifacts").is_dir()
        assert len(json.loads(artifact(remote, "front.json"))["data"]) == 2
    finally:
        stop(server)
