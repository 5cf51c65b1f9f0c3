"""The tilted mean compared with its formula in 80-digit arithmetic and with finite differences; its properties."""

import math
from decimal import Decimal, localcontext

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tce_core.tilt import log_ema, tilted_mean, tilted_weights

numbers = st.floats(-50, 50, allow_subnormal=False)
losses = st.lists(numbers, min_size=1, max_size=12)
tilts = st.floats(-30, 30)
positive_tilts = st.floats(1e-6, 1e6)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def tilted(values, t):
    return float(tilted_mean(tensor(values), t))


def literal(values, t):
    """Return (1/t) log mean e^{tf}, as written in the paper, with 80 digits and a huge range of exponents."""
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = 80, 10**15, -(10**15)
        exact_t = Decimal(t)
        mean = sum((exact_t * Decimal(value)).exp() for value in values) / len(values)
        return float(mean.ln() / exact_t)


def close(value, expected, values):
    """Return whether two numbers are equal up to a few rounding errors of the largest number involved."""
    return abs(value - expected) <= 1e-13 * (1 + max(map(abs, values)))


# The value


@given(losses, st.floats(-100, 100).filter(lambda t: abs(t) > 1e-30))
def test_it_is_the_literal_formula(values, t):
    assert close(tilted(values, t), literal(values, t), values)


@given(losses, st.integers(3, 12), st.sampled_from([-1, 1]))
def test_it_keeps_all_digits_at_tiny_tilts(values, exponent, sign):
    t = sign * 10.0**-exponent
    assert close(tilted(values, t), literal(values, t), values)


def test_the_textbook_formula_loses_those_digits():
    # This is why `tilted_mean` does not simply use logsumexp: at t = 1e-12 it keeps four of sixteen digits.
    values, t = [0.1, 0.7, 1.9], 1e-12
    textbook = (math.log(math.fsum(math.exp(t * value) for value in values)) - math.log(3)) / t
    assert abs(textbook - literal(values, t)) > 1e-6
    assert abs(tilted(values, t) - literal(values, t)) < 1e-15


@pytest.mark.parametrize(
    ("values", "t", "expected"),
    [
        # (1/t) log((e^0 + e^{t log 3}) / 2) = log 2 at t = 1; log(5) / 2 at t = 2; -log(2/3) at t = -1
        ([0.0, math.log(3)], 1, math.log(2)),
        ([0.0, math.log(3)], 2, math.log(5) / 2),
        ([0.0, math.log(3)], -1, math.log(1.5)),
        ([0.0, math.log(3)], 0, math.log(3) / 2),
        ([7.0], 3, 7.0),
    ],
)
def test_hand_worked_values(values, t, expected):
    assert tilted(values, t) == pytest.approx(expected, rel=1e-15)


@given(losses)
def test_its_limits_are_minimum_mean_and_maximum(values):
    # |R - max| <= log(n)/t, so t = 1e9 leaves 2.5e-9 at most; the mean is off by t Var/2 <= 1.3e-9.
    assert tilted(values, 1e9) == pytest.approx(max(values), abs=3e-9)
    assert tilted(values, -1e9) == pytest.approx(min(values), abs=3e-9)
    assert tilted(values, 1e-12) == pytest.approx(math.fsum(values) / len(values), abs=3e-9)
    assert close(tilted(values, 0), math.fsum(values) / len(values), values)


@given(losses, tilts, tilts)
def test_it_does_not_decrease_in_t(values, one, other):
    low, high = sorted([one, other])
    assert tilted(values, low) <= tilted(values, high) + 1e-13 * (1 + max(map(abs, values)))


@given(losses)
def test_its_slope_at_zero_is_half_the_variance(values):
    h = 1e-4
    slope = (tilted(values, h) - tilted(values, -h)) / (2 * h)
    spread = max(values) - min(values)
    half_variance = float(tensor(values).var(correction=0)) / 2
    # The central difference is off by R'''(0) h^2 / 6 <= spread^4 h^2, and by rounding / h.
    assert slope == pytest.approx(half_variance, abs=1e-9 + spread**4 * h**2 / 24)


@given(losses, positive_tilts)
def test_it_lies_within_log_n_over_t_of_the_maximum(values, t):
    value, slack = tilted(values, t), 1e-13 * (1 + max(map(abs, values)))
    assert max(values) - math.log(len(values)) / t - slack <= value <= max(values) + slack


@given(losses, positive_tilts)
def test_a_negative_tilt_is_the_positive_one_of_the_mirrored_losses(values, t):
    assert close(tilted(values, -t), -tilted([-value for value in values], t), values)


@given(losses, tilts, st.floats(-1e3, 1e3))
def test_a_constant_passes_through(values, t, c):
    assert tilted([value + c for value in values], t) == pytest.approx(tilted(values, t) + c, abs=1e-11)


# The gradient


@given(losses, tilts)
def test_its_gradient_is_the_softmax_of_t_f(values, t):
    f = tensor(values).requires_grad_()
    (gradient,) = torch.autograd.grad(tilted_mean(f, t), f)
    torch.testing.assert_close(gradient, torch.softmax(t * f.detach(), 0), atol=1e-13, rtol=1e-10)
    torch.testing.assert_close(tilted_weights(f.detach(), t), gradient, atol=1e-13, rtol=1e-10)


@pytest.mark.parametrize("t", [-30.0, -1.0, -1e-6, 0.0, 1e-6, 1e-3, 0.3, 2.0, 50.0])
def test_its_gradient_is_that_of_finite_differences(t):
    # One row of small spread and one of large spread use the two formulas of `tilted_mean`.
    f = tensor([[0.1, 0.2, 0.15], [0.1, 1.4, 0.9]]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tilted_mean(x, t), (f,))


