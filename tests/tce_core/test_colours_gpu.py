"""Colour changes and normalisation on a GPU are those of the CPU."""

import numpy as np
import pytest
import torch

from tce_core.colours import jitter, normalise

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("strength", [None, 0.0, 0.4, 1.0])
def test_colours_are_those_of_the_cpu(strength, layout):
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (4, 3, 96, 128), np.uint8)).contiguous(memory_format=layout)
    drawn = None if strength is None else [jitter(strength, rng) for _ in images]
    colours = None if drawn is None else torch.as_tensor(np.stack(drawn), dtype=torch.float32)
    expected = normalise(images, colours)
    result = normalise(images.cuda(), None if colours is None else colours.cuda())
    # The unit is the standard deviation of ImageNet, about 58 of 255 steps: this is far below one step.
    torch.testing.assert_close(result.cpu(), expected, rtol=0, atol=1e-4)
