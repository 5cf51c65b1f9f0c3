"""`sweeps.reporting.tracking`: MLflow shows the record, written during the sweep or later, once or several times."""

import shutil

import numpy as np

from sweeps.commands import tracking
from sweeps.reporting.mlflow_store import Mirror
from sweeps.reporting.mlflow_view import metric_keys
from sweeps.reporting.tracking import Tracking
from sweeps.storage.record import Record
from sweeps.strategy.outcome import Outcome
from tce_core.config import TrialConfig
from tce_core.data.streets.dataset import make_streets
from tce_core.results import EpochResult, Scores
from tests.sweeps.shown import COMPLETE, EPOCHS, NAMES, Sweep, content, history, numbers, parent, plan, rows, runs


def test_writing_again_changes_nothing(uri, storage):
    sweep = Sweep(storage).run()
    tracking = sweep.tracking(uri)
    tracking.sync()
    before = rows(uri)
    tracking.sync()
    sweep.tracking(uri).sync()
    again = Record.load(storage, "streets-1")
    Tracking(Outcome(again, again.plan.objectives), NAMES, uri).sync()
    assert rows(uri) == before


def test_writing_during_a_sweep_and_writing_afterwards_show_the_same(uri, storage, tmp_path, empty_store):
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


def test_a_resumed_sweep_continues_in_the_same_runs(uri, storage):
    """The sweep is interrupted after one epoch and resumed from its record. Its MLflow runs are used again."""
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
    assert parent(uri).info.status == "KILLED"  # no trial has begun again yet
    sweep.listener.on_trial_start(number)
    assert parent(uri).info.status == "RUNNING"
    sweep.train(number, 0.5, 0.1)  # the first epoch is repeated
    sweep.end(number)
    sweep.listener.sweep_ended("FINISHED")
    assert parent(uri).info.status == "FINISHED"
    (run,) = runs(uri, "tags.trial = '0'")
    assert run.info.status == "FINISHED"
    assert run.info.end_time >= run.info.start_time
    assert [step for step, _, _ in history(uri, run, "iou/rider")] == [1, 2, 3]


def test_the_end_of_a_trial_compares_only_the_runs_that_it_can_change(uri, storage, monkeypatch):
    """Those of the front before and after, and its own: else the time would grow with the number of trials."""
    compared, show_trial = [], Mirror.show_trial

    def noted(mirror, view, number):
        compared.append(number)
        show_trial(mirror, view, number)

    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    for miou in (0.50, 0.40, 0.41, 0.42, 0.55):
        number = sweep.begin("search", f"t={miou}", {"loss": "class_tilt", "t": miou})
        sweep.train(number, miou, 0.1, epochs=[EPOCHS])
        if number == 4:
            monkeypatch.setattr(Mirror, "show_trial", noted)
        sweep.end(number)
    assert compared == [0, 4]  # trial 4 takes the place of trial 0 on the front
    assert numbers(uri, "tags.pareto = 'true'") == [4]


def test_two_sweeps_of_one_name_stay_apart(uri, storage, tmp_path):
    """Two storages hold a sweep of the same name. Each of them has a parent run of its own in MLflow."""
    Sweep(storage).run().tracking(uri).sync()
    other = Sweep(f"sqlite:///{tmp_path}/elsewhere.db")
    other.train(other.begin("baseline", "mcce"), 0.3, 0.1)
    assert other.tracking(uri).sync()
    assert len(runs(uri, "tags.role = 'sweep' and tags.sweep = 'streets-1'")) == 2
    assert len(runs(uri, "tags.trial = '0'")) == 2


def test_a_sweep_that_ended_during_an_outage_is_shown_as_finished(uri, storage):
    """MLflow shows the sweep as killed and misses its end. A later `sync` of the finished record corrects it."""
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    sweep.train(sweep.begin("baseline", "mcce"), 0.5, 0.1, epochs=[1])
    sweep.listener.sweep_ended("KILLED")
    sweep.listener = None  # the sweep continues while MLflow is down
    sweep.train(0, 0.5, 0.1, epochs=[2, 3])
    sweep.end(0)
    assert sweep.tracking(uri).sync()
    assert parent(uri).info.status == "KILLED"  # the record is not finished yet
    sweep.record.finish()
    assert sweep.tracking(uri).sync()
    assert parent(uri).info.status == "FINISHED"


def test_the_tracking_command_writes_a_sweep_later(uri, storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = make_streets(tmp_path / "data", train=1, val=1, test=1, size=(32, 32))
    record = Record.create(storage, plan(dataset=str(tmp_path / "data")))
    number = record.begin("baseline", "mcce", TrialConfig().model_dump(mode="json")).number
    iou = tuple(np.linspace(0.9, 0.1, data.num_classes))
    record.add_epoch(number, EpochResult(1, 1.0, 0.1, (Scores(0.0, iou),), None, 1.0, 1.0), 1.0)
    record.end(number, COMPLETE, None, seconds=2.0)
    # An old file store: MLflow would use it (and fail) if no tracking URI was given.
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    (tmp_path / "mlruns" / "0" / "meta.yaml").write_text("name: Default\n")
    assert tracking.main(["streets-1", "--storage", storage]) == 0
    assert {key for key in runs(uri, "tags.trial = '0'")[0].data.metrics if key.startswith("iou/")} == set(
        metric_keys(data.class_names)
    )
    assert (tmp_path / "mlartifacts").is_dir()
    assert tracking.main(["streets-1", "--storage", storage, "--tracking-uri", "http://127.0.0.1:9"]) == 75
