"""The loop of a Ray Train worker: take an order from the group's mailbox, train, answer."""

import contextlib
import gc
import traceback
from collections.abc import Generator
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from sweeps.execution.checkpoints import checkpoint_path
from sweeps.execution.mailbox import STOP, Answer, Check, Order
from sweeps.execution.preflight import preflight
from sweeps.storage.folder import counts_path
from sweeps.storage.plan import Plan
from tce_core.checkpoint import CannotSave
from tce_core.config import parse_config
from tce_core.data.dataset import Dataset, open_dataset
from tce_core.divergence import NonFiniteLossError
from tce_core.errors import TEMPORARY, UserError
from tce_core.results import EpochResult
from tce_core.training import train

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""The words of torch's RuntimeErrors on a GPU, and on the CPUs of Linux and Windows."""


def serve(settings: dict[str, Any]) -> None:
    """The training function of a group. It returns when the group is stopped, or when its mailbox is gone.

    Args:
        settings: `mailbox` (actor handle), `dataset`, `checkpoints` and `counts` (paths), `cpus` (threads of this
            worker).
    """
    gc.enable()  # `_meet` turned it off during the imports
    torch.set_num_threads(settings["cpus"])
    with contextlib.suppress(ray.exceptions.RayActorError):
        _serve(settings)


def _serve(settings: dict[str, Any]) -> None:
    mailbox, rank = settings["mailbox"], ray.train.get_context().get_world_rank()
    several = ray.train.get_context().get_world_size() > 1
    try:
        data = open_dataset(settings["dataset"])
    except UserError as error:  # such as on a machine without the shared folder
        order = ray.get(mailbox.take.remote(0))
        if order != STOP:
            answer = Answer(fatal=f"{error} (on {ray.util.get_node_ip_address()})")
            ray.get(mailbox.reply.remote(order.serial, answer))
        raise
    current = CurrentTrial(data, Path(settings["checkpoints"]), settings["counts"])
    if rank == 0:
        ray.get(mailbox.join.remote())
    if several:
        torch.distributed.barrier()  # `join` may give an order up: no rank may take it before
    done = 0
    while (order := ray.get(mailbox.take.remote(done))) != STOP:
        done = order.serial
        all_ranks_alike = True
        try:
            answer = current.answer(order)
        except Exception as error:
            if is_lost_rank(error):
                raise  # without an answer: the group that replaces this one finds the order in the mailbox
            answer, all_ranks_alike = explain(error)
            current.clear()
        if rank == 0 or not all_ranks_alike:
            ray.get(mailbox.reply.remote(order.serial, answer))
        if several and not all_ranks_alike:
            raise RuntimeError("the group restarts: the other ranks may wait for this one")


def is_lost_rank(error: Exception) -> bool:
    """Whether a collective failed because another rank died: NCCL has a type for it, gloo only a text."""
    return isinstance(error, torch.distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def explain(error: Exception) -> tuple[Answer, bool]:
    """The answer to an order that failed, and whether every rank fails in the same way.

    `error` fails the trial; if it is a bug, the traceback is part of it. `fatal` is no trial's fault.
    """
    if isinstance(error, CannotSave):
        return Answer(fatal=str(error), temporary=error.exit_code == TEMPORARY), False
    if isinstance(error, UserError | NonFiniteLossError):
        return Answer(error=str(error)), True
    if isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY):
        said = str(error).strip().partition("\n")[0][:200]
        return Answer(error=f"out of memory: {said}" if said else "out of memory"), False
    return Answer(error=f"{type(error).__name__}: {error}\n{traceback.format_exc()}"), False


class CurrentTrial:
    """The trial that this worker trains: its running `train` generator."""

    def __init__(self, data: Dataset, checkpoints: Path, counts: str = "") -> None:
        self.data, self.checkpoints, self.counts = data, checkpoints, counts
        self.trial: int | None = None
        self.results: Generator[EpochResult] | None = None
        self.last: EpochResult | None = None

    def answer(self, order: Order | Check) -> Answer:
        """Do what an order asks for."""
        if isinstance(order, Check):
            preflight(Plan.from_json(order.plan), self.data)
            return Answer()
        return Answer(result=self.advance(order).to_json())

    def advance(self, order: Order) -> EpochResult:
        """Train until the trial has done `order.epoch` epochs. A trial that is new here resumes its checkpoint."""
        reached = self.last.epoch if self.last is not None and self.trial == order.trial else None
        if self.results is None or reached is None or reached > order.epoch:
            self.clear()
            config = parse_config(order.config, f"trial {order.trial}")
            checkpoint = checkpoint_path(self.checkpoints, order.trial)
            trunk = None if order.trunk is None else checkpoint_path(self.checkpoints, order.trunk)
            counts = counts_path(self.counts, order.trial) if self.counts else None
            device = ray.train.torch.get_device()
            self.results = train(
                config, self.data, checkpoint=checkpoint, trunk=trunk, test=order.test, counts=counts, device=device
            )
            self.trial = order.trial
        while self.last is None or self.last.epoch < order.epoch:
            self.last = next(self.results)
        return self.last

    def clear(self) -> None:
        """Forget the trial and free its memory."""
        if self.results is not None:
            self.results.close()
        self.trial, self.last, self.results = None, None, None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
