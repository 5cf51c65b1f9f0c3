"""The command that adjusts a trained model: what it prints, what it writes, what it refuses."""

import json
import re
from functools import partial

import numpy as np
import pytest
import safetensors
import safetensors.torch
import segmentation_models_pytorch as smp
import torch

from sweeps.__main__ import main
from sweeps.commands import adjust
from sweeps.commands.adjust import AdjustOptions, adjust_weights
from tce_core import VOID
from tce_core.adjust import BEFORE, class_shares, folded_offset, offsets
from tce_core.checkpoint import export_weights, read_checkpoint
from tce_core.config import TrialConfig
from tce_core.data.dataset import SplitWriter, open_dataset
from tce_core.data.streets.dataset import make_streets
from tce_core.errors import UserError
from tce_core.evaluation import evaluate
from tce_core.results import measured_curve
from tce_core.training import train
from tce_core.weights import BIAS, Architecture, read_weights
from tests.sweeps.refusal import refusal
from tests.tce_core.states import Hostile

CPU = torch.device("cpu")
ENCODER = "tu-mobilenetv3_small_050"
CONFIG = TrialConfig(
    encoder=ENCODER,
    decoder_channels=16,
    crop=(32, 48),
    batch_size=4,
    epochs=1,
    steps_per_epoch=40,
    lr=0.05,
    precision="fp32",
)
FITTING = ["--encoder", ENCODER, "--atrous-rates", "6", "12", "18"]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with the data set `data`, the checkpoint `run.pt` of a short training and its weights."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("adjust")
    data = make_streets(folder / "data", seed=0, train=16, val=6, test=2, size=(64, 96))
    list(train(CONFIG, data, checkpoint=folder / "run.pt", device=CPU))
    metadata = {"config": CONFIG.model_dump_json(), "classes": json.dumps(data.class_names)}
    export_weights(read_checkpoint(folder / "run.pt")["model"], folder / "run.safetensors", metadata)
    state = safetensors.torch.load_file(folder / "run.safetensors")
    torch.save(state, folder / "state.pt")
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, folder / "nested.pth")
    safetensors.torch.save_file(state, folder / "plain.safetensors")
    model = smp.DeepLabV3Plus(
        ENCODER, encoder_weights=None, decoder_channels=16, decoder_atrous_rates=(6, 12, 18), classes=data.num_classes
    )
    model.load_state_dict(state)
    model.save_pretrained(folder / "saved")
    return folder


@pytest.fixture
def at(here, monkeypatch):
    monkeypatch.chdir(here)
    return here


refused = partial(refusal, "adjust")


def test_the_curve_is_printed_and_the_recommended_weights_are_written(at, capsys):
    result = adjust_weights(AdjustOptions(weights="run.safetensors", dataset="data", out=at / "out.safetensors"))
    data, printed = open_dataset("data"), capsys.readouterr().out
    rows = re.findall(r"^ ?([\d.]+) +([\d.]+) +([\d.]+)  (\S.*?) +([\d.]+)(  <- recommended)?$", printed, re.MULTILINE)
    assert [float(row[0]) for row in rows] == [scores.tau for scores in result.curve] == [i / 8 for i in range(13)]
    for row, scores in zip(rows, result.curve, strict=True):
        report = scores.report
        expected = [f"{value:.4f}" for value in (report.miou, report.worst_iou, report.sorted_bottom)]
        assert [row[1], row[2], row[4]] == expected
        assert row[3] == data.class_names[report.worst_class]
        assert bool(row[5]) is (scores.tau == result.recommended)
    floor = result.curve[0].report.miou - 0.01
    allowed = [scores for scores in result.curve if scores.report.miou >= floor]
    best = max(scores.report.worst_iou for scores in allowed)
    assert next(s for s in allowed if s.tau == result.recommended).report.worst_iou == best
    assert len(result.held_out.taus) == 2
    assert (result.weights is None) is (result.recommended == 0)


