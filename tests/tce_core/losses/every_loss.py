"""Every loss of the table, and the class tilt over each scope, built with settings that have an effect."""

from tce_core.loss_table import LOSSES
from tce_core.losses import build_loss

VARIANTS = (*LOSSES, "class_tilt over batch", "class_tilt over data")


def weights(num_classes):
    return tuple(0.25 + 0.5 * k for k in range(num_classes))


def shares(num_classes):
    """Shares that add up to 1, each class half as frequent as the one before."""
    return tuple(2.0 ** (num_classes - 1 - k) / (2**num_classes - 1) for k in range(num_classes))


def make_loss(variant, num_classes=4, **changes):
    """Build a variant: the name of a loss, and for the class tilt its scope."""
    name, _, over = variant.partition(" over ")
    given = {"t": 1.5, "class_weights": weights(num_classes), "class_shares": shares(num_classes), **changes}
    if over:
        given["over"] = over
    return build_loss(name, **{key: given[key] for key in LOSSES[name].arguments if key in given})
