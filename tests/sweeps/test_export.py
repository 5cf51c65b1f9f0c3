"""`sweeps.export`: which trials are exported."""

import numpy as np
import pytest

from sweeps.export import export_sweep
from sweeps.export import main as export
from sweeps.reporting.export_file import read_export
from sweeps.strategy.options import Runtime
from tce_core.data.streets.dataset import make_streets
from tce_core.errors import UserError
from tce_core.results import EpochResult, Scores
from tests.sweeps.shown import EPOCHS, OUTDONE, PRUNED, Sweep


def test_only_complete_trials_are_exported(storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = make_streets(tmp_path / "data", train=1, val=1, test=1, size=(32, 32))
    sweep = Sweep(storage, dataset=str(tmp_path / "data"))
    iou = np.full(data.num_classes, 0.9)
    stopped = sweep.begin("search", "t=4", {"loss": "class_tilt", "t": 4.0})
    sweep.record.add_epoch(stopped, EpochResult(1, 1.0, 0.1, (Scores(0.0, tuple(iou)),), None, 1.0, 1.0), 1.0)
    sweep.end(stopped, PRUNED, OUTDONE)
    with pytest.raises(UserError, match=f"no trial was trained to its end: {OUTDONE}"):
        export(["streets-1", "--storage", storage])
    complete = sweep.begin("search", "t=1", {"loss": "class_tilt", "t": 1.0})
    for epoch in range(1, EPOCHS + 1):
        sweep.record.add_epoch(
            complete, EpochResult(epoch, 1.0, 0.1, (Scores(0.0, tuple(iou / 2)),), None, 1.0, 1.0), 1.0
        )
    sweep.end(complete)
    export(["streets-1", "--storage", storage])
    export(["streets-1", "--storage", storage, "--all"])
    paths = sorted((tmp_path / "runs").rglob("*.yaml"))
    assert [path.name for path in paths] == ["best.yaml", f"trial-{complete:05d}.yaml"]
    for path in paths:
        saved = read_export(path)
        assert (saved.sweep.trial, saved.trial.t) == (complete, 1.0)
        assert saved.measured.epochs == saved.trial.epochs == EPOCHS


def test_another_objective_and_other_floors_choose_another_trial(storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = make_streets(tmp_path / "data", train=1, val=1, test=1, size=(32, 32))
    sweep = Sweep(storage, dataset=str(tmp_path / "data"))
    for label, first, second in (("mcce", 0.5, 0.5), ("t=1", 0.6, 0.7), ("t=2", 0.7, 0.4)):
        number = sweep.begin("baseline" if label == "mcce" else "search", label)
        iou = (first, second, *[0.5] * (data.num_classes - 2))
        sweep.record.add_epoch(number, EpochResult(1, 1.0, 0.1, (Scores(0.0, iou),), None, 1.0, 1.0), 1.0)
        sweep.end(number)
    one, two = data.class_names[:2]

    def chosen(**asked):
        (path,) = export_sweep("streets-1", runtime=Runtime(storage=storage), **asked)
        return read_export(path).sweep

    assert chosen(objective=f"iou:{one}").trial == 2
    assert chosen(objective=f"iou:{two}").trial == 1
    kept = chosen(objective=f"iou:{one}", floors=["others=-0.05"])
    assert (kept.trial, kept.objective, kept.floors) == (1, f"iou:{one}", ("others=-0.05",))
    with pytest.raises(UserError, match=f"no trial keeps the floors; nearest: trial 1: {two} 0.70 of 0.90; trial 0"):
        chosen(floors=[f"{two}=0.9"])
    with pytest.raises(UserError, match=f"objective 'iou:{one}x': no class"):
        chosen(objective=f"iou:{one}x")
    (front,) = export_sweep("streets-1", floors=[f"{two}=0.9"], whole_front=True, runtime=Runtime(storage=storage))
    assert read_export(front).sweep.trial == 1  # the front can be exported, whether or not a trial keeps the floors


def test_an_unknown_objective_is_refused_from_python_too(storage):
    with pytest.raises(UserError, match="objective 'accuracy': it is one of worst_iou, miou"):
        export_sweep("streets-1", objective="accuracy", runtime=Runtime(storage=storage))