@pytest.mark.parametrize("tau", [0.5, 1.3])
def test_the_written_weights_predict_what_the_adjustment_predicts(at, tau):
    data = open_dataset("data")
    out = at / f"tau{tau}.safetensors"
    result = adjust_weights(AdjustOptions(weights="run.safetensors", dataset="data", out=out, tau=tau))
    written = read_weights(out)
    _, counts = evaluate(written.model, data.val, CPU)
    (scores,) = measured_curve((0.0,), counts.numpy())
    assert scores.iou == pytest.approx(next(s for s in result.curve if s.tau == tau).iou, abs=1e-3, nan_ok=True)
    _, counts = evaluate(written.model, data.test, CPU)
    (scores,) = measured_curve((0.0,), counts.numpy())
    assert scores.iou == pytest.approx(result.test[1].iou, abs=1e-3, nan_ok=True)
    before, after = (safetensors.torch.load_file(path) for path in ("run.safetensors", out))
    shares = class_shares(data.train.pixel_counts)
    change = before["segmentation_head.0.bias"] - after["segmentation_head.0.bias"]
    assert change.tolist() == pytest.approx(offsets(shares, [tau])[0].tolist(), abs=1e-5)
    assert [key for key in before if not torch.equal(before[key], after[key])] == ["segmentation_head.0.bias"]
    with safetensors.safe_open(out, framework="np") as file:
        metadata = file.metadata()
    assert TrialConfig(**json.loads(metadata["config"])) == CONFIG
    assert (float(metadata["tau"]), metadata["folded_into"]) == (tau, "segmentation_head.0.bias")
    assert json.loads(metadata["class_shares"]) == shares.tolist()


@pytest.mark.parametrize(
    ("source", "settings"),
    [
        ("run.pt", []),
        ("saved", []),
        ("state.pt", FITTING),
        ("nested.pth", FITTING),
        ("plain.safetensors", FITTING),
    ],
)
def test_every_kind_of_weights_gives_the_same(at, source, settings, capsys):
    def curve(*arguments):
        assert main(["adjust", *arguments, "--dataset", "data", "--tau", "1", "--out", "same.safetensors"]) == 0
        return capsys.readouterr().out

    assert curve(source, *settings) == curve("run.safetensors")
    assert main(["adjust", source, *settings, "--dataset", "data", "--tau", "1", "--out", "same.safetensors"]) == 0
    assert len(read_weights(at / "same.safetensors").metadata) >= 3  # it can be read again without settings


def test_a_class_can_lead_and_floors_are_kept(at, capsys):
    data = open_dataset("data")
    shown = int(np.nanargmax(data.val.pixel_counts.sum(0)))
    name = data.class_names[shown]
    result = adjust_weights(
        AdjustOptions(
            weights="run.safetensors", dataset="data", objective=f"iou:{name}", floors=["others=-0.02"], tau=0
        )
    )
    plain = np.array(result.curve[0].iou)
    kept = [s for s in result.curve if np.all(np.delete(np.nan_to_num(np.array(s.iou) - plain), shown) >= -0.02)]
    kept = [s for s in kept if s.report.miou >= result.curve[0].report.miou - 0.01]
    best = next(s for s in result.curve if s.tau == result.recommended)
    assert best.iou[shown] == max(s.iou[shown] for s in kept)
    assert f"the best IoU of {name} that keeps miou=-0.01, others=-0.02." in capsys.readouterr().out


def test_the_default_name_stands_beside_the_weights(at, capsys):
    assert main(["adjust", "run.safetensors", "--dataset", "data", "--tau", "0.25"]) == 0
    assert capsys.readouterr().out.endswith("\nWeights: run.adjusted.safetensors\n")
    assert main(["adjust", "saved", "--dataset", "data", "--tau", "0.25"]) == 0
    assert (at / "saved.adjusted.safetensors").is_file()


def test_tau_0_writes_nothing(at, capsys):
    arguments = ["adjust", "run.safetensors", "--dataset", "data", "--tau", "0", "--out", "zero.safetensors"]
    assert main(arguments) == 0
    assert "the weights stay as they are" in capsys.readouterr().out
    assert not (at / "zero.safetensors").exists()


