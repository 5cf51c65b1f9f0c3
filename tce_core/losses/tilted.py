"""The tilted losses of the paper: over images, Eq. (2), and over classes, Eq. (3) and its larger scopes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from tce_core import VOID
from tce_core.distributed import gather_batch, global_mean, share_gradient
from tce_core.losses.by_class import batch_class_losses
from tce_core.pixel_losses import class_losses, pixel_losses
from tce_core.running import RunningTilt, State
from tce_core.tilt import tilted_mean, tilted_weights


@dataclass
class ImageTilt:
    """Eq. (2): the tilted mean, over the images of the global batch, of the cross-entropy of each image.

    Images without a valid pixel do not count.
    """

    t: float

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        valid = (labels != VOID).flatten(1).sum(1)  # (B,)
        losses = pixel_losses(logits, labels).flatten(1).sum(1) / valid.clamp(min=1)  # (B,)
        return share_gradient(tilted_mean(gather_batch(losses), self.t, where=gather_batch(valid) > 0))


@dataclass
class ClassTilt:
    """Eq. (3): the tilted mean over the classes in each image, then the mean over images.

    The loss of a class is the mean over its pixels in the image. Absent classes and images without a valid pixel do
    not count.
    """

    t: float

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        sums, counts = class_losses(logits, labels)
        images = tilted_mean(sums / counts.clamp(min=1), self.t, where=counts > 0, dim=1)  # (B,)
        return global_mean(images.sum(), (counts.sum(1) > 0).sum())


@dataclass
class BatchClassTilt:
    """The tilted mean over the classes of the global batch. t = 0 is balanced cross-entropy."""

    t: float

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses, present = batch_class_losses(logits, labels)
        return tilted_mean(losses, self.t, where=present)


class DataClassTilt:
    """The class losses of the global batch, weighted by the running tilted losses of the whole training.

    The weights are those of Algorithm 1, line 8: w_c = e^{t L~_c} / sum e^{t L~_k}, where the sum is over the classes
    of the batch. L~_c is first updated with the batch, line 7. The algorithm draws a class with probability w_c; here
    the loss of the class has weight w_c. With gamma = 1 the gradient is that of `BatchClassTilt`. The weights have no
    gradient.

    Args:
        t: the tilt, finite.
        gamma: rate of the moving average, in (0, 1].
    """

    def __init__(self, t: float, gamma: float) -> None:
        self.running = RunningTilt(0, t, gamma)  # the first batch says how many classes there are

    @property
    def t(self) -> float:
        """The tilt. To change it keeps every L~_c."""
        return self.running.t

    @t.setter
    def t(self, t: float) -> None:
        self.running.set_tilt(t)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses, present = batch_class_losses(logits, labels)
        if not self.running.num_classes:
            self.running = RunningTilt(len(losses), self.t, self.running.gamma)
        self.running.follow(losses.detach(), present)
        weights = tilted_weights(self.running.log_tilted, 1.0, where=present)
        return (weights.to(losses.dtype) * losses).sum()

    def state_dict(self) -> State:
        """Return the running losses, the visits and the current tilt."""
        return self.running.state_dict()

    def load_state_dict(self, state: Mapping[str, Sequence[float]]) -> None:
        """Restore what `state_dict` returned."""
        self.running = RunningTilt(len(state["visits"]), self.t, self.running.gamma)
        self.running.load_state_dict(state)


def class_tilt(
    t: float, over: Literal["image", "batch", "data"] = "image", gamma: float = 0.1
) -> ClassTilt | BatchClassTilt | DataClassTilt:
    """Return the class tilt over each image, Eq. (3), over the global batch, or over the batches so far."""
    if over == "data":
        return DataClassTilt(t, gamma)
    return BatchClassTilt(t) if over == "batch" else ClassTilt(t)
