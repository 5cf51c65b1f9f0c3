"""The tilted mean, its weights, and the moving average of Algorithm 1, all without overflow.

For losses f and tilt t the tilted mean (paper Eqs. 2 and 3, after tilted ERM) is

    R(t) = (1/t) log( (1/n) sum_i exp(t f_i) )

with R(0) the plain mean, R(+inf) the maximum and R(-inf) the minimum. Its gradient is the softmax(t f)-weighted
mean of the gradients of f. e^{tf} overflows float32 at tf > 88, so nothing here ever computes it.
"""

import math

import torch
from torch import Tensor


def tilted_mean(values: Tensor, t: float, *, where: Tensor | None = None, dim: int = -1) -> Tensor:
    """The tilted mean of `values` along `dim`, differentiable, exact for any finite t.

    Args:
        values: float tensor of any shape, the losses.
        t: the tilt; 0 gives the mean, negative tilts favour small losses.
        where: bool tensor of the same shape; False entries (an absent class, an all-void image) do not count.
        dim: the dimension that is reduced.

    Returns:
        `values` without `dim`, in its dtype. A row in which nothing counts gives 0 with gradient 0.

    Computed in float64: for small t the result is a difference of nearly equal logarithms.
    """
    t = _within_range(t)
    valid = torch.ones_like(values, dtype=torch.bool) if where is None else where
    f = torch.where(valid, values, 0).double()
    n = valid.sum(dim, keepdim=True).clamp(min=1)
    if t == 0:
        return (f.sum(dim, keepdim=True) / n).squeeze(dim).to(values.dtype)
    # R(f) = m + R(f - m) for any constant m; the mean keeps both branches below small.
    m = (f.sum(dim, keepdim=True) / n).detach()
    x = torch.where(valid, t * (f - m), 0)
    # Where every |x| <= 1, log1p(mean(expm1)) has no cancellation; elsewhere log-sum-exp has none that matters.
    small = x.detach().abs().amax(dim, keepdim=True) <= 1
    near = torch.log1p(torch.expm1(x.clamp(-1, 1)).sum(dim, keepdim=True) / n)
    log_n = n.double().log()  # of an integer tensor it would be float32
    far = torch.logsumexp(x.masked_fill(~valid, -math.inf), dim, keepdim=True) - log_n
    tilted = m + torch.where(small, near, far) / t
    return tilted.squeeze(dim).to(values.dtype)


def tilted_weights(values: Tensor, t: float, *, where: Tensor | None = None, dim: int = -1) -> Tensor:
    """softmax(t f): how much each entry counts in the gradient of `tilted_mean`. Same shape; a row sums to 1 or 0."""
    t = _within_range(t)
    x = t * values.double()
    if where is None:
        return torch.softmax(x, dim).to(values.dtype)
    weights = torch.softmax(x.masked_fill(~where, -math.inf), dim)
    return torch.nan_to_num(weights).to(values.dtype)  # a row without a valid entry: all weights 0


def log_ema(log_average: float, log_value: float, rate: float) -> float:
    """log of (1 - rate) * e^log_average + rate * e^log_value: Algorithm 1, line 7, in the log domain.

    With log_average = t * L~_c and log_value = t * L_B this *is* the paper's line, for any t. rate in (0, 1].
    """
    if not 0 < rate <= 1:
        raise ValueError(f"rate = {rate} is not in (0, 1]")
    if rate == 1:
        return log_value
    old, new = math.log1p(-rate) + log_average, math.log(rate) + log_value
    high, low = max(old, new), min(old, new)
    return high + math.log1p(math.exp(low - high))


def _within_range(t: float) -> float:
    """t, unless 1/t or t f could overflow: at such |t| the tilted mean is the mean, or an extreme, to all digits."""
    if not math.isfinite(t):
        raise ValueError(f"t = {t} is not finite; the limits of the tilted mean are min() and max()")
    return math.copysign(min(max(abs(t), 1e-200), 1e200), t) if t else 0.0
