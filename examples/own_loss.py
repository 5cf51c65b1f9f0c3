"""Add a loss and train with it, without Ray, Optuna or MLflow.

This one is the mean loss over the classes of the batch (balanced cross-entropy, which is built in as `balanced_ce`).
To keep a loss, write it in `tce_core/losses/` and its line in `tce_core/loss_table.py`; then sweeps know it, too.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from tce_core.config import TrialConfig
from tce_core.data.streets.dataset import make_streets
from tce_core.distributed import global_mean, global_sum
from tce_core.loss_table import LOSSES, LossEntry
from tce_core.pixel_losses import class_losses
from tce_core.training import train


def balanced_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over the classes of the batch of each class's mean cross-entropy.

    Args:
        logits: (B, K, H, W) float.
        labels: (B, H, W) int64, 255 = void.

    Returns:
        A scalar.
    """
    sums, counts = class_losses(logits, labels)  # (B, K) each, of this worker's images
    means = global_mean(sums.sum(0), counts.sum(0))  # (K,) over all workers; 0 for an absent class
    present = global_sum(counts.sum(0)) > 0
    return means.sum() / present.sum().clamp(min=1)


LOSSES["balanced"] = LossEntry(builder=lambda: balanced_loss)


def main() -> None:
    with TemporaryDirectory() as folder:
        data = make_streets(Path(folder, "streets"), train=48, val=16, test=1)
        for loss in ("mcce", "balanced"):
            config = TrialConfig(
                loss=loss,
                encoder="tu-test_resnet",
                decoder_channels=64,
                crop=(64, 96),
                epochs=3,
                lr=0.2,
                clip_grad_norm=2,
            )
            for result in train(config, data):
                print(f"{loss:<9} epoch {result.epoch}: loss {result.train_loss:.3f}, mIoU {result.report.miou:.3f}")


if __name__ == "__main__":
    main()
