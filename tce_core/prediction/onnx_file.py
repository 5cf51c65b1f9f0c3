"""A model as an ONNX file that takes plain images of any size: it normalises and pads them itself."""

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tce_core.colours import IMAGENET_MEAN, IMAGENET_STD
from tce_core.errors import UserError, file_error
from tce_core.evaluation import STRIDE
from tce_core.files import replacing

TOLERANCE = 1e-3
"""Largest difference between the logits of onnxruntime and torch, as a share of the largest logit."""
CHECKED = ((1, 96, 160), (2, 131, 77), (1, 9, 16))
"""Images, height and width of the batches that are compared."""
NEEDED = 'needs the packages onnx, onnxscript and onnxruntime; run pip install "tilted-sweeps[onnx]"'


class PlainInput(nn.Module):
    """A model that takes images (B, 3, H, W) float32 RGB in 0..1, of any size, and gives logits of that size."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        whole = [
            (side + STRIDE - 1) // STRIDE * STRIDE for side in (height, width)
        ]  # the exporter cannot follow -side % 16
        x = F.pad((image - self.mean) / self.std, (0, whole[1] - width, 0, whole[0] - height))
        logits: Tensor = self.model(x)
        return logits[..., :height, :width]


def write_onnx(path: Path, model: nn.Module, class_names: Sequence[str]) -> float:
    """Write a model, and compare what onnxruntime computes with it with torch. A file that differs is not left.

    The file has one input, `image` (N, 3, H, W) float32 RGB in 0..1, and one output, `logits` (N, K, H, W) float32.
    N, H and W are free. Its metadata has the names of the classes, `classes`, as a JSON list.

    Args:
        path: the file to write or replace.
        model: gives logits (B, K, H, W); on the CPU, in evaluation mode.
        class_names: K names.

    Returns:
        The largest difference of two logits.

    Raises:
        UserError: a package is missing, the model cannot be exported, the file cannot be written, or it gives logits
            that differ by more than `TOLERANCE` of the largest.
    """
    require_packages()
    plain = PlainInput(model).eval()
    try:
        with replacing(path) as partial:
            partial.touch()  # a bad path is refused before the export, which takes many seconds
            program = _exported(path, plain)
            for value, channels in ((*program.model.graph.inputs, 3), (*program.model.graph.outputs, len(class_names))):
                value.shape = type(value.shape)(["batch", channels, "height", "width"])  # torch names them by symbols
            program.model.metadata_props["classes"] = json.dumps(list(class_names))
            program.save(partial, external_data=False)
            return _largest_difference(path, partial, plain)
    except OSError as error:
        raise file_error(path, "the ONNX file cannot be written", error) from None


def require_packages() -> None:
    """Check that the packages of the extra `onnx` are installed.

    Raises:
        UserError: one is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise UserError(f"--onnx {NEEDED}") from None


def _exported(path: Path, plain: PlainInput) -> Any:
    """Return torch's program of ONNX for a model."""
    # With smaller sides the features have one cell, which torch treats apart; the check includes them.
    free = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height", min=17), 3: torch.export.Dim("width", min=17)}
    image = torch.rand(2, 3, 70, 90)  # no side is a multiple of the stride, which would hide the padding
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of packages that are not needed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Deferred: else torch wants a proof that the padded side is not smaller than the side.
            traced = torch.export.export(
                plain,
                (image,),
                dynamic_shapes={"image": free},
                strict=False,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
            return torch.onnx.export(
                traced, (image,), dynamo=True, input_names=["image"], output_names=["logits"], verbose=False
            )
    except Exception as error:  # the exporter wraps whatever an encoder does that it cannot follow
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise UserError(f"{path}: the model cannot be exported to ONNX: {reason}") from None


@torch.inference_mode()
def _largest_difference(path: Path, written: Path, plain: PlainInput) -> float:
    """Compare onnxruntime and torch on random images."""
    import onnxruntime

    session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
    random, largest = np.random.default_rng(0), 0.0
    for images, height, width in CHECKED:
        image = random.random((images, 3, height, width), np.float32)
        expected = plain(torch.from_numpy(image)).numpy()
        (found,) = session.run(["logits"], {"image": image})
        difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
        if not difference <= TOLERANCE * np.abs(expected).max():
            raise UserError(
                f"{path}: not written: its logits for images of {height}x{width} differ by {difference:.2g} from "
                f"torch's, which are up to {np.abs(expected).max():.2g}"
            )
        largest = max(largest, difference)
    return largest
