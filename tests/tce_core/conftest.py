"""Shared fixtures: a data set of a few small street scenes, and a configuration that trains on it very fast."""

import pytest
import torch
from hypothesis import settings

from tce_core.config import TrialConfig
from tce_core.data.streets.dataset import make_streets

# No time limit per example, because the first call of an operator can take seconds.
settings.register_profile("tce_core", deadline=None)
settings.load_profile("tce_core")

# A second thread does not speed up such small tensors, and on a busy machine the threads wait for each other.
torch.set_num_threads(1)

FAST = {
    "encoder": "tu-mobilenetv3_small_050",
    "decoder_channels": 16,
    "crop": (32, 48),
    "batch_size": 4,
    "epochs": 2,
    "steps_per_epoch": 2,
    "precision": "fp32",
}


@pytest.fixture(scope="session")
def streets(tmp_path_factory):
    """16 training and 6 validation images of 64x96 pixels, ten classes."""
    return make_streets(tmp_path_factory.mktemp("data") / "streets", seed=0, train=16, val=6, test=1, size=(64, 96))


@pytest.fixture(scope="session")
def fast_config():
    """A function that makes a configuration whose epochs take less than a second: `fast_config(loss="focal")`."""

    def make(**changes):
        return TrialConfig(**{**FAST, **changes})

    return make
