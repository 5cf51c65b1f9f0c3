"""`sweeps.reporting.mlflow_view`: the runs in MLflow for a record. Real Optuna and real MLflow, both on SQLite."""

import json
import math
import sqlite3
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import yaml

from sweeps.reporting.mlflow_connection import connect
from sweeps.reporting.mlflow_store import BATCH, Mirror
from sweeps.reporting.mlflow_view import SweepView, metric_keys
from sweeps.reporting.tracking import EXPERIMENT, Tracking
from sweeps.storage.objectives import Floor
from sweeps.storage.record import Record
from sweeps.strategy.outcome import Outcome
from sweeps.strategy.pareto import hypervolume
from tce_core.adjust import TAUS
from tce_core.results import EpochResult, Scores
from tests.sweeps.shown import (
    FAIL,
    NAMES,
    OUTDONE,
    PRUNED,
    SPACE,
    Sweep,
    adjusted,
    artifact,
    history,
    numbers,
    parent,
    result,
    rows,
    runs,
)

CURVED = adjusted(result(1, 0.52, 0.12), {0.5: (0.49, 0.30), 1.0: (0.48, 0.35)})


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
    assert metric_keys(["a b", "a/b", "a_b_0"]) == ["iou/a_b_0", "iou/a_b_1", "iou/a_b_0_2"]


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
    assert numbers(uri, "tags.pareto = 'true'") == [point.trial.number for point in sweep.outcome.front()] == [1, 2]
    assert numbers(uri, "tags.recommended = 'true'") == [1]


def test_a_failed_trial_shows_its_reason_and_a_confirmation_run_the_trial_it_repeats(uri, storage):
    Sweep(storage).run().tracking(uri).sync()
    (failed,) = runs(uri, "attributes.status = 'FAILED'")
    assert failed.data.tags["trial"] == "4"
    assert failed.data.tags["state"] == "FAIL"
    assert failed.data.tags["reason"] == "the loss is not finite\nat step 3"
    assert failed.data.tags["epochs"] == "1"
    assert "pareto" not in failed.data.tags
    (again,) = runs(uri, "tags.role = 'confirm'")
    assert again.data.tags["repeats"] == "2"
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


def test_the_epochs_tag_is_updated_while_a_trial_trains(uri, storage):
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    number = sweep.begin("baseline", "mcce")
    assert "epochs" not in runs(uri, "tags.trial = '0'")[0].data.tags
    for epoch in (1, 2):
        sweep.train(number, 0.5, 0.1, epochs=[epoch])
        assert runs(uri, "tags.trial = '0'")[0].data.tags["epochs"] == str(epoch)


def test_the_note_states_the_epochs_spent_and_those_of_full_length_trials(uri, storage):
    Sweep(storage).run().tracking(uri).sync()
    note = parent(uri).data.tags["mlflow.note.content"]
    # 5 trials of 3 epochs and 2 of 1 epoch
    spent = "Spent 17 epochs on 7 trials (1 stopped early): 81% of the 21 epochs that full-length trials need."
    assert f"\n\n{spent}\n\n" in note


