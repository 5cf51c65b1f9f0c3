"""The class of the largest logit compared with torch's and NumPy's argmax."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tce_core import argmax
from tce_core.adjust import TAUS, class_shares, offsets
from tce_core.argmax import most_likely, most_likely_adjusted

CLASSES = 7
LAYOUTS = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


def adjustments(seed=0, classes=CLASSES, taus=TAUS):
    return torch.from_numpy(
        offsets(class_shares(np.random.default_rng(seed).integers(0, 10**6, classes)), taus)
    ).float()


@pytest.fixture
def torch_threads():
    """Set the number of torch's threads for one test: other tests compare sums whose order depends on it."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@LAYOUTS
@DTYPES
def test_the_most_likely_class_is_torch_s_argmax(layout, dtype):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(-3, 4, (2, CLASSES, 33, 40), generator=generator).to(dtype)  # many ties
    logits[:, 2, 5], logits[:, 3, 6], logits[:, :, 7] = float("nan"), float("inf"), 0
    logits = logits.contiguous(memory_format=layout)
    assert torch.equal(most_likely(logits).long(), logits.argmax(1))
    assert torch.equal(most_likely_adjusted(logits, torch.zeros(1, CLASSES))[0].long(), logits.argmax(1))


@LAYOUTS
@DTYPES
@pytest.mark.parametrize(("tile", "threads"), [(1, 1), (5000, 1), (5000, 3), (argmax.CPU_TILE, 3)])
def test_every_adjustment_is_numpy_s_argmax(layout, dtype, tile, threads, monkeypatch, torch_threads):
    monkeypatch.setattr(argmax, "CPU_TILE", tile)
    torch_threads(threads)
    logits = 3 * torch.randn(2, CLASSES, 33, 40, generator=torch.Generator().manual_seed(1))
    logits = logits.to(dtype).contiguous(memory_format=layout)[..., 1:, :-3]
    moved = adjustments()
    found = most_likely_adjusted(logits, moved)
    assert found.dtype == torch.uint8
    expected = logits.float().numpy()[None] - moved.numpy()[:, None, :, None, None]
    assert (found.numpy() == expected.argmax(2)).all()
    assert torch.equal(found[0], most_likely(logits))
    assert all((one != other).any() for one, other in pairwise(found))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([1, 2, 9, 255]))
def test_ties_and_values_that_are_not_finite_are_numpy_s_too(seed, rows, classes):
    """Whole numbers: their differences are exact, so ties stay ties."""
    rng = np.random.default_rng(seed)
    logits = rng.choice(np.array([-np.inf, -1, -0.0, 0, 1, np.inf, np.nan], np.float32), (2, classes, 3, 5))
    moved = np.outer(np.arange(rows), rng.integers(-2, 1, classes)).astype(np.float32)
    found = most_likely_adjusted(torch.from_numpy(logits), torch.from_numpy(moved))
    assert (found.numpy() == (logits[None] - moved[:, None, :, None, None]).argmax(2)).all()


@pytest.mark.gpu
@LAYOUTS
def test_a_gpu_predicts_the_same(layout):
    logits = 3 * torch.randn(2, CLASSES, 33, 40, generator=torch.Generator().manual_seed(2))
    logits, moved = logits.contiguous(memory_format=layout), adjustments()
    assert torch.equal(most_likely_adjusted(logits.cuda(), moved.cuda()).cpu(), most_likely_adjusted(logits, moved))


@pytest.mark.parametrize("rows", [[0, 1, 2, 4], [0, 2, 1]])
def test_offsets_off_a_line_or_out_of_order_are_refused(rows):
    """On a CPU, only the first and the last row are computed everywhere."""
    moved = torch.outer(torch.tensor(rows, dtype=torch.float32), torch.tensor([-1.0, -2.0, 0.0]))
    if len(rows) == 4:
        most_likely_adjusted(torch.zeros(1, 3, 2, 2), moved)  # steps of any length are fine
        moved[1, 0] = 1
    with pytest.raises(ValueError, match="on a line in order"):
        most_likely_adjusted(torch.zeros(1, 3, 2, 2), moved)