def test_adjusted_weights_are_refused_unless_asked_for(at, capsys):
    options = ["--dataset", "data", "--tau", "0.5"]
    assert main(["adjust", "run.safetensors", *options, "--out", "once.safetensors"]) == 0
    capsys.readouterr()
    assert "already adjusted with tau 0.5; give --again" in refused(capsys, "once.safetensors", *options)
    assert main(["adjust", "once.safetensors", *options, "--out", "twice.safetensors", "--again"]) == 0
    with safetensors.safe_open("twice.safetensors", framework="np") as file:
        metadata = file.metadata()
    assert (metadata["tau"], [one["tau"] for one in json.loads(metadata[BEFORE])]) == ("1.0", ["0.5"])
    plain, folded = (safetensors.torch.load_file(f"{name}.safetensors")[BIAS] for name in ("run", "twice"))
    assert torch.allclose(folded + folded_offset(metadata, len(folded)), plain.double(), atol=1e-6)
    once, twice = (
        adjust_weights(AdjustOptions(weights=name, dataset="data", tau=tau, out="x.safetensors", again=True)).curve
        for name, tau in (("run.safetensors", 1.0), ("twice.safetensors", 0.0))
    )
    assert twice[0].iou == pytest.approx(next(s for s in once if s.tau == 1).iou, abs=1e-3, nan_ok=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone.pt"], "gone.pt: no such file"),
        (["run.safetensors", "--tau", "2.5"], "'2.5' is not a strength between 0 and 2"),
        (["run.safetensors", "--tau", "nan"], "'nan' is not a strength between 0 and 2"),
        (["run.safetensors", "--objective", "best"], "'best' is none of worst_iou, miou"),
        (["run.safetensors", "--objective", "iou:moon"], "no class 'moon'"),
        (["run.safetensors", "--floor", "moon=0.3"], "no class or measure 'moon'"),
        (["run.safetensors", "--out", "run.safetensors"], "run.safetensors: the weights to adjust; give another --out"),
        (["run.safetensors", "--encoder", ENCODER], "it says itself which model it is for; leave --encoder"),
        (["run.safetensors", "--atrous-rates", "1", "2", "3"], "--atrous-rates is for a state dict; give --encoder"),
        (["state.pt"], "it does not say which model it is for; give --encoder"),
        (["state.pt", "--encoder", "resnet999"], "unknown encoder 'resnet999'"),
        (["state.pt", "--encoder", "resnet18"], "state.pt: the weights do not fit the model"),
        (["run.safetensors", "--out", "nowhere/x.safetensors"], "no such folder as nowhere"),
        (["data"], "config.json and model.safetensors missing; a folder must be one of smp's save_pretrained"),
        (["data/val.arrow"], "not weights that can be read safely"),
        (["run.safetensors", "--dataset", "nowhere"], "nowhere: no such data set"),
    ],
)
def test_what_cannot_be_adjusted_is_refused_in_one_line(at, capsys, arguments, said):
    dataset = [] if "--dataset" in arguments else ["--dataset", "data"]
    assert said in refused(capsys, *arguments, *dataset)