@pytest.mark.parametrize("t", [-2.0, 0.5, 3.0])
def test_its_second_derivative_is_that_of_finite_differences(t):
    f = tensor([0.1, 0.45, 0.2]).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: tilted_mean(x, t), (f,))


# Masks and shapes


@given(st.lists(st.tuples(numbers, st.booleans()), min_size=1, max_size=10), tilts)
def test_a_masked_entry_counts_like_a_deleted_one(pairs, t):
    kept = [value for value, keep in pairs if keep]
    assume(kept)
    f, where = tensor([value for value, _ in pairs]).requires_grad_(), torch.tensor([keep for _, keep in pairs])
    value = tilted_mean(f, t, where=where)
    (gradient,) = torch.autograd.grad(value, f)
    assert close(float(value.detach()), tilted(kept, t), kept)
    torch.testing.assert_close(gradient[where], tilted_weights(tensor(kept), t), atol=1e-13, rtol=1e-10)
    assert (gradient[~where] == 0).all()
    torch.testing.assert_close(tilted_weights(f.detach(), t, where=where), gradient, atol=1e-13, rtol=1e-10)


@pytest.mark.parametrize("hidden", [math.nan, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize("t", [-5.0, 0.0, 1e-9, 5.0])
def test_masked_values_may_be_anything(hidden, t):
    f = tensor([1.0, hidden, 2.0]).requires_grad_()
    where = torch.tensor([True, False, True])
    value = tilted_mean(f, t, where=where)
    value.backward()
    assert close(float(value.detach()), tilted([1.0, 2.0], t), [2.0])
    assert f.grad.isfinite().all()
    assert f.grad[1] == 0


@pytest.mark.parametrize("t", [-1e4, -1.0, 0.0, 1e-9, 1.0, 1e4])
def test_an_empty_row_gives_zero_without_gradient(t):
    f = tensor([[3.0, 4.0], [5.0, 6.0]]).requires_grad_()
    where = torch.tensor([[False, False], [True, True]])
    value = tilted_mean(f, t, where=where)
    value.sum().backward()
    assert value[0] == 0
    assert (f.grad[0] == 0).all()
    assert f.grad[1].sum() == pytest.approx(1, rel=1e-12)
    assert (tilted_weights(f.detach(), t, where=where)[0] == 0).all()


@given(tilts)
def test_any_dimension_can_be_reduced(t):
    f = torch.linspace(0, 3, 24, dtype=torch.float64).reshape(2, 3, 4).sin()
    by_hand = torch.stack([torch.stack([tilted_mean(f[i, :, k], t) for k in range(4)]) for i in range(2)])
    torch.testing.assert_close(tilted_mean(f, t, dim=1), by_hand, atol=1e-14, rtol=0)
    torch.testing.assert_close(tilted_weights(f, t, dim=1).sum(1), torch.ones(2, 4, dtype=torch.float64))


# Extremes


@pytest.mark.parametrize("t", [1e4, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_overflows(t, dtype):
    f = torch.tensor([1.0, 1000.0, -1000.0, 990.0], dtype=dtype).requires_grad_()
    value = tilted_mean(f, t)
    value.backward()
    # The value is log(4) / 1e4 = 1.4e-4 away from the extreme; only the extreme has a weight.
    extreme = 1 if t > 0 else 2
    assert float(value.detach()) == pytest.approx(float(f[extreme].detach()), abs=2e-4)
    assert f.grad.tolist() == [float(i == extreme) for i in range(4)]
    assert tilted_weights(f.detach(), t).tolist() == f.grad.tolist()
    assert value.dtype == f.grad.dtype == dtype


@pytest.mark.parametrize(
    ("t", "expected", "weights"),
    [(5e-324, 2.0, [0.5, 0.5]), (-1e-310, 2.0, [0.5, 0.5]), (1.7e308, 3.0, [0, 1]), (-1.7e308, 1.0, [1, 0])],
)
def test_the_smallest_and_largest_tilts_that_a_float_holds(t, expected, weights):
    f = tensor([1.0, 3.0]).requires_grad_()
    value = tilted_mean(f, t)
    value.backward()
    assert value.item() == expected
    assert f.grad.tolist() == tilted_weights(f.detach(), t).tolist() == weights


@pytest.mark.parametrize("t", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("function", [tilted_mean, tilted_weights])
def test_a_tilt_that_is_not_finite_is_refused(function, t):
    with pytest.raises(ValueError, match=f"t = {t} is not finite"):
        function(tensor([1.0, 2.0]), t)


# The moving average


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(1e-6, 1))
def test_the_moving_average_is_line_7(average, value, rate):
    expected = math.log((1 - rate) * math.exp(average) + rate * math.exp(value))
    assert float(log_ema(tensor(average), tensor(value), tensor(rate))) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_moving_average_does_not_overflow(sign):
    # log(0.75 e^a + 0.25 e^b) with |b - a| = 1e6: only the larger term matters.
    a, b = sign * 1e6, sign * 2e6
    larger = math.log(0.25) + b if b > a else math.log(0.75) + a
    assert float(log_ema(tensor(a), tensor(b), tensor(0.25))) == pytest.approx(larger, rel=1e-15)


def test_a_rate_of_one_forgets_everything():
    assert log_ema(tensor(1e300), tensor(-3.0), tensor(1.0)) == -3.0
