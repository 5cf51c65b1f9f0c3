"""A warm group of Ray Train workers: it starts once, then takes one trial after another through a mailbox."""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sweeps.execution.mailbox import Answer, Check, Mailbox, Order
from tce_core.errors import TemporaryError, UserError

IMPORTING = threading.Lock()
"""Python does not import the circles inside Ray safely in several threads at once."""
PATIENCE = 5.0
"""Seconds that all groups together may take to stop."""


@dataclass(frozen=True)
class GroupSettings:
    """What a group of workers needs to know; the same for every group of a sweep."""

    dataset: str
    """Path of the Arrow data set."""
    checkpoints: str
    """Folder of the trials' checkpoints."""
    storage: str
    """Folder for Ray Train's own files. On several machines all three folders are shared ones."""
    workers: int
    cpus_per_worker: int
    gpus_per_worker: float
    retries: int = 2
    """How many groups of workers a trial may lose in one epoch before it fails."""
    counts: str = ""
    """Folder of the trials' counts by image, shared as well; "": they are not kept."""

    @property
    def resources_per_worker(self) -> dict[str, float]:
        gpu = {"GPU": self.gpus_per_worker} if self.gpus_per_worker else {}
        return {"CPU": self.cpus_per_worker, **gpu}


class WorkerGroup:
    """One long run of Ray Train in a thread, and the mailbox of its workers. Ray replaces workers that die."""

    def __init__(self, settings: GroupSettings) -> None:
        import ray  # only after `start_ray` has set the variables that ray reads when it is imported

        self.settings = settings
        self.mailbox = ray.remote(Mailbox).options(num_cpus=0, max_concurrency=1000).remote(settings.retries)
        self.ending = False
        """Whether nobody waits for an answer any more."""
        self.run: Any = None
        self.trainer = threading.Thread(target=self._train, name="trainer", daemon=True)
        self.trainer.start()

    def advance(self, trial: int, config: dict[str, Any], epoch: int, *, test: bool = False) -> Answer:
        """Train a trial to the end of `epoch`; the group continues from the trial's checkpoint if it is new to it.

        Args:
            trial: its number.
            config: a `TrialConfig` as JSON values.
            epoch: counted from 1.
            test: whether the last epoch evaluates the test split, too.
        """
        return answer_to(self.mailbox, Order(0, trial, config, epoch, test=test))

    def begin(self, order: Order) -> None:
        """Post an order without waiting for the answer: whoever posts it again gets it."""
        self.mailbox.ask.remote(order)

    def close(self) -> None:
        """Stop the workers, wait a moment until they have stopped, and let go of Ray."""
        self.stop()
        self.wait(time.monotonic() + PATIENCE)
        self.leave()

    def stop(self) -> None:
        """Let the workers stop when their epoch is done."""
        self.ending = True
        self.mailbox.stop.remote()

    def wait(self, until: float) -> None:
        """Wait for workers that were told to stop, until a moment of the monotonic clock."""
        import ray

        self.trainer.join(timeout=max(0.0, until - time.monotonic()))
        ray.kill(self.mailbox)

    def kill(self) -> None:
        """End the workers at once, even in the middle of an epoch. What they occupy becomes free."""
        import ray

        self.ending = True
        if self.run is not None:
            self.run.abort()
        ray.kill(self.mailbox)

    def leave(self) -> None:
        """Ray is about to end: let go of it. A call of this group's thread would start Ray again or end the process."""
        self.ending = True
        if self.run is not None:
            self.run.leave()
        self.trainer.join(timeout=PATIENCE)

    def _train(self) -> None:
        try:
            with IMPORTING:
                self.run = self._trainer()
            if not self.ending:
                self.run.fit()
        except BaseException as error:
            lost = Answer(fatal=f"the workers cannot be kept running: {error}", temporary=True)
            if not self.ending:
                self.mailbox.give_up.remote(lost)

    def _trainer(self) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig

        from sweeps.execution.trainer import LeanTrainer, Torch

        settings = self.settings
        return LeanTrainer(
            _serve,
            train_loop_config={
                "mailbox": self.mailbox,
                "dataset": settings.dataset,
                "checkpoints": settings.checkpoints,
                "counts": settings.counts,
                "cpus": settings.cpus_per_worker,
            },
            backend_config=Torch("nccl" if settings.gpus_per_worker else "gloo", settings.storage),
            scaling_config=ScalingConfig(
                num_workers=settings.workers,
                use_gpu=settings.gpus_per_worker > 0,
                resources_per_worker=settings.resources_per_worker,
            ),
            run_config=RunConfig(
                name=f"workers-{uuid.uuid4().hex[:8]}",
                storage_path=settings.storage,
                # Ray always replaces dead workers; the mailbox counts the losses of each trial. A group that cannot
                # even start is given up.
                failure_config=FailureConfig(max_failures=-1, controller_failure_limit=3),
            ),
        )


