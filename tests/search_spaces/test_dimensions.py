"""`search_spaces.dimensions`: the values of a grid; dimensions are frozen."""

import pytest

from search_spaces.dimensions import Choices, Range


def test_a_grid_spaces_a_range_evenly_on_its_own_scale():
    assert Range(low=1, high=4).grid() == [1, 2, 3, 4]
    assert Range(low=0.01, high=10, log=True).grid() == pytest.approx([0.01, 0.1, 1, 10])
    assert Range(low=0, high=1, points=2).grid() == [0, 1]
    third = Range(low=0.1, high=0.7, points=7).grid()
    assert third[0] == 0.1
    assert third[-1] == 0.7  # the ends are exact, so they stay inside the range


def test_a_grid_tries_every_choice():
    assert Choices(choices=["mcce", 3, None]).grid() == ["mcce", 3, None]


def test_dimensions_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        Choices(choices=["mcce"]).choices = []