def test_progress_follows_the_epochs_spent_and_not_the_clock(uri, storage, tmp_path):
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
    with sqlite3.connect(storage.removeprefix("sqlite:///")) as store:  # as when daylight saving time ends
        clock = {2: "2026-01-01 12:00:00", 0: "2026-01-01 11:00:00", 1: "2026-01-01 11:30:00"}
        for number, time_ in clock.items():
            changed = store.execute("update trials set datetime_complete = ? where number = ?", (time_, number))
            assert changed.rowcount == 1
    record = Record.load(storage, "streets-1")
    Tracking(Outcome(record, record.plan.objectives), NAMES, uri).sync()
    ended = [[values[2]], [values[2], values[0]], [values[2], values[0], values[1]]]
    steps = history(uri, parent(uri), "hypervolume")
    assert [step for step, _, _ in steps] == [1, 2, 3]
    assert [value for _, value, _ in steps] == pytest.approx([hypervolume(points, (0, 0)) for points in ended])
    assert len({time for _, _, time in steps}) == 1  # the latest time so far; times never go back
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
    tracking.sync()  # `best.yaml` is written at the end, so it does not exist yet
    best.write_text("trial: {t: 1.0}\n")
    (tmp_path / "report.html").write_text("<html>")
    tracking.sweep_ended("FINISHED")
    client, run = connect(uri), parent(uri)
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    fronts = {f"front.{kind}" for kind in ("html", "json", "png", "svg")}
    assert files == {"best.yaml", "environment.json", "report.html", "space.yaml"} | fronts
    assert artifact(uri, "report.html") == "<html>"
    assert (tmp_path / "mlartifacts" / run.info.run_id / "artifacts" / "front.png").is_file()
    assert artifact(uri, "best.yaml") == best.read_text()
    assert yaml.safe_load(artifact(uri, "space.yaml")) == SPACE
    environment = json.loads(artifact(uri, "environment.json"))
    assert environment["packages"]["torch"] == "2.6"
    page = artifact(uri, "front.html")
    assert "<script src=" not in page  # the page works without a network
    assert "95% interval" in page
    assert "`t=1`" in run.data.tags["mlflow.note.content"]
    assert "| rider " in run.data.tags["mlflow.note.content"]


