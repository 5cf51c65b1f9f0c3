"""`sweeps.commands.export`: which trials are exported, and what a file states."""

import numpy as np
import pytest
import yaml

from sweeps.commands.export import export_sweep
from sweeps.commands.export import main as export
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


# Logit adjustment


@pytest.fixture
def curved_sweep(storage, tmp_path, monkeypatch):
    """Trial 1 is recommended with tau 0.5; tau 0 and tau 1 are on the front, too. There is one fresh seed."""
    monkeypatch.chdir(tmp_path)
    data = make_streets(tmp_path / "data", train=1, val=1, test=1, size=(32, 32))
    sweep = Sweep(storage, dataset=str(tmp_path / "data"))

    def run(role, label, repeats=None, **curve):
        """`curve`: the IoU of the first class and of all others, by tau in percent."""
        number = sweep.begin(role, label, repeats=repeats)
        scores = [
            Scores(int(key[3:]) / 100, (first, *[others] * (data.num_classes - 1)), intervals={"miou": (0.1, 0.9)})
            for key, (first, others) in curve.items()
        ]
        test = tuple(scores) if role == "confirm" else None
        sweep.record.add_epoch(number, EpochResult(1, 1.0, 0.1, tuple(scores), None, 1.0, 1.0, test), 1.0)
        sweep.end(number)

    run("baseline", "mcce", tau0=(0.1, 0.5), tau25=(0.2, 0.48), tau100=(0.3, 0.3))
    run("search", "t=1", tau0=(0.3, 0.6), tau50=(0.4, 0.55), tau100=(0.405, 0.405))
    run("confirm", "mcce seed=1", 0, tau0=(0.11, 0.51), tau25=(0.21, 0.47), tau100=(0.3, 0.3))
    run("confirm", "t=1 seed=1", 1, tau0=(0.31, 0.6), tau50=(0.38, 0.54), tau100=(0.4, 0.4))
    return sweep, data.class_names


def test_an_exported_file_states_the_adjustment_and_what_it_changes(curved_sweep, storage):
    _, names = curved_sweep
    (path,) = export_sweep("streets-1", runtime=Runtime(storage=storage))
    saved = read_export(path)
    assert (saved.sweep.trial, saved.logit_adjustment) == (1, 0.5)
    worst = names[0]
    for section, tau, first, others in (
        (saved.measured, 0.5, 0.4, 0.55),
        (saved.measured_plain, 0.0, 0.3, 0.6),
        (saved.baseline, 0.0, 0.1, 0.5),
        (saved.baseline_adjusted, 0.25, 0.2, 0.48),
        (*saved.confirmed, 0.5, 0.38, 0.54),
        (*saved.baseline_confirmed, 0.0, 0.11, 0.51),
        (*saved.baseline_adjusted_confirmed, 0.25, 0.21, 0.47),
    ):
        assert (section.logit_adjustment, section.worst_class, section.worst_iou) == (tau, worst, first)
        assert section.iou == dict.fromkeys(names, others) | {worst: first}
        assert section.miou == pytest.approx((first + 9 * others) / 10)
        if section in (saved.measured, saved.measured_plain, saved.baseline, saved.baseline_adjusted):
            assert section.test is None
        else:
            assert (section.test.worst_class, section.test.worst_iou, section.test.iou) == (worst, first, section.iou)
            assert section.test.miou == section.miou
    assert saved.measured.intervals_95 == {"miou": (0.1, 0.9)}
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["logit_adjustment"] == 0.5


def test_every_point_of_the_front_has_a_file(curved_sweep, storage):
    paths = export_sweep("streets-1", whole_front=True, runtime=Runtime(storage=storage))
    assert {path.name: read_export(path).logit_adjustment for path in paths} == {
        "trial-00001.yaml": 0.0,
        "trial-00001-tau-0.5.yaml": 0.5,
        "trial-00001-tau-1.yaml": 1.0,
    }
    plain = read_export(paths[-1])
    assert (plain.logit_adjustment, plain.measured_plain, plain.measured.logit_adjustment) == (0.0, None, 0.0)
    assert plain.baseline_adjusted.logit_adjustment == 0.25


def test_a_baseline_that_no_adjustment_suits_has_no_such_section(storage, curved_sweep):
    """With so little allowance for the mIoU."""
    floors = ["miou=-0.001"]
    (path,) = export_sweep("streets-1", floors=floors, runtime=Runtime(storage=storage))
    saved = read_export(path)
    assert saved.baseline is not None
    assert (saved.baseline_adjusted, saved.baseline_adjusted_confirmed) == (None, ())


@pytest.mark.parametrize("tau", [0.3, -0.25, ".nan", "strong"])
def test_a_strength_that_no_evaluation_measures_is_refused_in_one_line(curved_sweep, storage, tau):
    (path,) = export_sweep("streets-1", runtime=Runtime(storage=storage))
    path.write_text(
        path.read_text(encoding="utf-8").replace("\nlogit_adjustment: 0.5\n", f"\nlogit_adjustment: {tau}\n"),
        encoding="utf-8",
    )
    with pytest.raises(UserError, match=r"^\S+best.yaml: logit_adjustment = [^\n]+; export it again$") as raised:
        read_export(path)
    if tau != "strong":
        assert "give one of 0, 0.25, 0.5, 0.75, 1" in str(raised.value)
