"""`tce_core.batches`: the crops of a step, alone or split over workers, and ImageNet's normalisation."""

import pytest
import torch

from tce_core.batches import Batches, normalise
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
    images, labels = batches.collect(batches.start([Draw(0), Draw(holder, rarest), Draw(2)], step=5, first=0))
    assert (images.shape, labels.shape) == ((3, 3, 32, 48), (3, 32, 48))
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert (labels[1] == rarest).any()


def test_a_batch_split_over_workers_is_the_same_batch(batches):
    draws = [Draw(image) for image in (4, 4, 7, 1)]
    whole = batches.collect(batches.start(draws, step=9, first=0))
    halves = [batches.collect(batches.start(draws[first : first + 2], step=9, first=first)) for first in (0, 2)]
    for part, both in zip(whole, zip(*halves, strict=True), strict=True):
        assert torch.equal(part, torch.cat(both))
    assert not torch.equal(whole[0][0], whole[0][1])  # the same image twice, but different crops


def test_normalising_uses_imagenet_statistics():
    # (255 * 0.485 - 255 * 0.485) / ... = 0 and (255 - 123.675) / (255 * 0.229) = 0.515 / 0.229.
    white = normalise(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)).flatten().tolist()
    assert white == pytest.approx([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225])
    black = normalise(torch.zeros(1, 3, 1, 1, dtype=torch.uint8)).flatten().tolist()
    assert black == pytest.approx([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])
