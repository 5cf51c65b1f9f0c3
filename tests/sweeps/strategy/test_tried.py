"""`sweeps.strategy.tried`: the distance to tried configurations, against a slow definition of it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna._transform import _SearchSpaceTransform as SearchSpaceTransform
from optuna.distributions import CategoricalDistribution, FloatDistribution

from sweeps.strategy.tried import Tried, position

SPACE = {
    "loss": CategoricalDistribution(("class_tilt", "mcce")),
    "t": FloatDistribution(0.1, 10.0, log=True),
    "lr": FloatDistribution(0.0, 0.5),
}
full = st.fixed_dictionaries({"loss": st.just("class_tilt"), "t": st.floats(0.1, 10.0), "lr": st.floats(0.0, 0.5)})
short = st.fixed_dictionaries({"loss": st.sampled_from(["class_tilt", "mcce"]), "lr": st.floats(0.0, 0.5)})
configurations = st.one_of(full, short)


def slow_distance(one, other):
    if one.keys() != other.keys() or one["loss"] != other["loss"]:
        return math.inf
    tilts = [abs(math.log10(one["t"] / other["t"])) / 2] if "t" in one else []
    return max([*tilts, abs(one["lr"] - other["lr"]) / 0.5])


@given(st.lists(configurations, max_size=8), configurations)
def test_the_distance_is_that_to_the_nearest_tried_configuration(tried, params):
    noted = Tried(SPACE)
    for one in tried:
        noted.add(one)
    wanted = min((slow_distance(params, one) for one in tried), default=math.inf)
    assert noted.distance(params) == pytest.approx(wanted, abs=1e-12)
    assert noted.count == len(tried)


def test_equal_choices_without_a_range_have_no_distance():
    noted = Tried({"loss": SPACE["loss"]})
    assert noted.distance({"loss": "mcce"}) == math.inf
    noted.add({"loss": "mcce"})
    assert noted.distance({"loss": "mcce"}) == 0.0
    assert noted.distance({"loss": "class_tilt"}) == math.inf


def test_the_position_in_a_range_is_that_of_optunas_own_unit_cube():
    """Optuna's transform to [0, 1] is the oracle, on linear and on log ranges."""
    for low, high, log in ((0.1, 3.0, True), (0.1, 0.4, True), (0.2, 0.7, False)):
        distribution = FloatDistribution(low, high, log=log)
        transform = SearchSpaceTransform({"x": distribution}, transform_0_1=True)
        for value in (low, low + 0.3 * (high - low), high):
            assert position(distribution, value) == pytest.approx(transform.transform({"x": value})[0], abs=1e-9)
