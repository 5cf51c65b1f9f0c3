"""The images on which a model is worst at a class, and where in them it is wrong."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tce_core import VOID
from tce_core.data.dataset import Split
from tce_core.evaluation import predict

ZOOMS = (4, 3, 2)
"""A window is this part of the image's height and width, or else all of it."""
HELD = 0.5
"""The smallest window is taken that holds this share of the wrong pixels."""

Bytes = npt.NDArray[np.uint8]


class Window(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, array: Bytes) -> Bytes:
        """Cut the window out of an array (H, W, ...)."""
        return array[self.top : self.top + self.height, self.left : self.left + self.width]


class Difference(NamedTuple):
    """An image on which a class is bad, cut to the window where the prediction differs."""

    name: str
    """The name of the image in the data set."""
    wrong: int
    """Pixels of the whole image that are missed or wrongly predicted as the class."""
    window: Window
    image: Bytes
    """(h, w, 3) RGB."""
    truth: Bytes
    """(h, w) label ids, 255 = void."""
    prediction: Bytes
    """(h, w) class ids."""


def worst_images(counts: npt.ArrayLike, k: int, number: int) -> list[int]:
    """Return the images that cost a class most IoU: those with the most wrong pixels, at least one.

    Args:
        counts: (N, 3, K) int64, true positives, false positives and false negatives of each image.
        k: the class.
        number: most images.
    """
    wrong = np.asarray(counts)[:, 1:, k].sum(axis=1)
    order = np.argsort(-wrong, kind="stable")[:number]
    return [int(i) for i in order if wrong[i]]


def window_of(wrong: npt.NDArray[np.bool_]) -> Window:
    """Return the smallest window that holds most of the wrong pixels (H, W), see `ZOOMS`."""
    height, width = wrong.shape
    sums = np.zeros((height + 1, width + 1), dtype=np.int64)
    sums[1:, 1:] = wrong.cumsum(axis=0).cumsum(axis=1)
    for part in ZOOMS:
        h, w = -(-height // part), -(-width // part)
        inside = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]  # of the window at each place
        top, left = np.unravel_index(inside.argmax(), inside.shape)
        if inside.max() >= HELD * sums[-1, -1]:
            return Window(int(top), int(left), h, w)
    return Window(0, 0, height, width)


def differences(
    model: nn.Module, split: Split, device: torch.device, counts: npt.ArrayLike, classes: Sequence[int], number: int = 3
) -> dict[int, list[Difference]]:
    """Find where a model is worst at each of some classes.

    Args:
        model: in evaluation mode, on the device.
        split: N images.
        counts: (N, 3, K) int64, see `worst_images`.
        classes: the classes to look at.
        number: most images for each class.

    Returns:
        For each class its differences, the worst first. Each image is predicted once.
    """
    wanted = {k: worst_images(counts, k, number) for k in classes}
    found: dict[tuple[int, int], Difference] = {}
    for index in sorted({i for images in wanted.values() for i in images}):
        prediction = _predict(model, split, index, device)
        for k in (k for k, images in wanted.items() if index in images):
            found[k, index] = _difference(split, index, prediction, k)
    return {k: [found[k, i] for i in images] for k, images in wanted.items()}


def _predict(model: nn.Module, split: Split, index: int, device: torch.device) -> Bytes:
    image = torch.from_numpy(split.image(index).copy()).to(device).permute(2, 0, 1)[None]
    return predict(model, image)[0].cpu().numpy()


def _difference(split: Split, index: int, prediction: Bytes, k: int) -> Difference:
    image, truth = split.image(index), split.mask(index)
    wrong = (truth != VOID) & (truth != prediction) & ((truth == k) | (prediction == k))
    window = window_of(wrong)
    parts = (window.of(array) for array in (image, truth, prediction))
    return Difference(split.row_name(index), int(wrong.sum()), window, *parts)
