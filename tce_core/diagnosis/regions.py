"""Regions of a mask: its connected components, of all classes in one pass.

A row of a mask is cut into runs, stretches of one class. Runs of neighbouring rows that touch and have the same class
belong to one region, so the regions are the connected components of a graph of runs. `scipy.ndimage.label` finds the
same regions, but needs a pass over the mask for every class.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tce_core import VOID

Ints = npt.NDArray[np.int64]


class Regions(NamedTuple):
    """The R regions of a mask, without those of void."""

    classes: Ints
    """(R,) the class of each region."""
    sizes: Ints
    """(R,) pixels of each region."""


def regions_of(mask: npt.NDArray[np.uint8]) -> Regions:
    """Find the regions of a mask. Pixels of one class that touch at a side or a corner belong to one region.

    Args:
        mask: (H, W) uint8 label ids, 255 = void.
    """
    starts = np.ones(mask.shape, dtype=bool)
    np.not_equal(mask[:, 1:], mask[:, :-1], out=starts[:, 1:])
    first = np.flatnonzero(starts)
    run_of = np.cumsum(starts, dtype=np.int32).reshape(mask.shape) - 1  # (H, W): the run of each pixel
    lengths = np.diff(first, append=mask.size)
    edges = np.concatenate([_below(mask, starts, run_of), *_aslant(mask, starts, run_of)], axis=1)
    graph = coo_array((np.ones(edges.shape[1], dtype=bool), edges), shape=(len(first), len(first)))
    number, region_of = connected_components(graph, directed=False)
    sizes = np.bincount(region_of, weights=lengths, minlength=number).astype(np.int64)
    classes = np.empty(number, dtype=np.int64)
    classes[region_of] = mask.ravel()[first]
    valid = classes != VOID
    return Regions(classes[valid], sizes[valid])


def _below(mask: npt.NDArray[np.uint8], starts: npt.NDArray[np.bool_], run_of: npt.NDArray[np.int32]) -> "np.ndarray":
    """Return the pairs (2, E) of runs of which one lies under the other, each pair once: where the overlap begins."""
    touch = (mask[1:] == mask[:-1]) & (starts[1:] | starts[:-1])
    return np.stack([run_of[:-1][touch], run_of[1:][touch]])


def _aslant(
    mask: npt.NDArray[np.uint8], starts: npt.NDArray[np.bool_], run_of: npt.NDArray[np.int32]
) -> "list[np.ndarray]":
    """Return the pairs (2, E) of runs that touch at a corner, down to the right and down to the left.

    Only where a run begins there in both rows: elsewhere the two runs also lie under each other.
    """
    begin = starts[1:, 1:] & starts[:-1, 1:]
    right, left = begin & (mask[1:, 1:] == mask[:-1, :-1]), begin & (mask[1:, :-1] == mask[:-1, 1:])
    return [
        np.stack([run_of[:-1, :-1][right], run_of[1:, 1:][right]]),
        np.stack([run_of[:-1, 1:][left], run_of[1:, :-1][left]]),
    ]
