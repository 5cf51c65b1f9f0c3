"""`Run`: the state of one training on one rank, and its steps."""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tce_core import distributed
from tce_core.adjust import TAUS, class_shares, offsets
from tce_core.batches import Batches
from tce_core.checkpoint import cannot_save, load_checkpoint, save_checkpoint
from tce_core.colours import normalise
from tce_core.config import TrialConfig
from tce_core.data.crops import CropSettings
from tce_core.data.dataset import Dataset, Split
from tce_core.devices import use_bf16
from tce_core.divergence import require_finite
from tce_core.errors import UserError
from tce_core.evaluation import autocast, evaluate
from tce_core.feed import Feed
from tce_core.freezing import training_mode
from tce_core.image_counts import ImageCounts, write_counts
from tce_core.iou import of_shown_classes
from tce_core.losses import Stateful, Tilted, configured_loss
from tce_core.losses.by_pixel import mean_loss
from tce_core.pixel_losses import class_losses
from tce_core.results import EpochResult, Scores, check_taus, measured_curve
from tce_core.sampling import StochasticDraws, build_sampler
from tce_core.schedules import learning_rate, tilt
from tce_core.seeding import Stream, torch_seed
from tce_core.start import model_to_train


class Run:
    """The state of one training run on one rank."""

    def __init__(self, config: TrialConfig, data: Dataset, device: torch.device, taus: Sequence[float] = TAUS) -> None:
        check_taus(taus)
        self.config, self.data, self.device, self.taus = config, data, device, tuple(taus)
        distributed.share_of_batch(config.batch_size, distributed.world_size(), synchronised=device.type == "cuda")
        steps = config.steps_per_epoch or max(1, len(data.train) // config.batch_size)
        self.steps = 0 if config.train == "nothing" else steps
        self.epoch = 0
        self.counts: dict[str, ImageCounts] = {}
        """Those of the latest evaluation, by split."""
        self.bf16 = use_bf16(config, device)
        torch.manual_seed(torch_seed(config.seed, Stream.WEIGHTS))
        model = model_to_train(config, data.class_names).to(device).to(memory_format=torch.channels_last)
        if distributed.world_size() > 1 and device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.model = model
        self.parallel = _parallel(model, device)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.SGD(
            trained, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True
        )
        self.sampler = build_sampler(config, data.train.pixel_counts)
        self.offsets = torch.from_numpy(offsets(class_shares(data.train.pixel_counts), self.taus))  # (T, K)
        self.loss = configured_loss(config, torch.from_numpy(data.train.pixel_counts.sum(axis=0)))
        crops = CropSettings(config.crop, config.scale, config.flip, config.jitter)
        on_gpu = device.type == "cuda"
        batches = Batches(data.train, crops, config.seed, torch.get_num_threads() if on_gpu else 0, pinned=on_gpu)
        self.feed = Feed(config, self.sampler, batches, self.steps * config.epochs)

    def next_epoch(self, *, test: bool = False) -> EpochResult:
        """Train one epoch and evaluate the model on the validation split; `test`: on the test split, too."""
        started = time.perf_counter()
        train_loss = self.train_epoch()
        trained = time.perf_counter()
        curve = self.curve_on(self.data.val)
        return EpochResult(
            epoch=self.epoch,
            train_loss=train_loss,
            lr=self.optimizer.param_groups[0]["lr"] if self.steps else 0.0,
            curve=curve,
            class_weights=self._class_weights(),
            train_seconds=trained - started,
            evaluation_seconds=time.perf_counter() - trained,
            test=self._test() if test else None,
        )

    def _test(self) -> tuple[Scores, ...] | None:
        """Evaluate the test split; None if there is none, or nobody labelled it."""
        split = self.data.test
        return self.curve_on(split) if split is not None and split.pixel_counts.any() else None

    def curve_on(self, split: Split) -> tuple[Scores, ...]:
        """Evaluate the model with every strength of adjustment, and note the counts of every image."""
        _, found = evaluate(self.model, split, self.device, bf16=self.bf16, offsets=self.offsets)
        pixels = found.numpy()
        self.counts[split.name] = ImageCounts.of(split, self.taus, pixels)
        return measured_curve(self.taus, of_shown_classes(pixels))

    def train_epoch(self) -> float | None:
        """Train one epoch, and return the mean of its losses; None if it has no step."""
        # The key has the rank, so that workers drop different units. Seeding in each epoch means that checkpoints
        # need no generator state.
        torch.manual_seed(torch_seed(self.config.seed, Stream.DROPOUT, self.epoch, distributed.rank()))
        first = self.epoch * self.steps
        training_mode(self.model, self.config.train)
        taken = [self.step(step) for step in range(first, first + self.steps)]
        losses: list[float] = torch.stack(taken).tolist() if taken else []
        require_finite(losses, self.config, self.epoch + 1)
        self.feed.end_epoch()
        self._share_buffers()
        self.epoch += 1
        return math.fsum(losses) / len(losses) if losses else None

    def _class_weights(self) -> tuple[float, ...] | None:
        if isinstance(self.sampler, StochasticDraws) and self.config.level == "class":
            return tuple(self.sampler.tilt.weights.tolist())
        return None

    def step(self, step: int) -> Tensor:
        """Train one step. Nothing here waits for the device.

        Args:
            step: number of the step, counted from 0 over all epochs.

        Returns:
            The global loss, a scalar on the device.
        """
        self._set_schedules(step)
        batch = self.feed.take(step, end=(self.epoch + 1) * self.steps).to(self.device)
        images = normalise(batch.images, batch.colours).contiguous(memory_format=torch.channels_last)
        labels = batch.labels.long()
        with autocast(self.device, self.bf16):
            logits = self.parallel(images)
        learning = isinstance(self.sampler, StochasticDraws)
        if learning:  # from the same sums as the loss, Eq. (1)
            sums, counts = class_losses(logits, labels)
            loss = mean_loss(sums, counts)
        else:
            loss = self.loss(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_grad_norm, foreach=True)
        self.optimizer.step()
        if learning:
            self.feed.learn(step, distributed.gather_batch(sums.detach()), distributed.gather_batch(counts))
        return loss.detach()

    def _set_schedules(self, step: int) -> None:
        """Set the learning rate, and the tilt of the loss during a tilt warm-up. The feed sets that of the draws."""
        total = self.feed.total
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, step, total)
        if self.config.tilt_warmup and isinstance(self.loss, Tilted):
            self.loss.t = tilt(self.config, step, total)

    def _share_buffers(self) -> None:
        """Copy the BatchNorm statistics of rank 0 to every rank, because they differ after the last step."""
        if distributed.world_size() > 1:
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, 0)

    def close(self) -> None:
        self.feed.close()

    def follow(self, trunk: "Run") -> None:
        """Continue where another run has stopped: with its weights and its momentum, under the settings of this run."""
        self.epoch = trunk.epoch
        self.model.load_state_dict(trunk.model.state_dict())
        self.optimizer.load_state_dict(trunk.optimizer.state_dict())

    def save(self, path: Path, result: EpochResult) -> None:
        """Write a checkpoint (see `save_checkpoint`) that also holds the result of the last epoch."""
        save_checkpoint(
            path,
            {
                "config": self.config.model_dump_json(),
                "data": self.data.fingerprint,
                "classes": json.dumps(self.data.class_names),
                "epoch": self.epoch,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "sampler": self.sampler.state_dict(),
                "loss": self.loss.state_dict() if isinstance(self.loss, Stateful) else {},
                "result": result.to_json(),
            },
        )

    def save_counts(self, path: Path) -> None:
        """Write the counts of the latest evaluation: see `write_counts`."""
        try:
            write_counts(path, list(self.counts.values()))
        except OSError as error:
            raise cannot_save(path, "the counts", error) from None

    def load(self, path: Path) -> EpochResult:
        """Continue from a checkpoint and return the result that it holds. `train` names the errors."""
        state = load_checkpoint(path, self.config)
        if state.get("data") != self.data.fingerprint:
            raise UserError(f"{path}: written with other data than {self.data.path}; use another file")
        result = EpochResult.from_json(state["result"])
        if (saved := tuple(scores.tau for scores in result.curve)) != self.taus:
            raise UserError(f"{path}: written with taus {saved}, not {self.taus}; use another file")
        self.epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.sampler.load_state_dict(state["sampler"])
        if isinstance(self.loss, Stateful):
            self.loss.load_state_dict(state["loss"])
        return result


def _parallel(model: nn.Module, device: torch.device) -> nn.Module:
    if distributed.world_size() == 1:
        return model
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)
