"""`train`: one training run as a generator of epoch results, in one process or under torch.distributed."""

import math
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tce_core import distributed
from tce_core.adjust import TAUS, class_shares, offsets
from tce_core.batches import Batches
from tce_core.checkpoint import is_checkpoint_of, load_checkpoint, save_checkpoint
from tce_core.colours import normalise
from tce_core.config import TrialConfig
from tce_core.data.crops import CropSettings
from tce_core.data.dataset import Dataset
from tce_core.devices import default_device, use_bf16
from tce_core.divergence import require_finite
from tce_core.errors import UserError
from tce_core.evaluation import autocast, evaluate
from tce_core.feed import Feed
from tce_core.losses import Stateful, Tilted, configured_loss
from tce_core.losses.by_pixel import mean_loss
from tce_core.model import build_model
from tce_core.pixel_losses import class_losses
from tce_core.results import EpochResult, check_taus, measured_curve
from tce_core.sampling import StochasticDraws, build_sampler
from tce_core.schedules import learning_rate, tilt
from tce_core.seeding import Stream, torch_seed


def train(
    config: TrialConfig,
    data: Dataset,
    *,
    checkpoint: Path | None = None,
    trunk: Path | None = None,
    device: torch.device | None = None,
    taus: Sequence[float] = TAUS,
) -> Generator[EpochResult]:
    """Train for `config.epochs` epochs and yield the result of each after its evaluation.

    To stop a run early, do not ask for the next result. On a CPU, a run that is stopped and resumed ends with weights
    that are bitwise equal to those of an uninterrupted run. So does a run that starts from an equal trunk.

    Under torch.distributed every rank calls this with the same arguments, and the batch is split over the ranks.

    Args:
        config: the settings of the run.
        data: the data set; its `val` split is evaluated after each epoch.
        checkpoint: a file that is rewritten before every yield. If it exists at the start, the run continues from it,
            and the first result is the one in the file. Default: no checkpoint.
        trunk: a checkpoint of the trunk (`config.plain`) that several runs share. The run starts from it, and the first
            result is the one in the file. If the file is missing or damaged, the trunk is trained, and written there.
            Default: the trunk is trained, and written to `checkpoint`.
        device: where to train. Default: `default_device()`.
        taus: the strengths of logit adjustment that each evaluation compares (see `adjust`): 0, then rising.

    Raises:
        UserError: the settings do not fit the data, the model or the number of workers, or the checkpoint belongs to
            another configuration, data set, version of this program or other taus.
        ValueError: `taus` do not begin with 0, or do not rise.
        CannotSave: the checkpoint cannot be written.
        NonFiniteLossError: training diverged; raised on every rank.
    """
    data.require_trainable()
    device = device or default_device()
    before: Run | None = None
    if config.trunk_epochs and not _is_past_trunk(config, checkpoint, trunk):
        before = Run(config.plain, data, device, taus)
        usable = trunk is None or distributed.all_ranks(is_checkpoint_of(trunk, config.plain), device)
        yield from _epochs(before, config.trunk_epochs, trunk or checkpoint, resume=usable)
    run = Run(config, data, device, taus)
    if before is not None:
        run.follow(before)
    forked, before = before is not None, None  # the trunk's model frees its memory
    yield from _epochs(run, config.epochs, checkpoint, resume=not forked)


def _is_past_trunk(config: TrialConfig, checkpoint: Path | None, trunk: Path | None) -> bool:
    """Whether a checkpoint is that of the run. Without a file for the trunk, it may also be that of its trunk."""
    return (
        checkpoint is not None and checkpoint.exists() and (trunk is not None or is_checkpoint_of(checkpoint, config))
    )


def _epochs(run: "Run", until: int, checkpoint: Path | None, *, resume: bool) -> Generator[EpochResult]:
    """Train until an epoch, and close the run."""
    try:
        if resume and checkpoint is not None and checkpoint.exists():
            result = run.load(checkpoint)
            if result.epoch > until:
                raise UserError(f"{checkpoint}: it holds epoch {result.epoch}, not one up to {until}; use another file")
            yield result
        while run.epoch < until:
            result = run.next_epoch()
            if checkpoint is not None and distributed.rank() == 0:
                run.save(checkpoint, result)
            yield result
    finally:
        run.close()


class Run:
    """The state of one training run on one rank."""

    def __init__(self, config: TrialConfig, data: Dataset, device: torch.device, taus: Sequence[float] = TAUS) -> None:
        check_taus(taus)
        self.config, self.data, self.device, self.taus = config, data, device, tuple(taus)
        distributed.share_of_batch(config.batch_size, distributed.world_size(), synchronised=device.type == "cuda")
        self.steps = config.steps_per_epoch or max(1, len(data.train) // config.batch_size)
        self.epoch = 0
        self.bf16 = use_bf16(config, device)
        torch.manual_seed(torch_seed(config.seed, Stream.WEIGHTS))
        model = build_model(config, data.num_classes).to(device).to(memory_format=torch.channels_last)
        if distributed.world_size() > 1 and device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.model = model
        self.parallel = _parallel(model, device)
        self.optimizer = torch.optim.SGD(
            model.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True
        )
        self.sampler = build_sampler(config, data.train.pixel_counts)
        self.offsets = torch.from_numpy(offsets(class_shares(data.train.pixel_counts), self.taus))  # (T, K)
        self.loss = configured_loss(config, torch.from_numpy(data.train.pixel_counts.sum(axis=0)))
        crops = CropSettings(config.crop, config.scale, config.flip, config.jitter)
        on_gpu = device.type == "cuda"
        batches = Batches(data.train, crops, config.seed, torch.get_num_threads() if on_gpu else 0, pinned=on_gpu)
        self.feed = Feed(config, self.sampler, batches, self.steps * config.epochs)

    def next_epoch(self) -> EpochResult:
        """Train one epoch and evaluate the model on the validation split."""
        started = time.perf_counter()
        train_loss = self.train_epoch()
        trained = time.perf_counter()
        _, counts = evaluate(self.model, self.data.val, self.device, bf16=self.bf16, offsets=self.offsets)
        return EpochResult(
            epoch=self.epoch,
            train_loss=train_loss,
            lr=self.optimizer.param_groups[0]["lr"],
            curve=measured_curve(self.taus, counts.numpy()),
            class_weights=self._class_weights(),
            train_seconds=trained - started,
            evaluation_seconds=time.perf_counter() - trained,
        )

    def train_epoch(self) -> float:
        """Train one epoch, and return the mean of its losses."""
        # The key has the rank, so that workers drop different units. Seeding in each epoch means that checkpoints
        # need no generator state.
        torch.manual_seed(torch_seed(self.config.seed, Stream.DROPOUT, self.epoch, distributed.rank()))
        first = self.epoch * self.steps
        self.model.train()
        losses = torch.stack([self.step(step) for step in range(first, first + self.steps)]).tolist()
        require_finite(losses, self.config, self.epoch + 1)
        self.feed.end_epoch()
        self._share_buffers()
        self.epoch += 1
        return math.fsum(losses) / len(losses)

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
                "epoch": self.epoch,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "sampler": self.sampler.state_dict(),
                "loss": self.loss.state_dict() if isinstance(self.loss, Stateful) else {},
                "result": result.to_json(),
            },
        )

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
