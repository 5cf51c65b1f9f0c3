"""The mean of the largest values, against numpy's sorting."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tce_core.worst import mean_of_worst

values = st.lists(st.floats(-50, 50, allow_subnormal=False), min_size=1, max_size=12)


@given(values, st.data())
def test_a_whole_number_of_values_is_their_mean(numbers, data):
    count = data.draw(st.integers(1, len(numbers)))
    everywhere = torch.ones(len(numbers), dtype=torch.bool)
    worst = mean_of_worst(torch.tensor(numbers, dtype=torch.float64), count / len(numbers), everywhere)
    assert worst.item() == pytest.approx(np.sort(numbers)[-count:].mean(), abs=1e-9)


@given(values, st.floats(0.01, 1))
def test_values_that_do_not_count_change_nothing(numbers, share):
    numbers = torch.tensor(numbers)
    everywhere = torch.ones(len(numbers), dtype=torch.bool)
    more = torch.cat([torch.full((3,), 100.0), numbers])
    where = torch.cat([torch.zeros(3, dtype=torch.bool), everywhere])
    assert mean_of_worst(more, share, where) == mean_of_worst(numbers, share, everywhere)


def test_a_value_that_is_not_a_number_is_not_hidden():
    numbers = torch.tensor([1.0, torch.nan, 2.0])
    assert mean_of_worst(numbers, 0.3, torch.ones(3, dtype=torch.bool)).isnan()


def test_of_nothing_it_is_zero_without_gradient():
    numbers = torch.randn(4, requires_grad=True)
    worst = mean_of_worst(numbers, 0.5, torch.zeros(4, dtype=torch.bool))
    worst.backward()
    assert worst == 0
    assert (numbers.grad == 0).all()
