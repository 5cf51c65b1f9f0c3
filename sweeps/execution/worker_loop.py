"""What each Ray Train worker does: take orders from its slot's mailbox, train, answer."""

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from sweeps.execution.mailbox import STOP, Order
from sweeps.execution.worker_group import checkpoint_path
from tce_core.checkpoint import CannotSave
from tce_core.config import parse_config
from tce_core.data.dataset import Dataset, open_dataset
from tce_core.errors import UserError
from tce_core.results import EpochResult
from tce_core.training import NonFiniteLossError, train

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""What torch's RuntimeErrors say on a GPU, and on the CPUs of Linux and Windows."""


def serve(settings: dict[str, Any]) -> None:
    """The training function of a slot's `TorchTrainer`; returns when the slot stops.

    `settings`: `mailbox` (actor handle), `dataset` and `checkpoints` (paths), `cpus` (threads of this worker).
    """
    torch.set_num_threads(settings["cpus"])
    mailbox, rank = settings["mailbox"], ray.train.get_context().get_world_rank()
    try:
        data = open_dataset(settings["dataset"])
    except UserError as error:  # such as a machine that lacks the shared folder
        order = ray.get(mailbox.take.remote(0))
        if order != STOP:
            ray.get(mailbox.reply.remote(order.serial, {"fatal": f"{error} (on {ray.util.get_node_ip_address()})"}))
        raise
    bench = CurrentTrial(data, Path(settings["checkpoints"]))
    if rank == 0:
        ray.get(mailbox.join.remote())
    if ray.train.get_context().get_world_size() > 1:
        torch.distributed.barrier()  # `join` may give an order up; no rank may have taken it by then
    done = 0
    while (order := ray.get(mailbox.take.remote(done))) != STOP:
        done = order.serial
        alike = True  # on every rank
        try:
            answer = {"result": bench.advance(order).to_json()}
        except Exception as error:
            if lost_rank(error):
                raise  # no answer: the group that replaces this one finds the order in the mailbox
            answer, alike = explain(error)
            bench.clear()
        if rank == 0 or not alike:
            ray.get(mailbox.reply.remote(order.serial, answer))
        if not alike and ray.train.get_context().get_world_size() > 1:
            raise RuntimeError("the other ranks may wait for this one for ever: start anew")


def lost_rank(error: Exception) -> bool:
    """Whether a collective failed because another rank is gone: NCCL has a type for it, gloo only a text."""
    return isinstance(error, torch.distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def explain(error: Exception) -> tuple[dict[str, str], bool]:
    """The answer to an order that failed, and whether every rank failed alike.

    `error` fails the trial, with its traceback if it is a bug; `fatal` is what no trial is to blame for.
    """
    if isinstance(error, CannotSave):
        return {"fatal": str(error)}, False
    if isinstance(error, UserError | NonFiniteLossError):
        return {"error": str(error)}, True
    if isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY):
        said = str(error).strip().partition("\n")[0][:200]
        return {"error": f"out of memory: {said}" if said else "out of memory"}, False
    return {"error": f"{type(error).__name__}: {error}\n{traceback.format_exc()}"}, False


class CurrentTrial:
    """The trial this worker is at: its running `train` generator."""

    def __init__(self, data: Dataset, checkpoints: Path) -> None:
        self.data, self.checkpoints = data, checkpoints
        self.trial: int | None = None
        self.results: Iterator[EpochResult] = iter(())
        self.last: EpochResult | None = None

    def advance(self, order: Order) -> EpochResult:
        """Train until the trial has done `order.epoch` epochs; a trial new to this worker resumes its checkpoint."""
        reached = self.last.epoch if self.last is not None and self.trial == order.trial else None
        if reached is None or reached > order.epoch:
            self.clear()
            config = parse_config(order.config, f"trial {order.trial}")
            checkpoint = checkpoint_path(self.checkpoints, order.trial)
            self.results = train(config, self.data, checkpoint=checkpoint, device=ray.train.torch.get_device())
            self.trial = order.trial
        while self.last is None or self.last.epoch < order.epoch:
            self.last = next(self.results)
        return self.last

    def clear(self) -> None:
        """Forget the trial and free its memory."""
        close = getattr(self.results, "close", None)
        if close is not None:
            close()
        self.trial, self.last, self.results = None, None, iter(())
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
