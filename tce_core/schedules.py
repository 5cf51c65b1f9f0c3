"""How the learning rate and the tilt change during a training run. Steps are counted from 0 over all epochs."""

from tce_core.config import TrialConfig


def learning_rate(config: TrialConfig, step: int, total: int) -> float:
    """Return the learning rate of a step out of `total`: the poly schedule lr (1 - step / total)^power."""
    return config.lr * float((1 - step / total) ** config.poly_power)


def tilt(config: TrialConfig, step: int, total: int) -> float:
    """Return t at a step out of `total`: after the trunk, it rises linearly from 0 during the tilt warm-up, then stays.

    A step of the trunk has no tilt; do not ask for it.
    """
    first = total // config.epochs * config.trunk_epochs
    warm = config.tilt_warmup * (total - first)
    return config.t * min(1.0, (step - first + 1) / warm) if warm else config.t