def test_options_from_python_are_checked_too():
    for wrong in ({"tau": 2.1}, {"tau": -0.1}, {"objective": "best"}, {"miou_allowance": 2}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            AdjustOptions(weights="x", **wrong)


def other_classes(weights, names):
    """The weights with other class names in their metadata."""
    metadata = {"config": CONFIG.model_dump_json(), "classes": json.dumps(names)}
    safetensors.torch.save_file(safetensors.torch.load_file(weights), "other.safetensors", metadata)
    return "other.safetensors"


def test_weights_of_other_classes_are_refused(at, capsys):
    names = [f"class {k}" for k in range(10)]
    said = refused(capsys, other_classes("run.safetensors", names), "--dataset", "data")
    assert "weights for the classes class 0, class 1," in said
    fewer = {key: value[:7] if "segmentation_head" in key else value for key, value in torch.load("state.pt").items()}
    torch.save(fewer, "fewer.pt")
    said = refused(capsys, "fewer.pt", *FITTING, "--dataset", "data")
    assert "fewer.pt: weights for 7 classes, but data has 10" in said
    torch.save({"weight": torch.zeros(3)}, "foreign.pt")
    assert "not the weights of a DeepLabv3+ of smp" in refused(capsys, "foreign.pt", *FITTING, "--dataset", "data")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"activation": "softmax"}, "only plain logits can be used"),
        ({"aux_params": {"classes": 2}}, "only plain logits can be used"),
        ({"_model_class": "Unet"}, "a model of the class Unet; only DeepLabV3Plus can be read"),
        ({"in_channels": 4}, "4 input channels; only RGB images"),
        ({"novel": 1}, "its model cannot be built"),
    ],
)
def test_a_folder_with_another_model_is_refused(at, tmp_path, capsys, changes, said):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((at / "saved" / "model.safetensors").read_bytes())
    config = json.loads((at / "saved" / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    assert said in refused(capsys, folder, "--dataset", "data")


def test_code_in_weights_is_not_run(at, tmp_path, capsys):
    torch.save({"state_dict": Hostile(tmp_path / "executed")}, tmp_path / "harm.pt")
    assert "not weights that can be read safely" in refused(capsys, tmp_path / "harm.pt", *FITTING, "--dataset", "data")
    assert not (tmp_path / "executed").exists()


def test_a_full_disk_leaves_the_earlier_file(at, capsys, monkeypatch):
    (at / "kept.safetensors").write_bytes(b"earlier")

    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    code = main(["adjust", "run.safetensors", "--dataset", "data", "--tau", "1", "--out", "kept.safetensors"])
    assert code == 75
    assert "kept.safetensors: the weights cannot be written: No space left" in capsys.readouterr().err
    monkeypatch.undo()
    assert (at / "kept.safetensors").read_bytes() == b"earlier"


def test_the_grid_holds_the_strengths_that_are_named():
    assert {0.0, 0.25, 0.5, 0.75, 1.0} <= set(adjust.GRID)
    assert np.diff(adjust.GRID).tolist() == [0.125] * 12


def test_architecture_defaults_are_those_of_smp():
    import inspect

    defaults = inspect.signature(smp.DeepLabV3Plus.__init__).parameters
    assert Architecture("x").atrous_rates == defaults["decoder_atrous_rates"].default
    assert Architecture("x").output_stride == defaults["encoder_output_stride"].default


def test_floors_that_no_strength_keeps_are_refused_unless_a_tau_is_given(at, capsys):
    said = refused(capsys, "run.safetensors", "--dataset", "data", "--floor", "miou=0.99", "--out", "no.safetensors")
    assert re.search(r"no strength keeps the floors; nearest: tau [\d.]+: miou 0\.\d+ of 0\.99", said)
    assert not (at / "no.safetensors").exists()
    given = ["--floor", "miou=0.99", "--tau", "0.5", "--out", "forced.safetensors"]
    assert main(["adjust", "run.safetensors", "--dataset", "data", *given]) == 0
    printed = capsys.readouterr().out
    assert "No strength keeps miou=0.99." in printed
    assert "recommended" not in printed.lower()


def test_a_given_tau_has_no_part_in_the_recommendation(at):
    def found(tau):
        return adjust_weights(
            AdjustOptions(weights="run.safetensors", dataset="data", tau=tau, out="given.safetensors")
        )

    free, given = found(0), found(0.3333333333)
    assert (given.recommended, given.held_out.taus) == (free.recommended, free.held_out.taus)
    with safetensors.safe_open("given.safetensors", framework="np") as file:
        assert float(file.metadata()["tau"]) == 0.3333333333


def test_a_folder_is_adjusted_from_within(at, monkeypatch):
    monkeypatch.chdir(at / "saved")
    result = adjust_weights(AdjustOptions(weights=".", dataset=at / "data", tau=0.5))
    assert result.weights == at / "saved.adjusted.safetensors"


def test_metadata_of_another_program_is_left_alone(at, capsys):
    state = safetensors.torch.load_file(at / "run.safetensors")
    safetensors.torch.save_file(state, at / "foreign.safetensors", {"config": "yolo v9", "classes": "10"})
    assert main(["adjust", "foreign.safetensors", "--dataset", "data", *FITTING]) == 0
    assert "Recommended" in capsys.readouterr().out


def test_the_allowance_and_a_floor_of_the_same_measure_are_refused(at, capsys):
    both = ["--miou-allowance", "0.02", "--floor", "miou=-0.01"]
    assert "set the same floor" in refused(capsys, "run.safetensors", "--dataset", "data", *both)


def without_class(data, folder, split, absent):
    """A copy of the data set whose `split` shows nothing of the classes in `absent`."""
    folder.mkdir()
    for part in (data.train, data.val, data.test):
        with SplitWriter(folder / f"{part.name}.arrow", part.classes, part.source, part.name) as writer:
            for i in range(len(part)):
                mask = part.mask(i).copy()
                if part.name == split:
                    mask[np.isin(mask, absent)] = VOID
                writer.add(str(i), part.image(i), mask)
    return folder


def test_classes_that_val_lacks_are_named_and_have_no_part(at, tmp_path, capsys):
    data = open_dataset(at / "data")
    folder = without_class(data, tmp_path / "lacking", "val", [0])
    given = AdjustOptions(weights=at / "run.safetensors", dataset=folder, out=tmp_path / "out.safetensors", tau=1.0)
    result = adjust_weights(given)
    assert f"{data.class_names[0]}" in next(line for line in capsys.readouterr().out.splitlines() if "Left out" in line)
    assert all(np.isnan(scores.iou[0]) for scores in result.curve)


def test_a_test_split_without_labels_counts_as_none(at, tmp_path, capsys):
    data = open_dataset(at / "data")
    folder = without_class(data, tmp_path / "blind", "test", list(range(data.num_classes)))
    given = AdjustOptions(weights=at / "run.safetensors", dataset=folder, out=tmp_path / "out.safetensors", tau=1.0)
    assert adjust_weights(given).test == ()
    assert "Test split" not in capsys.readouterr().out
