"""`sweeps.train` on a file with a logit adjustment: the weights, and what is printed. Ray is in `test_sweep.py`."""

import hashlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import torch
import yaml
from PIL import Image

from sweeps import train
from sweeps.execution.checkpoints import checkpoint_path
from sweeps.reporting.export_file import export_of, write_export
from sweeps.storage.folder import counts_path
from sweeps.strategy.points import Point
from sweeps.train import TrainOptions, train_export
from tce_core import training
from tce_core.checkpoint import read_checkpoint
from tce_core.colours import normalise
from tce_core.config import TrialConfig
from tce_core.data.streets.dataset import make_streets
from tce_core.errors import UserError
from tce_core.evaluation import evaluate, predict
from tce_core.evidence.intervals import estimate_classes
from tce_core.evidence.jackknife import Jackknife
from tce_core.image_counts import read_counts
from tce_core.iou import iou_from_counts
from tce_core.model import build_model
from tce_core.weights import read_weights
from tests.sweeps.shown import Sweep

CPU, TAU = torch.device("cpu"), 0.5
CONFIG = TrialConfig(
    encoder="tu-mobilenetv3_small_050",
    decoder_channels=16,
    crop=(32, 48),
    batch_size=4,
    epochs=1,
    steps_per_epoch=30,
    lr=0.05,
    precision="fp32",
)


@pytest.fixture
def data(tmp_path):
    torch.set_num_threads(1)
    return make_streets(tmp_path / "data", seed=0, train=12, val=4, test=1, size=(64, 96))


@pytest.fixture
def exported(data, storage, tmp_path):
    """The exported file of a trial that was really trained, with tau 0.5."""
    sweep = Sweep(storage, dataset=str(tmp_path / "data"))
    number = sweep.record.begin("search", "t=1", CONFIG.model_dump(mode="json")).number
    (result,) = training.train(CONFIG, data, device=CPU)
    sweep.record.add_epoch(number, result, 1.0)
    sweep.end(number)
    point = Point(sweep.record[number], TAU)
    write_export(tmp_path / "best.yaml", export_of(sweep.outcome, sweep.outcome.choice_of(point), data.class_names))
    return tmp_path / "best.yaml"


@pytest.fixture
def in_process(data, monkeypatch):
    """Train in this process, as the worker of a group does."""

    def run(config, tau, group, address, share_cores):
        path, counts = checkpoint_path(group.checkpoints, train.TRIAL), counts_path(group.counts, train.TRIAL)
        path.parent.mkdir(parents=True)
        return list(training.train(config, data, checkpoint=path, test=True, counts=counts, device=CPU))[-1]

    monkeypatch.setattr(train, "_train", run)


def logits(model, split):
    images = normalise(torch.stack([torch.tensor(split.image(i)).permute(2, 0, 1) for i in range(len(split))]))
    with torch.no_grad():
        return model.eval()(images.contiguous(memory_format=torch.channels_last)).double()


def loaded(state, data):
    model = build_model(CONFIG.model_copy(update={"encoder_weights": None}), data.num_classes)
    model.load_state_dict(state, strict=True)
    return model.to(memory_format=torch.channels_last)


def test_the_weights_hold_the_adjustment_and_repeat_what_the_file_states(exported, data, in_process, capsys):
    result = train_export(TrainOptions(config=exported))
    stated, printed = result.export.measured, capsys.readouterr().out
    assert result.weights == exported.with_suffix(".safetensors")
    assert dict(zip(data.class_names, result.last.at(TAU).iou, strict=True)) == pytest.approx(
        {name: float("nan") if iou is None else iou for name, iou in stated.iou.items()}, abs=0, nan_ok=True
    )
    assert f"mIoU {stated.miou:.4f} (exported: {stated.miou:.4f})" in printed
    assert stated.miou != result.export.measured_plain.miou

    with safetensors.safe_open(result.weights, "pt") as file:
        metadata = file.metadata()
    counts = np.bincount(np.concatenate([data.train.mask(i).ravel() for i in range(len(data.train))]), minlength=256)
    shares = np.maximum(counts[: data.num_classes], 1) / np.maximum(counts[: data.num_classes], 1).sum()
    assert metadata["tau"] == "0.5"
    assert json.loads(metadata["class_shares"]) == pytest.approx(shares.tolist())

    state = safetensors.torch.load_file(result.weights)
    trained = read_checkpoint(checkpoint_path(exported.with_suffix(".checkpoint"), train.TRIAL))["model"]
    changed = [key for key in trained if not torch.equal(trained[key], state[key])]
    assert changed == ["segmentation_head.0.bias"]
    moved = (trained[changed[0]] - state[changed[0]]).double().numpy()
    np.testing.assert_allclose(moved, TAU * np.log(shares), rtol=1e-5, atol=1e-6)

    adjusted = logits(loaded(trained, data), data.val) - TAU * torch.from_numpy(np.log(shares))[:, None, None]
    first, second = adjusted.topk(2, dim=1).values.unbind(1)
    clear = first - second > 1e-4  # float32 decides between the others
    folded = loaded(state, data)
    assert clear.double().mean() > 0.99
    assert torch.equal(logits(folded, data.val).argmax(1)[clear], adjusted.argmax(1)[clear])
    (confusion,) = evaluate(folded, data.val, CPU)[1].numpy()
    confusion[..., data.val.pixel_counts.sum(axis=0) == 0] = 0  # classes that val does not show have no IoU
    assert np.nanmean(iou_from_counts(confusion.sum(axis=0))) == pytest.approx(stated.miou, abs=1e-3)


