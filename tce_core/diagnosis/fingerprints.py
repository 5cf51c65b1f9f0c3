"""What tells whether two pictures are the same: a digest, a difference hash, and a thumbnail.

The difference hash (Krawetz, "Kind of like that", 2013) has a bit for each pair of neighbours on a grey image of 8x9
pixels: whether the right one is brighter. It is a fast filter only. A flat scene has random bits, and two streets
under the same sky have many in common, so `duplicates.py` compares the thumbnails as well.
"""

import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 32
"""Pixels at each side of a thumbnail."""


class Fingerprint(NamedTuple):
    """What is kept of a picture."""

    digest: bytes
    """SHA-256 of its size and its pixels."""
    bits: np.uint64
    """The difference hash."""
    thumbnail: npt.NDArray[np.uint8]
    """(32 * 32,) uint8, grey means over equal parts of the picture."""


def fingerprint_of(image: npt.NDArray[np.uint8]) -> Fingerprint:
    """Compute the fingerprint of a picture (H, W, 3) uint8 RGB."""
    digest = hashlib.sha256(str(image.shape).encode())
    digest.update(image.tobytes())
    grey = Image.fromarray(image).convert("L")
    small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX))
    bits = np.packbits(small[:, 1:] > small[:, :-1]).view(np.uint64)[0]
    thumbnail = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX)).ravel()
    return Fingerprint(digest.digest(), bits, thumbnail)
