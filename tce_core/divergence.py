"""A training that diverges: how it is found, and what it says."""

import math
from collections.abc import Sequence

from tce_core.config import TrialConfig


class NonFiniteLossError(ArithmeticError):
    """The loss is NaN or infinite: training diverges with these settings."""


def require_finite(losses: Sequence[float], config: TrialConfig, epoch: int) -> None:
    """Check the losses of an epoch.

    Args:
        losses: the loss of each step.
        config: the settings of the run.
        epoch: counted from 1.

    Raises:
        NonFiniteLossError: one is NaN or infinite; the message names the first, its step and what may help.
    """
    bad = next((step for step, loss in enumerate(losses) if not math.isfinite(loss)), None)
    if bad is None:
        return
    where = f"the loss is {losses[bad]} at step {bad + 1} of epoch {epoch}"
    if config.tilted:
        settings, remedies = f"lr {config.lr:g}, t {config.t:g}", "a lower lr, clip_grad_norm or tilt_warmup"
    else:
        settings, remedies = f"lr {config.lr:g}", "a lower lr or clip_grad_norm"
    raise NonFiniteLossError(f"{where} ({settings}); try {remedies}")
