"""A model as ONNX: onnxruntime against torch, for sizes that the export did not see."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tce_core.errors import UserError
from tce_core.evaluation import predict_logits
from tce_core.prediction.onnx_file import write_onnx

NAMES = ("road", "sky", "Straße", "car")


class Small(nn.Module):
    """It is exported in a second or two."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.down, self.up = nn.Conv2d(3, 8, 16, 16), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return nn.functional.interpolate(self.up(self.down(x)), scale_factor=16, mode="bilinear", align_corners=True)


def run(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"image": (images.numpy() / np.float32(255)).astype(np.float32)})[0]


def test_onnxruntime_gives_the_logits_of_an_evaluation(tmp_path):
    """The test of the command does this with a DeepLabv3+."""
    model = Small().eval()
    assert write_onnx(tmp_path / "m.onnx", model, NAMES) < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    for shape in ((3, 3, 64, 96), (1, 3, 33, 50), (1, 3, 1, 1)):
        images = torch.randint(256, shape, dtype=torch.uint8)
        expected = predict_logits(model, images).numpy()
        assert expected.shape == (shape[0], 4, *shape[2:])
        assert run(tmp_path / "m.onnx", images) == pytest.approx(expected, abs=1e-4)


def test_the_file_describes_itself(tmp_path):
    write_onnx(tmp_path / "m.onnx", Small().eval(), NAMES)
    read = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(read, full_check=True)
    assert json.loads({prop.key: prop.value for prop in read.metadata_props}["classes"]) == list(NAMES)
    shapes = {
        value.name: [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim]
        for value in (*read.graph.input, *read.graph.output)
    }
    assert shapes == {"image": ["batch", 3, "height", "width"], "logits": ["batch", 4, "height", "width"]}


def test_a_file_that_differs_is_not_left(tmp_path, monkeypatch):
    class Wrong(onnxruntime.InferenceSession):
        def run(self, *arguments):
            return [logits + 0.01 for logits in super().run(*arguments)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Wrong)
    (tmp_path / "m.onnx").write_text("earlier")
    with pytest.raises(UserError, match=r"m\.onnx: not written: its logits for images of 96x160 differ by 0\.01 from"):
        write_onnx(tmp_path / "m.onnx", Small().eval(), NAMES)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("m.onnx", "earlier")]


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r'^--onnx needs the packages .*pip install "tilted-sweeps\[onnx\]"$'):
        write_onnx(tmp_path / "m.onnx", Small(), NAMES)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_exported_and_a_file_that_cannot_be_written_are_refused(tmp_path):
    class Odd(nn.Module):
        def forward(self, x):
            return x if x.mean().item() > 0.3 else x + 1  # the path depends on the pixels

    with pytest.raises(UserError, match=r"m\.onnx: the model cannot be exported to ONNX: [^\n]+$"):
        write_onnx(tmp_path / "m.onnx", Odd(), NAMES)
    with pytest.raises(UserError, match=r"m\.onnx: the ONNX file cannot be written: No such file or directory"):
        write_onnx(tmp_path / "none" / "m.onnx", Small().eval(), NAMES)
