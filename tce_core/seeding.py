"""Random numbers that are a function of where they are used, not of what was drawn before.

Every draw of a training run is keyed by (seed, what it is for, step, …). So a run that is stopped and resumed, or
split over more workers, sees the same numbers, and no generator's state has to be saved.
"""

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What a random number is for; distinct streams are independent."""

    WEIGHTS = 0
    SHUFFLE = 1
    DRAW = 2
    CROP = 3
    DROPOUT = 4


def numpy_generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    return np.random.default_rng([seed, stream, *key])


def torch_seed(seed: int, stream: Stream, *key: int) -> int:
    return int(np.random.SeedSequence([seed, stream, *key]).generate_state(1, np.uint64)[0])


def torch_generator(seed: int, stream: Stream, *key: int) -> torch.Generator:
    return torch.Generator().manual_seed(torch_seed(seed, stream, *key))
