"""Predict one photograph: from its pixels to its files."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tce_core.argmax import most_likely
from tce_core.data.schema import ClassInfo
from tce_core.prediction.images import Photograph
from tce_core.prediction.outputs import Bytes, Probabilities, colours_of, probabilities, write_mask, write_overlay
from tce_core.prediction.tiled import bands, default_tile
from tce_core.tiles import tiles

MASK, OVERLAY, PROBABILITIES = ".png", ".overlay.jpg", ".npy"


@dataclass(frozen=True)
class Predictor:
    """A model, and what it writes of each photograph."""

    model: nn.Module
    """In evaluation mode, on `device`."""
    device: torch.device
    classes: Sequence[ClassInfo]
    tile: int | None = None
    """Side of the tiles; 0 for whole images, None for what suits the size of each image."""
    overlay: bool = False
    probabilities: bool = False

    def write(self, photograph: Photograph, image: Bytes) -> npt.NDArray[np.int64]:
        """Predict an image (H, W, 3) uint8 RGB and write its files, each whole or not at all.

        Returns:
            (K,) int64, the pixels of each class.

        Raises:
            UserError: a file cannot be written.
        """
        shape, colours = (len(self.classes), *image.shape[:2]), colours_of(self.classes)
        file = probabilities(photograph.output(PROBABILITIES), *shape) if self.probabilities else nullcontext()
        with file as target:
            mask = self.mask(image, target)
        if self.overlay:
            write_overlay(photograph.output(OVERLAY), image, mask, colours)
        write_mask(photograph.output(MASK), mask, colours)
        return np.bincount(mask.ravel(), minlength=len(self.classes))

    def mask(self, image: Bytes, into: Probabilities | None = None) -> Bytes:
        """Return the class ids (H, W) uint8 of an image (H, W, 3) uint8 RGB.

        Args:
            image: of any size.
            into: a file that is filled with the probabilities of the classes, if they are wanted.
        """
        height, width = image.shape[:2]
        tile = default_tile(height, width, len(self.classes)) if self.tile is None else self.tile
        mask = np.empty((height, width), np.uint8)
        for top, logits in bands(self.model, torch.tensor(image, device=self.device).permute(2, 0, 1), tile):
            for _, rows in tiles(logits[None]):  # small parts, so that what lies between stays small
                first, part = top + rows.start, logits[:, rows]
                mask[first : first + part.shape[1]] = most_likely(part[None])[0].cpu().numpy()
                if into is not None:
                    into.write(first, part.softmax(0))
        return mask