def answer_to(mailbox: Any, order: Order) -> Answer:
    """Post an order, and wait for its answer. Whoever posts the same order again gets the same answer."""
    import ray

    started = time.perf_counter()
    answer: Answer = ray.get(mailbox.ask.remote(order))
    return replace(answer, seconds=time.perf_counter() - started)


class WorkerGroups:
    """The groups of a sweep, one for each trial that runs at a time. They start before there are trials."""

    def __init__(self, settings: GroupSettings, start: Callable[[GroupSettings], WorkerGroup] = WorkerGroup) -> None:
        self.settings, self.start = settings, start
        self.number = 0
        self.free: list[WorkerGroup] = []
        self.busy: dict[int, WorkerGroup] = {}
        """By the number of the trial that they train."""
        self.lost: list[WorkerGroup] = []

    def begin(self, number: int) -> None:
        """Start `number` groups."""
        for _ in range(number):
            self.free.append(self.start(self.settings))
            self.number += 1

    def check(self, plan: dict[str, Any], meanwhile: Callable[[], object]) -> None:
        """Let the first group check a plan, see `preflight`: its workers have to load the model libraries anyway.

        Args:
            plan: a `Plan` as JSON values.
            meanwhile: what to do until the answer comes.

        Raises:
            UserError: settings that cannot be used.
            TemporaryError: the workers cannot be kept running.
        """
        import ray

        checked = self.free[0].mailbox.ask.remote(Check(0, plan))
        with IMPORTING:
            meanwhile()
        answer: Answer = ray.get(checked)
        if answer.error and "\n" in answer.error:  # with its traceback: a bug, not a bad setting
            raise RuntimeError(answer.error)
        if refused := answer.error or answer.fatal:
            raise (TemporaryError if answer.temporary else UserError)(refused)

    def take(self, order: Order) -> WorkerGroup:
        """Give a trial a free group, which begins at once: the slot, which asks for the same, may be starting."""
        group = self.busy[order.trial] = self.free.pop(0)
        group.begin(order)
        return group

    def give_back(self, trial: int, lost: bool) -> None:
        """The trial has ended. A group whose slot was lost may still be training: another replaces it."""
        group = self.busy.pop(trial)
        if lost:
            group.kill()
            self.lost.append(group)
            group = self.start(self.settings)
        self.free.append(group)

    def close(self) -> None:
        """Stop all workers, wait a moment until they have stopped, and let go of Ray."""
        groups = [*self.free, *self.busy.values()]
        for group in groups:
            group.stop()
        until = time.monotonic() + PATIENCE
        for group in groups:
            group.wait(until)
        self.leave()

    def leave(self) -> None:
        """As `WorkerGroup.leave`, of every group that was ever started."""
        for group in (*self.free, *self.busy.values(), *self.lost):
            group.leave()


def _serve(settings: dict[str, Any]) -> None:
    # Imported here because only the workers need the model libraries, whose import takes seconds.
    from sweeps.execution.worker_loop import serve

    serve(settings)
