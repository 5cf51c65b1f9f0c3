"""The tilted mean, its weights, and the moving average of Algorithm 1. None of them overflows.

The tilted mean of losses f with tilt t (arXiv 2103.14051, Eqs. 2 and 3, after tilted ERM) is

    R(t) = (1/t) log( (1/n) sum_i exp(t f_i) )

R(0) is the plain mean, R(+inf) the maximum and R(-inf) the minimum. The gradient of R is the mean of the gradients
of f, weighted by softmax(t f). e^{tf} overflows float32 at tf > 88, so it is never computed.
"""

import math
from typing import Any

import torch
from torch import Tensor


def tilted_mean(values: Tensor, t: float, *, where: Tensor | None = None, dim: int = -1) -> Tensor:
    """Compute the tilted mean of `values` along `dim`; it is differentiable, and accurate for any finite t.

    It is computed in float64, because for small t the result is a difference of nearly equal logarithms.

    Args:
        values: float tensor of any shape, the losses.
        t: the tilt, finite; 0 gives the mean, a negative tilt favours small losses.
        where: bool tensor of the same shape; entries that are False (an absent class, an all-void image) do not count.
        dim: the dimension to reduce.

    Returns:
        A tensor without `dim`, in the dtype of `values`. A row without a valid entry gives 0 with gradient 0.

    Raises:
        ValueError: t is not finite.
    """
    valid = torch.ones_like(values, dtype=torch.bool) if where is None else where
    mean: Tensor = _TiltedMean.apply(values, valid, _within_range(t), dim)  # type: ignore[no-untyped-call]
    return mean


class _TiltedMean(torch.autograd.Function):
    """Its gradient is known, so autograd need not record each operation. On a GPU that saves most of the time."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, valid: Tensor, t: float, dim: int) -> Tensor:
        ctx.save_for_backward(values, valid)
        ctx.t, ctx.dim = t, dim
        f = torch.where(valid, values, 0).double()
        n = valid.sum(dim, keepdim=True).clamp(min=1)
        m = f.sum(dim, keepdim=True) / n
        if t == 0:
            return m.squeeze(dim).to(values.dtype)
        # R(f) = m + R(f - m) for any constant m. With m = mean, x is small if the losses are nearly equal.
        x = torch.where(valid, t * (f - m), 0)
        # If every |x| <= 1, log1p(mean(expm1(x))) loses no digits; otherwise log-sum-exp loses none that matter.
        small = x.abs().amax(dim, keepdim=True) <= 1
        near = torch.log1p(torch.expm1(x.clamp(-1, 1)).sum(dim, keepdim=True) / n)
        log_n = n.double().log()  # the log of an integer tensor would be float32
        far = torch.logsumexp(x.masked_fill(~valid, -math.inf), dim, keepdim=True) - log_n
        return (m + torch.where(small, near, far) / t).squeeze(dim).to(values.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        values, valid = ctx.saved_tensors
        weights = tilted_weights(values, ctx.t, where=valid, dim=ctx.dim)
        return grad.unsqueeze(ctx.dim) * weights, None, None, None


def tilted_weights(values: Tensor, t: float, *, where: Tensor | None = None, dim: int = -1) -> Tensor:
    """Return softmax(t f), the weight of each entry in the gradient of `tilted_mean`.

    Args:
        values: see `tilted_mean`.
        t: see `tilted_mean`.
        where: see `tilted_mean`.
        dim: the dimension along which the weights add up to 1.

    Returns:
        A tensor of the shape and dtype of `values`. A row without a valid entry has weights 0.

    Raises:
        ValueError: t is not finite.
    """
    t = _within_range(t)
    x = t * values.double()
    if where is None:
        return torch.softmax(x, dim).to(values.dtype)
    weights = torch.softmax(x.masked_fill(~where, -math.inf), dim)
    return torch.nan_to_num(weights).to(values.dtype)  # softmax gives NaN for a row without a valid entry


def log_ema(log_average: Tensor, log_value: Tensor, rate: Tensor) -> Tensor:
    """Return log((1 - rate) * e^log_average + rate * e^log_value): Algorithm 1, line 7, in the log domain.

    With log_average = t L~_c, log_value = t L_B and rate = gamma, this equals line 7 for any t.

    Args:
        log_average: float64 tensor of any shape, finite.
        log_value: of the same shape and dtype.
        rate: of the same shape and dtype, in (0, 1]; it is not checked.
    """
    return torch.logaddexp(torch.log1p(-rate) + log_average, torch.log(rate) + log_value)


def _within_range(t: float) -> float:
    """Limit |t| to a range in which neither 1/t nor t f overflows.

    Outside this range the tilted mean equals the mean, or an extreme, to all digits.
    """
    if not math.isfinite(t):
        raise ValueError(f"t = {t} is not finite; for an infinite tilt use min() or max()")
    return math.copysign(min(max(abs(t), 1e-200), 1e200), t) if t else 0.0