def test_the_front_is_a_table_in_mlflow(uri, storage, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # `load_table` reads only this variable
    sweep = Sweep(storage).run()
    sweep.tracking(uri).sync()
    run = parent(uri)
    table = connect(uri).load_table(run.info.experiment_id, "front.json", [run.info.run_id])
    assert list(table["number"]) == [3, 2, 0, 1, 5]  # the front by falling mIoU, the others, then stopped trials
    assert list(table["state"]) == ["complete"] * 4 + ["stopped"]
    assert list(table["epochs"]) == [3, 3, 3, 3, 1]
    assert list(table["on_front"]) == [True, True, False, False, False]
    assert list(table["recommended"]) == [False, True, False, False, False]
    assert list(table["worst_class"]) == ["rider"] * 5
    assert table["worst_iou"].tolist() == pytest.approx([0.12, 0.30, 0.10, 0.08, 0.30])
    assert list(table["loss"]) == ["class_tilt", "class_tilt", "mcce", "class_tilt", "class_tilt"]
    assert np.isnan(table["t"][2])  # a baseline has no searched parameters
    assert {"miou", "std_iou", "bottom25_iou", "label", "role"} <= set(table.columns)


def test_a_trial_without_any_class_iou_is_shown_and_does_not_hide_the_others(uri, storage):
    sweep = Sweep(storage)
    nothing = EpochResult(1, math.inf, 0.1, (Scores(0.0, (math.nan,) * 4),), None, 2.0, 0.5)
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
    assert read.runs[0].marks == {("seconds", 1)}  # known to be written, so not written again
    assert read.runs[1].marks == {("seconds", epoch) for epoch in (1, 2, 3)}
    assert numbers(uri, "tags.pareto = 'true'") == [1]


def test_other_floors_can_change_the_best_measures_without_a_new_trial(uri, storage):
    sweep = Sweep(storage).run()
    tracking = sweep.tracking(uri)
    tracking.sync()
    assert parent(uri).data.metrics["best_trial"] == 2
    sweep.record.reopen(sweep.record.plan.extended(floors=(Floor("miou", 0.51, relative=False),)))
    sweep.outcome = Outcome(sweep.record, sweep.record.plan.objectives)
    sweep.tracking(uri).sync()
    assert parent(uri).data.metrics["best_trial"] == 3


# Logit adjustment


def test_each_strength_has_metrics_and_the_best_one_is_in_the_sweep_and_its_note(uri, storage):
    sweep = Sweep(storage).run_adjusted()
    assert sweep.tracking(uri).sync()
    (run,) = runs(uri, "tags.trial = '1'")
    assert [value for _, value, _ in history(uri, run, "tau_0.5/miou")] == pytest.approx([0.49 / 3, 0.98 / 3, 0.49])
    assert run.data.metrics["tau_0.5/worst_iou"] == pytest.approx(0.30)
    assert run.data.metrics["tau_1/worst_iou"] == pytest.approx(0.35)
    assert run.data.metrics["worst_iou"] == pytest.approx(0.12)  # that of the plain model
    assert "tau_0/miou" not in run.data.metrics
    assert "tau_1/miou" not in runs(uri, "tags.trial = '0'")[0].data.metrics
    top = parent(uri)
    best = {key: top.data.metrics[f"best_{key}"] for key in ("trial", "tau", "miou", "worst_iou")}
    assert best == pytest.approx({"trial": 1, "tau": 0.5, "miou": 0.49, "worst_iou": 0.30})
    assert numbers(uri, "tags.pareto = 'true'") == [1]
    note = top.data.tags["mlflow.note.content"]
    assert note.startswith("**Recommended:** trial 1, `t=1 τ=0.5`\n")
    assert "worst-class IoU 0.300 (95% interval 0.270 to 0.310)" in note
    assert "next to the baseline `mcce` (trial 0)" in note
    before = rows(uri)
    assert sweep.tracking(uri).sync()
    assert rows(uri) == before


def test_an_adjusted_baseline_that_wins_is_beside_its_plain_model_in_the_note(uri, storage):
    sweep = Sweep(storage).run_adjusted(baseline={0.5: (0.50, 0.45)})
    assert sweep.tracking(uri).sync()
    note = parent(uri).data.tags["mlflow.note.content"]
    assert "trial 0, `mcce τ=0.5`" in note
    (rider,) = [line for line in note.splitlines() if line.startswith("| rider")]
    assert "0.100" in rider
    assert "0.450" in rider


@pytest.mark.parametrize(("objective", "key"), [("iou:rider", "iou/rider"), ("worst_recall", "worst_recall")])
def test_the_leading_measure_is_a_metric_of_every_strength(storage, objective, key):
    """MLflow orders the trials by this metric."""
    sweep = Sweep(storage)
    number = sweep.begin("search", "t=1", {"t": 1.0})
    found = [replace(one, measures={"worst_recall": one.iou[3]}) for one in CURVED.curve]
    for epoch in range(1, 4):
        sweep.record.add_epoch(number, replace(CURVED, epoch=epoch, curve=tuple(found)), 1.0)
    sweep.end(number)
    outcome = Outcome(sweep.record, replace(sweep.outcome.objectives, objective=objective, classes=NAMES))
    view = SweepView(outcome, NAMES)
    (*_, last) = view.trial(number).steps
    assert view.lead_key == key
    assert {name: last.values[name] for name in (key, f"tau_0.5/{key}", f"tau_1/{key}")} == pytest.approx(
        {key: 0.12, f"tau_0.5/{key}": 0.30, f"tau_1/{key}": 0.35}
    )
    assert view.sweep().steps[-1].values[f"best_{key}"] == pytest.approx(0.35)


def test_a_step_of_many_strengths_and_classes_fits_into_one_call_of_mlflow(storage):
    """150 classes, as ADE20K has. A step is written at once, or its mark would promise more than is there."""
    sweep, names = Sweep(storage), [f"class {index}" for index in range(150)]
    curve = tuple(Scores(tau, (0.5,) * 150) for tau in TAUS)
    number = sweep.begin("search", "t=1", {"t": 1.0})
    sweep.record.add_epoch(number, EpochResult(1, 1.0, 0.1, curve, None, 1.0, 1.0), 1.0)
    (step,) = SweepView(sweep.outcome, names).trial(number).steps
    assert {f"tau_{tau:g}/miou" for tau in TAUS[1:]} <= step.values.keys()
    assert len(step.values) <= BATCH
    assert next(iter(step.values)) == "seconds"