def test_without_an_adjustment_the_weights_are_those_of_the_training(exported, data, in_process):
    plain = exported.with_name("plain.yaml")
    export = train.read_export(exported)
    write_export(plain, export.model_copy(update={"logit_adjustment": 0.0, "measured": export.measured_plain}))
    result = train_export(TrainOptions(config=plain))
    state = safetensors.torch.load_file(result.weights)
    trained = read_checkpoint(checkpoint_path(plain.with_suffix(".checkpoint"), train.TRIAL))["model"]
    assert all(torch.equal(trained[key], state[key]) for key in trained)
    assert result.last.plain.report.miou == result.export.measured.miou


@pytest.mark.parametrize(
    ("epochs", "said"),
    [(1, "--epochs 1: trunk = 0.5: it leaves none of the 1 epochs"), (2, None), (3, "written with epochs = 2, not 3")],
)
def test_a_file_with_a_trunk_trains_for_other_epochs_or_says_why_not(exported, data, in_process, epochs, said):
    late = exported.with_name("late.yaml")
    config = CONFIG.model_copy(update={"loss": "class_tilt", "epochs": 4, "steps_per_epoch": 1, "trunk": 0.5})
    write_export(late, train.read_export(exported).model_copy(update={"trial": config}))
    checkpoint = checkpoint_path(late.with_suffix(".checkpoint"), train.TRIAL)
    if epochs == 3:
        list(training.train(config.model_copy(update={"epochs": 2}), data, checkpoint=checkpoint, device=CPU))
        with pytest.raises(UserError, match=said):
            train._epochs_done(checkpoint.parent, config.model_copy(update={"epochs": epochs}))
    elif said:
        with pytest.raises(UserError, match=said):
            train_export(TrainOptions(config=late, epochs=epochs))
    else:
        assert train_export(TrainOptions(config=late, epochs=epochs)).last.epoch == epochs


def test_a_file_of_one_fold_is_refused(exported):
    folded = exported.with_name("fold.yaml")
    config = CONFIG.model_copy(update={"fold": "1/5"})
    write_export(folded, train.read_export(exported).model_copy(update={"trial": config}))
    with pytest.raises(
        UserError, match=r"fold.yaml: a model to keep learns from all of train; remove fold and group_by"
    ):
        train_export(TrainOptions(config=folded))


def test_other_weights_than_those_of_the_sweep_are_said_so(exported, data, in_process, capsys):
    start = exported.with_name("start.pt")
    torch.save(build_model(CONFIG, data.num_classes).state_dict(), start)
    export, tuned = train.read_export(exported), exported.with_name("tuned.yaml")
    trial = CONFIG.model_copy(update={"start": str(start), "steps_per_epoch": 1})
    sha256 = hashlib.sha256(start.read_bytes()).hexdigest()
    write_export(tuned, export.model_copy(update={"trial": trial, "start_sha256": sha256}))
    said = f"{start} are not the weights that the sweep started from"
    train_export(TrainOptions(config=tuned, out=tuned.with_name("same.safetensors")))
    assert said not in capsys.readouterr().out
    torch.save(build_model(CONFIG, data.num_classes).state_dict(), start)
    train_export(TrainOptions(config=tuned, out=tuned.with_name("other.safetensors")))
    assert said in capsys.readouterr().out


