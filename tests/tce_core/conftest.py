"""Shared by the tests of training: a data set of a few small street scenes, and the fastest configuration for it."""

import pytest
import torch
from hypothesis import settings

from tce_core.config import TrialConfig
from tce_core.data.streets.dataset import make_streets

# A time limit per example would measure the machine: the first call of an operator can take seconds.
settings.register_profile("tce_core", deadline=None)
settings.load_profile("tce_core")

# On tensors this small a second thread gains nothing, and on a busy machine they wait for each other.
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
    """Makes a configuration that trains in well under a second an epoch: `fast_config(loss="focal")`."""

    def make(**changes):
        return TrialConfig(**{**FAST, **changes})

    return make
