"""`train`: one training as a generator of epoch results, in one process or under torch.distributed."""

from collections.abc import Generator, Sequence
from pathlib import Path

import torch

from tce_core import distributed
from tce_core.adjust import TAUS
from tce_core.checkpoint import is_checkpoint_of
from tce_core.config import TrialConfig
from tce_core.data.dataset import Dataset
from tce_core.data.folds import in_fold
from tce_core.devices import default_device
from tce_core.errors import UserError
from tce_core.results import EpochResult
from tce_core.run import Run


def train(
    config: TrialConfig,
    data: Dataset,
    *,
    checkpoint: Path | None = None,
    trunk: Path | None = None,
    test: bool = False,
    counts: Path | None = None,
    device: torch.device | None = None,
    taus: Sequence[float] = TAUS,
) -> Generator[EpochResult]:
    """Train for `config.epochs` epochs and yield the result of each after its evaluation.

    To stop a run early, do not ask for the next result. On a CPU, a run that is stopped and resumed ends with weights
    that are bitwise equal to those of an uninterrupted run. So does a run that starts from an equal trunk.

    Under torch.distributed every rank calls this with the same arguments, and the batch is split over the ranks.

    Args:
        config: the settings of the run.
        data: the data set; its `val` split, or the fold that is held out, is evaluated after each epoch.
        checkpoint: a file that is rewritten before every yield. If it exists at the start, the run continues from it,
            and the first result is the one in the file. Default: no checkpoint.
        trunk: a checkpoint of the trunk (`config.plain`) that several runs share. The run starts from it, and the first
            result is the one in the file. If it is missing, damaged or of another trunk, a new one replaces it.
            Default: the trunk is trained, and written to `checkpoint`.
        test: whether the last result holds the test split, too, if there is one. Leave it out wherever something is
            chosen by the results.
        counts: a Parquet file for the counts of every image after the last epoch, see `write_counts`.
        device: where to train. Default: `default_device()`.
        taus: the strengths of logit adjustment that each evaluation compares (see `adjust`): 0, then rising.

    Raises:
        UserError: the settings do not fit the data, the model or the number of workers, or the checkpoint belongs to
            another configuration, data set, version of this program or other taus.
        ValueError: `taus` do not begin with 0, or do not rise.
        CannotSave: the checkpoint or the counts cannot be written.
        NonFiniteLossError: training diverged; raised on every rank.
    """
    data = in_fold(data, config)
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
    yield from _epochs(run, config.epochs, checkpoint, resume=not forked, test=test, counts=counts)


def _is_past_trunk(config: TrialConfig, checkpoint: Path | None, trunk: Path | None) -> bool:
    """Whether there is a checkpoint that is not one of the trunk, which may be in it if it has no file of its own."""
    if checkpoint is None or not checkpoint.exists():
        return False
    return trunk is not None or not is_checkpoint_of(checkpoint, config.plain)


def _epochs(
    run: Run, until: int, checkpoint: Path | None, *, resume: bool, test: bool = False, counts: Path | None = None
) -> Generator[EpochResult]:
    """Train until an epoch, and close the run."""
    try:
        if resume and checkpoint is not None and checkpoint.exists():
            result = run.load(checkpoint)
            if result.epoch > until:
                raise UserError(f"{checkpoint}: it holds epoch {result.epoch}, not one up to {until}; use another file")
            yield result
        while run.epoch < until:
            result = run.next_epoch(test=test and run.epoch + 1 == until)
            if counts is not None and run.epoch == until and distributed.rank() == 0:
                run.save_counts(counts)
            if checkpoint is not None and distributed.rank() == 0:
                run.save(checkpoint, result)
            yield result
    finally:
        run.close()
