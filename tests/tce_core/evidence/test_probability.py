"""The probability that one method is better, compared with the t test of `scipy.stats`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tce_core.evidence.probability import pooled_variance, probability_above

groups = st.lists(st.floats(0, 1), min_size=2, max_size=6)


@given(groups, groups, st.sampled_from([0.0, 0.05]))
def test_it_is_one_minus_the_p_value_of_a_t_test(one, other, margin):
    variance, freedom = pooled_variance([one, other])
    if variance < 1e-12:
        return
    test = stats.ttest_ind([x - margin for x in one], other, alternative="greater")
    assert probability_above(one, other, variance, freedom, margin) == pytest.approx(1 - test.pvalue, abs=1e-9)


def test_more_methods_make_the_variance_surer():
    alone, both = pooled_variance([[0.1, 0.3], []]), pooled_variance([[0.1, 0.3], [0.5, 0.7], [0.2]])
    assert alone == pytest.approx((0.02, 1))
    assert both == pytest.approx((0.02, 2))
    assert probability_above([0.4], [0.2], *both) > probability_above([0.4], [0.2], *alone) > 0.5


def test_without_a_repetition_nothing_is_known():
    variance, freedom = pooled_variance([[0.1], [0.2]])
    assert probability_above([0.9], [0.1], variance, freedom) == 0.5


def test_without_scatter_the_sign_decides():
    assert probability_above([0.5, 0.5], [0.4, 0.4], 0.0, 2) == 1
    assert probability_above([0.5, 0.5], [0.5, 0.5], 0.0, 2) == 0.5
    with pytest.raises(ValueError, match="needs a training"):
        probability_above([], [0.4], 0.1, 2)
