"""`tilted-sweeps predict`: masks against the model run by hand, what it prints, what it refuses."""

import json
import re
import subprocess
import sys
from functools import partial

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from PIL import Image

from sweeps.__main__ import main
from sweeps.commands import predict
from sweeps.commands.predict import PredictOptions, predict_images
from tce_core.checkpoint import export_weights
from tce_core.config import TrialConfig
from tce_core.data.folder import read_classes
from tce_core.data.streets.dataset import make_streets
from tce_core.model import build_model
from tce_core.prediction.palette import palette
from tests.sweeps.refusal import refusal

ENCODER = "tu-mobilenetv3_small_050"
CONFIG = TrialConfig(encoder=ENCODER, decoder_channels=16, precision="fp32")
SIZES = {"a.jpg": (64, 96), "deep/a.png": (37, 101), "deep/b.webp": (1, 1)}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with photographs, a data set of ten classes, and weights of all kinds."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("predict")
    random = np.random.default_rng(0)
    for name, size in SIZES.items():
        (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(256, size=(*size, 3), dtype=np.uint8)).save(folder / "photos" / name)
    data = make_streets(folder / "data", seed=0, train=2, val=2, test=1, size=(64, 96))
    torch.manual_seed(0)
    state = build_model(CONFIG, 10).state_dict()
    state["segmentation_head.0.weight"] *= 20  # so that several classes win
    metadata = {"config": CONFIG.model_dump_json()}
    names = {"run": data.class_names, "others": [f"kind {k}" for k in range(10)]}
    for name, classes in names.items():
        export_weights(state, folder / f"{name}.safetensors", {**metadata, "classes": json.dumps(classes)})
    safetensors.torch.save_file(state, folder / "plain.safetensors")
    export_weights(build_model(CONFIG, 3).state_dict(), folder / "three.safetensors", metadata)
    return folder


@pytest.fixture
def at(here, monkeypatch):
    monkeypatch.chdir(here)
    return here


@pytest.fixture
def broken(at, tmp_path):
    """A folder with an image that is cut off between two whole ones."""
    for name in ("1.png", "3.png"):
        (tmp_path / name).write_bytes((at / "photos" / "deep" / "a.png").read_bytes())
    (tmp_path / "2.png").write_bytes((at / "photos" / "deep" / "a.png").read_bytes()[:500])
    return tmp_path


refused = partial(refusal, "predict")


def by_hand(model, path):
    """Return logits (K, H, W) as smp's documentation computes them, with torchvision's normalisation."""
    pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((pixels - mean[:, None, None]) / std[:, None, None])[None]
    height, width = x.shape[-2:]
    with torch.inference_mode():
        return model(F.pad(x, (0, -width % 16, 0, -height % 16)))[0, :, :height, :width]


def smp_model(at):
    settings = {"decoder_channels": 16, "decoder_atrous_rates": (6, 12, 18), "classes": 10, "encoder_weights": None}
    model = smp.DeepLabV3Plus(ENCODER, **settings)
    model.load_state_dict(safetensors.torch.load_file(at / "plain.safetensors"))
    return model.eval()


def mask_of(path):
    with Image.open(path) as picture:
        assert picture.mode == "P"
        return np.array(picture), picture.getpalette()


def test_the_masks_are_the_argmax_of_the_model_run_by_hand(at, capsys):
    assert main(["predict", "run.safetensors", "photos", "--out", "masks", "--overlay", "--probabilities"]) == 0
    printed, model, masks = capsys.readouterr().out, smp_model(at), []
    for name, size in SIZES.items():
        stem = at / "masks" / name.rpartition(".")[0]
        logits = by_hand(model, at / "photos" / name)
        mask, colours = mask_of(f"{stem}.png")
        assert mask.shape == size
        assert np.array_equal(mask, logits.argmax(0).numpy())
        assert tuple(colours[:30]) == sum(palette(10), ())
        probabilities = np.load(f"{stem}.npy", allow_pickle=False)
        assert probabilities.dtype == np.float16
        assert probabilities == pytest.approx(logits.softmax(0).numpy(), abs=2e-3)
        with Image.open(f"{stem}.overlay.jpg") as overlay:
            assert overlay.size == size[::-1]
        masks.append(mask.ravel())
    everything = np.bincount(np.concatenate(masks), minlength=10)
    assert np.count_nonzero(everything) > 2
    for k, info in enumerate(read_classes(at / "masks" / "classes.json")):
        assert info.color == palette(10)[k]
        share, images = re.search(rf"^. +{info.name} +(\S+) +(\d+)", printed, re.MULTILINE).groups()
        assert int(images) == sum((mask == k).any() for mask in masks)
        stated = 0 if share == "-" else float(share.rstrip("%")) / 100
        assert stated == pytest.approx(everything[k] / everything.sum(), rel=0.06)


