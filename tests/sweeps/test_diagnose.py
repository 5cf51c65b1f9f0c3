"""`tilted-sweeps diagnose`: what it prints and writes, what it refuses."""

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from rich.console import Console

from sweeps.__main__ import main
from sweeps.commands import diagnose
from sweeps.commands.diagnose import DiagnoseOptions, diagnose_dataset
from sweeps.reporting.diagnosis_table import duplicate_text, print_diagnosis
from tce_core.checkpoint import export_weights
from tce_core.config import TrialConfig
from tce_core.data.dataset import SplitWriter, open_dataset
from tce_core.data.schema import ClassInfo
from tce_core.data.streets.dataset import make_streets
from tce_core.errors import UserError
from tce_core.model import build_model
from tests.sweeps.refusal import refusal
from tests.tce_core.states import Hostile

ENCODER = "tu-mobilenetv3_small_050"
CONFIG = TrialConfig(encoder=ENCODER, decoder_channels=16, precision="fp32")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with the data set `data`, weights of its classes, and the same as a state dict and for other names."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("diagnose")
    data = make_streets(folder / "data", seed=0, train=8, val=4, test=2, size=(64, 96))
    torch.manual_seed(0)
    state = build_model(CONFIG, data.num_classes).state_dict()
    config = CONFIG.model_dump_json()
    names = {"run": data.class_names, "others": [f"class {k}" for k in range(data.num_classes)]}
    for name, classes in names.items():
        export_weights(state, folder / f"{name}.safetensors", {"config": config, "classes": json.dumps(classes)})
    safetensors.torch.save_file(state, folder / "plain.safetensors")
    export_weights(build_model(CONFIG, 3).state_dict(), folder / "three.safetensors", {"config": config})
    torch.save({"state_dict": Hostile(folder / "executed")}, folder / "harm.pt")
    (folder / "text.pt").write_text("no weights")
    return folder


@pytest.fixture
def at(here, monkeypatch):
    monkeypatch.chdir(here)
    return here


refused = partial(refusal, "diagnose")


def test_a_data_set_alone(at, capsys):
    assert main(["diagnose", "--dataset", "data", "--out", "alone"]) == 0
    printed = capsys.readouterr().out
    data = open_dataset("data")
    for info in data.classes:
        row = re.search(rf"^{info.name} +(\d+) +", printed, re.MULTILINE)
        assert int(row[1]) == np.count_nonzero(data.train.pixel_counts[:, info.id])
    assert "No image is in two splits" in printed
    assert "Page: alone/index.html" in printed
    assert "--weights" in printed
    assert (at / "alone" / "index.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_model(at, capsys, split):
    options = DiagnoseOptions(dataset="data", weights="run.safetensors", split=split, out=f"model-{split}")
    found, printed = diagnose_dataset(options), capsys.readouterr().out
    assert f"What the model finds on {split}, mIoU {found.scores.miou:.3f}" in printed
    joined = " ".join(printed.split())
    for verdict in found.verdicts:
        assert verdict.sentence(open_dataset("data").class_names) in joined
    assert "--weights" not in printed


def test_a_state_dict_needs_its_architecture(at, capsys):
    given = ["--dataset", "data", "--weights", "plain.safetensors", "--out", "state"]
    assert "give --encoder" in refused(capsys, *given)
    assert "give --encoder with it" in refused(capsys, *given, "--output-stride", "16")
    assert main(["diagnose", *given, "--encoder", ENCODER, "--atrous-rates", "6", "12", "18"]) == 0


def test_the_page_goes_into_runs(at, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    diagnose_dataset(DiagnoseOptions(dataset=at / "data"))
    assert [str(path) for path in Path("runs").rglob("*.html")] == ["runs/diagnosis-data/index.html"]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("others.safetensors", "weights for the classes class 0, class 1"),
        ("three.safetensors", "weights for 3 classes, but data has 10"),
        ("text.pt", "text.pt: not weights that can be read safely"),
        ("harm.pt", "harm.pt: not weights that can be read safely"),
        ("data/val.arrow", "val.arrow: not weights that can be read safely"),
        ("none.pt", "none.pt: no such file"),
    ],
)
def test_weights_that_do_not_fit_are_refused(at, capsys, weights, said):
    assert said in refused(capsys, "--dataset", "data", "--weights", weights, "--out", "refused")
    assert not (at / "refused").exists()
    assert not (at / "executed").exists()


def test_other_bad_input_is_refused(at, capsys, tmp_path):
    assert "no such data set" in refused(capsys, "--dataset", "nowhere")
    assert "give --weights" in refused(capsys, "--dataset", "data", "--encoder", ENCODER)
    assert "invalid choice" in refused(capsys, "--dataset", "data", "--split", "train")
    (tmp_path / "data").mkdir()
    for name in ("train", "val"):
        (tmp_path / "data" / f"{name}.arrow").symlink_to(at / "data" / f"{name}.arrow")
    said = refused(capsys, "--dataset", tmp_path / "data", "--split", "test", "--weights", "run.safetensors")
    assert "no test split; it has train, val" in said


def test_a_folder_that_cannot_be_written_is_refused(at, capsys):
    (at / "file").write_text("no folder")
    assert "file: the folder cannot be made: File exists" in refused(capsys, "--dataset", "data", "--out", "file")
    assert "Not a directory" in refused(capsys, "--dataset", "data", "--out", "file/below")
    (at / "taken" / "index.html").mkdir(parents=True)
    with pytest.raises(UserError, match=r"taken/index.html: the page cannot be written: not a regular file"):
        diagnose_dataset(DiagnoseOptions(dataset="data", out="taken"))


def test_a_full_disk_can_pass(at, capsys, monkeypatch):
    def full(self, *_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    assert main(["diagnose", "--dataset", "data", "--out", "full"]) == 75
    assert "full/index.html: the page cannot be written: No space left" in capsys.readouterr().err


@pytest.mark.parametrize("classes", [19, 150])
def test_the_tables_fit_100_columns(tmp_path, monkeypatch, classes):
    random = np.random.default_rng(0)
    infos = tuple(ClassInfo(k, f"a rather long name [{k}]", (k, k, k)) for k in range(classes))
    (tmp_path / "data").mkdir()
    for split in ("train", "val", "test"):
        with SplitWriter(tmp_path / "data" / f"{split}.arrow", infos, "noise", split) as writer:
            mask = random.integers(classes, size=(64, 64)).astype(np.uint8)
            writer.add("same", np.full((64, 64, 3), 9, np.uint8), mask)
    torch.manual_seed(0)
    data, model = open_dataset(tmp_path / "data"), torch.nn.Conv2d(3, classes, 1).eval()
    from tce_core.diagnosis.diagnose import diagnose

    found = diagnose(data, model)
    console = Console(width=100, record=True, file=(tmp_path / "out").open("w"))
    print_diagnosis(found, data, console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    for k in (one.label for one in found.verdicts[:20]):
        assert f"long name [{k}]" in text
    assert ("more classes on the page" in text) is (classes == 150)
    assert "In two splits: 3 images with the same pixels, 0 near-identical ones." in text
    assert "val same has the same pixels as train same" in text
    assert duplicate_text(found.duplicates[0], data) == "val same has the same pixels as train same"


def test_the_flags_are_the_options():
    actions = {action.dest for action in diagnose.parser()._actions} - {"help"}
    assert actions == set(DiagnoseOptions.model_fields)
