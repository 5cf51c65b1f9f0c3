"""`tce_core.batches`: the crops of a step, alone or split over workers."""

import pytest
import torch

from tce_core.batches import Batches
from tce_core.data.crops import CropSettings
from tce_core.sampling import Draw


@pytest.fixture(scope="module")
def batches(streets):
    made = Batches(streets.train, CropSettings((32, 48), (0.5, 2.0), True, 0.4), seed=3, threads=2)
    yield made
    made.close()


def test_a_batch_stacks_its_draws_crops(batches, streets):
    rarest = int(streets.train.pixel_counts.sum(0).argmin())
    holder = int(streets.train.pixel_counts[:, rarest].argmax())
    batch = batches.start([Draw(0), Draw(holder, rarest), Draw(2)], step=5, first=0).wait()
    assert (batch.images.shape, batch.labels.shape) == ((3, 3, 32, 48), (3, 32, 48))
    assert (batch.images.dtype, batch.labels.dtype) == (torch.uint8, torch.uint8)
    assert batch.colours.shape == (3, 2, 3, 3)
    assert (batch.labels[1] == rarest).any()


def parts(batch):
    return [batch.images, batch.labels, batch.colours]


def test_threads_change_nothing(batches, streets):
    draws = [Draw(image) for image in (4, 0, 7)]
    waiting = Batches(streets.train, batches.settings, seed=3, threads=0)
    here, there = (parts(made.start(draws, step=2, first=0).wait()) for made in (waiting, batches))
    assert all(map(torch.equal, here, there))
    waiting.close()


def test_a_batch_split_over_workers_is_the_same_batch(batches):
    draws = [Draw(image) for image in (4, 4, 7, 1)]
    whole = parts(batches.start(draws, step=9, first=0).wait())
    halves = [parts(batches.start(draws[first : first + 2], step=9, first=first).wait()) for first in (0, 2)]
    for part, both in zip(whole, zip(*halves, strict=True), strict=True):
        assert torch.equal(part, torch.cat(both))
        assert not torch.equal(part[0], part[1])  # the same image twice, but different crops and colours


def test_a_crop_that_cannot_be_made_is_reported(batches, streets):
    absent = int(streets.train.pixel_counts[0].argmin())
    assert streets.train.pixel_counts[0, absent] == 0
    with pytest.raises(ValueError, match=f"no pixel of class {absent}"):
        batches.start([Draw(0, absent)], step=0, first=0).wait()