def test_smp_s_folder_gives_the_same_masks_and_colours_of_a_data_set(at):
    model = smp_model(at)
    model.save_pretrained(at / "saved")
    result = predict_images(PredictOptions(weights="saved", images=("photos",), out="smp", dataset="data"))
    assert [info.name for info in result.classes][:2] == ["road", "sidewalk"]
    for photograph, counts in zip(result.photographs, result.counts, strict=True):
        mask, colours = mask_of(photograph.output(".png"))
        assert np.array_equal(mask, by_hand(model, photograph.source).argmax(0).numpy())
        assert tuple(colours[:30]) == sum((info.color for info in result.classes), ())
        assert counts.tolist() == np.bincount(mask.ravel(), minlength=10).tolist()


def test_a_second_run_replaces_the_masks_and_a_state_dict_has_numbered_classes(at, capsys):
    given = ["photos", "--encoder", ENCODER, "--atrous-rates", "6", "12", "18"]
    assert main(["predict", "run.safetensors", "--out", "twice", "photos"]) == 0
    before = {path.name: path.read_bytes() for path in (at / "twice").rglob("*.png")}
    next((at / "twice").rglob("a.png")).write_text("damaged")
    assert main(["predict", "plain.safetensors", "--out", "twice", *given]) == 0
    assert {path.name: path.read_bytes() for path in (at / "twice").rglob("*.png")} == before
    assert "class 9" in capsys.readouterr().out


def test_tiles_change_a_mask_a_little_and_never_its_size(at):
    whole = predict_images(PredictOptions(weights="run.safetensors", images=("photos",), out="whole", tile=0))
    tiled = predict_images(PredictOptions(weights="run.safetensors", images=("photos",), out="tiles", tile=32))
    for one, other in zip(whole.photographs, tiled.photographs, strict=True):
        same = mask_of(one.output(".png"))[0] == mask_of(other.output(".png"))[0]
        assert same.mean() > 0.3
        assert same.shape == SIZES[one.source.relative_to("photos").as_posix()]
    assert not np.array_equal(whole.counts, tiled.counts)


def test_a_broken_image_ends_the_command_or_is_skipped(at, broken, capsys):
    said = refused(capsys, "run.safetensors", broken, "--out", "stopped")
    assert re.search(r"/2\.png: cannot be decoded \(.+\); replace the file; --skip-bad would skip it$", said.rstrip())
    assert sorted(path.name for path in (at / "stopped").iterdir()) == ["1.png", "classes.json"]
    assert main(["predict", "run.safetensors", str(broken), "--out", "skipped", "--skip-bad"]) == 0
    printed = capsys.readouterr().out
    assert "Predicted in 2 images" in printed
    assert "Skipped, because they cannot be read: 1\n" in printed
    assert re.search(r"^\S+/2\.png: cannot be decoded", printed, re.MULTILINE)
    assert sorted(path.name for path in (at / "skipped").iterdir()) == ["1.png", "3.png", "classes.json"]


