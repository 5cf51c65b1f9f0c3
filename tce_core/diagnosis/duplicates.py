"""Pictures that two splits share: exact ones, and near-identical ones such as a recompressed or resized copy.

Near-identical means almost the same pixels, not the same scene: two frames of a video that drives are not. The
constants were chosen on CamVid, whose splits are frames of the same drives; docs/diagnose.md has the measurement.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from tce_core.diagnosis.fingerprints import Fingerprint
from tce_core.iou import Floats

BITS = 10
"""Most bits of 64 in which the difference hashes of near-identical pictures differ."""
DIFFERENCE = 0.1
"""Largest difference of their thumbnails, as a share of the contrast, see `differences`."""


class Duplicate(NamedTuple):
    """A picture of one split, and the picture of an earlier split that is most like it."""

    split: str
    image: int
    other_split: str
    other_image: int
    difference: float
    """0 for the same pixels, else see `differences`."""

    @property
    def exact(self) -> bool:
        return self.difference == 0


def find_duplicates(splits: Mapping[str, Sequence[Fingerprint]]) -> list[Duplicate]:
    """Find the pictures that a split shares with an earlier one. Copies within a split do not count.

    Args:
        splits: the fingerprints of the pictures of each split, by its name, in the order train, val, test.

    Returns:
        At most one per picture and earlier split: the first exact copy, else the nearest one. Exact ones are first.
    """
    found = []
    for earlier, later in combinations(splits, 2):
        exact = {print_.digest: i for i, print_ in reversed(list(enumerate(splits[earlier])))}
        for index, print_ in enumerate(splits[later]):
            if (twin := exact.get(print_.digest)) is not None:
                found.append(Duplicate(later, index, earlier, twin, 0.0))
        copies = {one.image for one in found if (one.split, one.other_split) == (later, earlier)}
        near = _nearest(splits[later], splits[earlier])
        found += [Duplicate(later, i, earlier, j, d) for i, (j, d) in near.items() if i not in copies]
    return sorted(found, key=lambda one: not one.exact)


def differences(one: Floats, many: Floats) -> Floats:
    """Return how much a thumbnail differs from others, as a share of their contrast.

    It is the root mean square of their difference, divided by the geometric mean of their standard deviations. The mean
    grey of each is subtracted first: a copy may be brighter. Flat thumbnails without any contrast differ by infinity.

    Args:
        one: (P,) float, grey values.
        many: (N, P) float.

    Returns:
        (N,) float64.
    """
    a, b = one - one.mean(), many - many.mean(axis=1, keepdims=True)
    contrast = np.sqrt(a.std() * b.std(axis=1))
    root: Floats = np.sqrt(np.mean((a - b) ** 2, axis=1))
    ratio: Floats = np.divide(root, contrast, out=np.full_like(root, np.inf), where=contrast > 0)
    return ratio


def thumbnails(prints: Sequence[Fingerprint]) -> Floats:
    """Return the thumbnails as (N, P) float64."""
    return np.array([print_.thumbnail for print_ in prints], dtype=np.float64)


def _nearest(ours: Sequence[Fingerprint], theirs: Sequence[Fingerprint]) -> dict[int, tuple[int, float]]:
    """For each of our pictures that has near-identical ones among theirs: the nearest one, and its difference."""
    bits, other_bits = (np.array([print_.bits for print_ in prints], np.uint64) for prints in (ours, theirs))
    grey, other_grey = thumbnails(ours), thumbnails(theirs)
    nearest = {}
    for i in range(len(bits)):
        alike = np.flatnonzero(np.bitwise_count(bits[i] ^ other_bits) <= BITS)
        if not len(alike):
            continue
        apart = differences(grey[i], other_grey[alike])
        if (least := float(apart.min())) <= DIFFERENCE:
            # Pictures whose thumbnails are equal but whose pixels are not still differ.
            nearest[i] = (int(alike[apart.argmin()]), max(least, 1e-6))
    return nearest
