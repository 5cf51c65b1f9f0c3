"""Which images are shown for a class, and which part of them."""

import numpy as np
import torch
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from torch import nn

from tce_core import VOID
from tce_core.diagnosis.differences import HELD, differences, window_of, worst_images
from tce_core.evaluation import evaluate

CPU = torch.device("cpu")


def test_the_images_with_the_most_wrong_pixels_come_first():
    counts = np.zeros((4, 3, 2), int)
    counts[:, 0, 0] = 1000
    counts[:, 1, 0] = [5, 0, 9, 0]  # false positives
    counts[:, 2, 0] = [5, 0, 0, 3]  # false negatives
    assert worst_images(counts, 0, 3) == [0, 2, 3]
    assert worst_images(counts, 0, 9) == [0, 2, 3]
    assert worst_images(counts, 1, 3) == []


def test_a_window_zooms_to_the_wrong_pixels():
    wrong = np.zeros((100, 200), dtype=bool)
    wrong[70:80, 150:160] = True
    window = window_of(wrong)
    assert window.of(wrong).sum() == 100
    assert (window.height, window.width) == (25, 50)
    wrong[:, :] = True
    assert window_of(wrong) == (0, 0, 100, 200)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_a_window_lies_in_the_image_and_holds_what_it_promises(wrong):
    window = window_of(wrong)
    part = window.of(wrong)
    assert part.shape == (window.height, window.width)
    assert part.sum() >= HELD * wrong.sum()


class Brightness(nn.Module):
    """Predicts class 1 where the red channel is bright, else class 0."""

    def forward(self, x):
        return torch.cat([-x[:, :1], x[:, :1]], dim=1)


def test_the_differences_are_those_of_the_images(streets):
    split, model = streets.val, Brightness()
    assert split.num_classes == 10
    counts = evaluate(Padded(model, 10), split, CPU)[1][0].numpy()
    found = differences(Padded(model, 10), split, CPU, counts, [1, 2], number=2)
    for k, shown in found.items():
        assert [one.wrong for one in shown] == sorted(counts[:, 1:, k].sum(1).tolist(), reverse=True)[:2]
        for one in shown:
            index = [split.row_name(i) for i in range(len(split))].index(one.name)
            assert np.array_equal(one.image, one.window.of(split.image(index)))
            assert np.array_equal(one.truth, one.window.of(split.mask(index)))
            assert set(np.unique(one.prediction)) <= {0, 1}
            wrong = (one.truth != VOID) & (one.truth != one.prediction) & ((one.truth == k) | (one.prediction == k))
            assert wrong.sum() >= HELD * one.wrong


class Padded(nn.Module):
    """Adds classes that are never predicted."""

    def __init__(self, model, classes):
        super().__init__()
        self.model, self.classes = model, classes

    def forward(self, x):
        logits = self.model(x)
        rest = torch.full_like(logits[:, :1], -1e9).expand(-1, self.classes - logits.shape[1], -1, -1)
        return torch.cat([logits, rest], dim=1)
