"""Random numbers that depend on where they are used, not on what was drawn before.

The key of a draw is (seed, purpose, step, ...). A run that is resumed or split over more workers therefore sees the
same numbers, and no generator state has to be saved.

All keys of one stream must have the same length: a trailing 0 does not change the numbers of NumPy's SeedSequence.
"""

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """The purpose of a random number. Different streams are independent."""

    WEIGHTS = 0
    SHUFFLE = 1
    DRAW = 2
    CROP = 3
    DROPOUT = 4


def numpy_generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """Return a new NumPy generator for this key."""
    return np.random.default_rng([seed, stream, *key])


def torch_seed(seed: int, stream: Stream, *key: int) -> int:
    """Return a seed for torch, an integer of 64 bits, for this key."""
    return int(np.random.SeedSequence([seed, stream, *key]).generate_state(1, np.uint64)[0])


def torch_generator(seed: int, stream: Stream, *key: int) -> torch.Generator:
    """Return a new torch generator on the CPU for this key."""
    return torch.Generator().manual_seed(torch_seed(seed, stream, *key))
