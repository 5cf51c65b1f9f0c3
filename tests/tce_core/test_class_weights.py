"""Inverse-frequency weights."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tce_core.class_weights import inverse_frequency_weights


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30).filter(any), st.floats(0, 2))
def test_frequency_weights_have_mean_one_over_the_classes_present(counts, power):
    weights = inverse_frequency_weights(torch.tensor(counts), power)
    present = [weight for weight, count in zip(weights, counts, strict=True) if count]
    assert math.fsum(present) / len(present) == pytest.approx(1)
    assert all(weight == 0 for weight, count in zip(weights, counts, strict=True) if not count)
    # Proportional to count ** -power: the product with count ** power is the same for every class.
    products = [weight * count**power for weight, count in zip(weights, counts, strict=True) if count]
    assert products == pytest.approx([products[0]] * len(products), rel=1e-9)


def test_frequency_weights_by_hand():
    # 1/1 : 1/2 : 1/6 = 6 : 3 : 1, which has mean 10/3.
    assert inverse_frequency_weights(torch.tensor([10, 20, 0, 60])) == pytest.approx([1.8, 0.9, 0, 0.3])
    assert inverse_frequency_weights(torch.tensor([10, 20, 0, 60]), 0.0) == pytest.approx([1, 1, 0, 1])