def test_the_folder_is_loaded_by_smp_alone_as_its_card_says(exported, data, in_process, tmp_path):
    """The code of the card runs in a process that cannot import this program, on an image of odd size."""
    result = train_export(TrainOptions(config=exported, licence="cc-by-4.0"))
    assert result.folder == exported.with_suffix("")
    assert {path.name for path in result.folder.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    card = (result.folder / "README.md").read_text()
    image = data.val.image(0)[:51, :77]
    Image.fromarray(image).save(tmp_path / "photo.png")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
    code = code.replace("photo.jpg", "photo.png") + "\nimport sys\nassert 'tce_core' not in sys.modules\n"
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=True, timeout=300)
    mask = np.array(Image.open(tmp_path / "mask.png"))
    ours = read_weights(result.weights).model
    expected = predict(ours, torch.from_numpy(image.copy()).permute(2, 0, 1)[None])[0].numpy()
    assert mask.shape == (51, 77)
    assert (mask == expected).mean() > 0.999  # the layout in memory differs, and so the last bits

    theirs = smp.from_pretrained(str(result.folder)).eval()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], tensor)
    assert card.startswith("---\nlibrary_name: segmentation-models-pytorch\n")
    assert yaml.safe_load(card.split("---")[1])["license"] == "cc-by-4.0"


def test_the_card_states_what_was_measured(exported, data, in_process):
    result = train_export(TrainOptions(config=exported))
    card = (result.folder / "README.md").read_text()
    val, test = result.last.at(TAU), result.last.test_at(TAU)
    counts = read_counts(counts_path(exported.with_suffix(".checkpoint") / "counts", train.TRIAL))
    for k, name in enumerate(data.class_names):
        row = re.search(rf"^\| {name} \| (.*) \| (.*) \| (.*) \|$", card, re.M)
        for cell, scores, split in zip(row.groups()[1:], (val, test), ("val", "test"), strict=True):
            if np.isnan(scores.iou[k]):
                assert cell == "-"
                continue
            (found,) = re.findall(r"^[\d.]+", cell)
            assert float(found) == pytest.approx(100 * scores.iou[k], abs=0.051)
            interval = estimate_classes([Jackknife.of(counts[split].at(TAU))])[k]
            if interval.low == interval.high:  # an IoU of 0 or 1: the images do not say how sure it is
                assert "(" not in cell
            elif not np.isnan(interval.low):
                assert f"({100 * interval.low:.1f} to {100 * interval.high:.1f})" in cell
    worst = data.class_names[test.report.worst_class]
    assert f"It hardly finds {worst} (" in card
    assert "has not stated a licence" in card
    assert "license:" not in card.split("---")[1]
    assert "strength 0.5" in card
    settings = re.findall(r"^\| (\w+) \| (\S.*?) \|$", card[card.index("### Settings") :], re.M)
    assert ("loss", "mcce") in settings
    assert not {"t", "gamma", "over", "estimator"} & {name for name, _ in settings}  # mcce has none of them
    assert "{{" not in card
    assert "{%" not in card


def test_what_is_in_the_place_of_the_folder_is_not_replaced(exported, data, in_process):
    exported.with_suffix("").mkdir()
    (exported.with_suffix("") / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"would replace notes.txt; give another --out"):
        train_export(TrainOptions(config=exported))
    assert not exported.with_suffix(".safetensors").exists()


@pytest.mark.parametrize("same", [True, False])
def test_a_card_says_what_holds_for_its_loss_and_its_data(exported, data, in_process, same):
    """Only the data of the sweep chose the configuration, and only there the baseline was measured."""
    focal, export = exported.with_name("focal.yaml"), train.read_export(exported)
    config = CONFIG.model_copy(update={"loss": "focal", "focal_gamma": 1.5, "steps_per_epoch": 1})
    dataset = export.dataset.model_copy(update={"fingerprint": data.fingerprint if same else "other"})
    baseline = export.measured.model_copy(update={"label": "plain"})
    write_export(focal, export.model_copy(update={"trial": config, "dataset": dataset, "baseline": baseline}))
    card = (train_export(TrainOptions(config=focal)).folder / "README.md").read_text()
    assert "| focal_gamma | 1.5 |" in card
    assert ("The validation split chose the configuration" in card) == same
    assert ("Plain `plain`, trained in the sweep for" in card) == same
