"""The jackknife over images: class IoUs without each image in turn (Quenouille 1956, Tukey 1958)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tce_core.evidence.measures import OfIoU
from tce_core.iou import Floats, iou_from_counts


@dataclass(frozen=True, eq=False)
class Jackknife:
    """The class IoUs of one model on N images, and without each of them."""

    iou: Floats
    """(K,) on all images; NaN for an absent class."""
    left: Floats
    """(N, K) without one image; NaN where no other image has the class."""
    weight: Floats
    """(N, K) the share of the class's union that the image holds; the weights of a class sum to 1, or are 0."""

    @classmethod
    def of(cls, counts: npt.ArrayLike) -> "Jackknife":
        """Compute them from the counts of the images. Images without a valid pixel are left out.

        Args:
            counts: (N, 3, K) int64, (tp, fp, fn) of each image in pixels.

        Raises:
            ValueError: `counts` is not (N, 3, K) or has no valid pixel.
        """
        pixels = np.asarray(counts)
        if pixels.ndim != 3 or pixels.shape[1] != 3:
            raise ValueError(f"counts must be (N, 3, K), not {pixels.shape}")
        pixels = pixels[pixels.any(axis=(1, 2))]
        if not len(pixels):
            raise ValueError("no valid pixel in any image")
        whole, union = pixels.sum(axis=0), pixels.sum(axis=1)
        weight = union / np.maximum(union.sum(axis=0), 1)
        return cls(iou_from_counts(whole), iou_from_counts(whole - pixels), weight)

    def values(self, measure: OfIoU) -> Floats:
        """Return a measure without each image (N,). Where an image was the only one of a class, the class is left out.

        An image that was the only one at all leaves the measure as it is.
        """
        nothing_left = np.isnan(self.left).all(axis=1, keepdims=True)
        left = np.where(nothing_left, self.iou, self.left)
        return measure(left)
