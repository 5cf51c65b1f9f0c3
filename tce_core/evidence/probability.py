"""The probability that one method is better than another, from a few trainings of each."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student


def pooled_variance(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Compute the variance over seeds that methods have in common.

    Args:
        groups: for each method a measure of each training.

    Returns:
        The pooled variance and its degrees of freedom; NaN and 0 if no method has two trainings.
    """
    freedom = sum(len(group) - 1 for group in groups if group)
    squares = sum(float(np.var(group)) * len(group) for group in groups if group)
    return (squares / freedom if freedom else float("nan")), freedom


def probability_above(
    one: Sequence[float], other: Sequence[float] | None, variance: float, freedom: int, margin: float = 0.0
) -> float:
    """Compute the probability that the mean of one method exceeds that of another by more than a margin.

    It is the posterior under flat priors of both means and of the logarithm of the standard deviation that they have
    in common (Box and Tiao 1973, section 2.5): the difference of the means minus the margin, in units of
    sqrt(variance (1/n + 1/m)), follows Student's t.

    Args:
        one: a measure of each training, n > 0 of them.
        other: the same of the other method, m > 0; None: a method whose mean is known to be 0.
        variance: of a training, see `pooled_variance`.
        freedom: its degrees of freedom.
        margin: the difference that is asked for.

    Returns:
        A number in [0, 1]; 0.5 while nothing is known about the variance.

    Raises:
        ValueError: a method has no training.
    """
    if not one or (other is not None and not other):
        raise ValueError("each method needs a training")
    if freedom == 0:
        return 0.5
    gain = float(np.mean(one)) - (0.0 if other is None else float(np.mean(other))) - margin
    error = (variance * (1 / len(one) + (0.0 if other is None else 1 / len(other)))) ** 0.5
    if error == 0:
        return 0.5 + 0.5 * float(np.sign(gain))
    return float(student.cdf(gain / error, freedom))