@pytest.mark.slow
def test_onnx_without_images_gives_the_logits_of_the_model(at, capsys):
    assert main(["predict", "run.safetensors", "--onnx", "model.onnx"]) == 0
    assert capsys.readouterr().out.startswith("ONNX: model.onnx (onnxruntime's logits differ from torch's by at most ")
    session = onnxruntime.InferenceSession(at / "model.onnx", providers=["CPUExecutionProvider"])
    for name in SIZES:
        image = np.array(Image.open(at / "photos" / name).convert("RGB"), np.float32).transpose(2, 0, 1)[None] / 255
        (logits,) = session.run(["logits"], {"image": image})
        assert logits[0] == pytest.approx(by_hand(smp_model(at), at / "photos" / name).numpy(), abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run.safetensors"], "no images: name files or folders, or give --onnx FILE"),
        (["run.safetensors", "photos"], "images need --out DIR"),
        (["run.safetensors", "--out", "new", "--onnx", "new.onnx"], "--out new: no images"),
        (["run.safetensors", "photos", "--out", "photos"], "photos/a.png: would lie beside images"),
        (["run.safetensors", "photos/deep/a.png", "--out", "photos/deep"], "would lie beside images"),
        (["run.safetensors", "nowhere", "--out", "new"], "nowhere: no such file or folder"),
        (["run.safetensors", "data", "--out", "new"], "data: no images"),
        (["none.pt", "photos", "--out", "new"], "none.pt: no such file"),
        (["plain.safetensors", "photos", "--out", "new"], "give --encoder"),
        (["three.safetensors", "photos", "--out", "new", "--dataset", "data"], "for 3 classes, but data has 10"),
        (["others.safetensors", "photos", "--out", "new", "--dataset", "data"], "for the classes kind 0, kind 1"),
        (["run.safetensors", "photos", "--out", "new", "--classes", "no.json"], "no.json: cannot be read"),
        (["run.safetensors", "photos", "--out", "new", "--classes", "a", "--dataset", "b"], "give one of them"),
        (["run.safetensors", "photos", "--out", "new", "--tile", "100"], "'100' is not a multiple of 32"),
        (["run.safetensors", "photos", "--out", "new", "--tile", "-32"], "'-32' is not a whole number"),
        (["run.safetensors", "photos", "--out", "run.safetensors"], "run.safetensors/classes.json: cannot be written"),
        (["run.safetensors", "--onnx", "none/m.onnx"], "none/m.onnx: the ONNX file cannot be written: No such file"),
        (["run.safetensors", "--onnx", "data"], "data: the ONNX file cannot be written: not a regular file"),
    ],
)
def test_bad_input_is_refused(at, capsys, arguments, said):
    before = sorted(at.rglob("*"))
    assert said in refused(capsys, *arguments)
    assert sorted(at.rglob("*")) == before


def test_a_gpu_that_is_not_there_is_refused(at, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "torch finds no GPU here" in refused(capsys, "run.safetensors", "photos", "--out", "new", "--device", "cuda")


def test_too_many_classes_are_refused(at, capsys):
    export_weights(build_model(CONFIG, 256).state_dict(), at / "256.safetensors", {"config": CONFIG.model_dump_json()})
    said = refused(capsys, "256.safetensors", "photos", "--out", "new")
    assert "256.safetensors: weights for 256 classes; a mask can hold 255" in said


def test_the_flags_are_the_options():
    actions = {action.dest for action in predict.parser()._actions} - {"help"}
    assert actions == set(PredictOptions.model_fields)


@pytest.mark.slow
def test_a_photograph_of_12_megapixels_stays_under_3_gigabytes(tmp_path):
    """MobileNetV2, 19 classes, with probabilities: 2.0 GB when this was written."""
    config = TrialConfig()
    export_weights(
        build_model(config, 19).state_dict(), tmp_path / "w.safetensors", {"config": config.model_dump_json()}
    )
    Image.effect_noise((4000, 3000), 90).convert("RGB").save(tmp_path / "large.jpg")
    code = (
        "import resource, sys; from sweeps.__main__ import main\n"
        "code = main(['predict', 'w.safetensors', 'large.jpg', '--out', 'out', '--overlay', '--probabilities'])\n"
        "print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    exit_code, peak = map(int, ended.stdout.splitlines()[-1].split())
    assert exit_code == 0
    assert peak < 3e9
    assert mask_of(tmp_path / "out" / "large.png")[0].shape == (3000, 4000)
    assert np.load(tmp_path / "out" / "large.npy", mmap_mode="r").shape == (19, 3000, 4000)


@pytest.mark.parametrize("name", ["1.png", "classes.json"])
def test_masks_that_a_person_drew_are_not_replaced(at, capsys, name):
    drawn = at / f"drawn {name}"
    drawn.mkdir()
    (drawn / name).write_text("mine")
    assert main(["predict", "run.safetensors", "photos", "--out", str(drawn)]) == 2
    assert "a folder with other files, which masks could replace; name a new one" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in drawn.iterdir()] == [(name, "mine")]
