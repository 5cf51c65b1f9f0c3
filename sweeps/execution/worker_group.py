"""A warm group of Ray Train workers: it starts once, then takes one trial after another through a mailbox."""

import threading
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeps.execution.mailbox import Answer, Mailbox, Order


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

    @property
    def resources_per_worker(self) -> dict[str, float]:
        gpu = {"GPU": self.gpus_per_worker} if self.gpus_per_worker else {}
        return {"CPU": self.cpus_per_worker, **gpu}


class WorkerGroup:
    """One long `TorchTrainer` run in a thread, and the mailbox of its workers. Ray replaces workers that die."""

    def __init__(self, settings: GroupSettings) -> None:
        import ray  # only after `start_ray` has set the variables that ray reads when it is imported

        self.settings = settings
        self.serial = 0
        self.failure: BaseException | None = None
        self.mailbox = ray.remote(Mailbox).options(num_cpus=0, max_concurrency=1000).remote(settings.retries)
        self.trainer = threading.Thread(target=self._train, name="torch-trainer", daemon=True)
        self.trainer.start()

    def advance(self, trial: int, config: dict[str, Any], epoch: int) -> Answer:
        """Train a trial to the end of `epoch`; the group continues from the trial's checkpoint if it is new to it.

        Args:
            trial: its number.
            config: a `TrialConfig` as JSON values.
            epoch: counted from 1.
        """
        import ray

        self.serial += 1
        started = time.perf_counter()
        waiting = self.mailbox.ask.remote(Order(self.serial, trial, config, epoch))
        while not ray.wait([waiting], timeout=1.0)[0]:
            if not self.trainer.is_alive():
                answer = Answer(fatal=f"the workers cannot be kept running: {self.failure}", temporary=True)
                break
        else:
            answer = ray.get(waiting)
        return replace(answer, seconds=time.perf_counter() - started)

    def close(self) -> None:
        """Stop the workers."""
        import ray

        ray.get(self.mailbox.stop.remote())
        self.trainer.join(timeout=5)  # a thread that lingers ends with this process
        ray.kill(self.mailbox)

    def _train(self) -> None:
        # Imported here because it imports torch: without it the driver of the sweep starts seconds sooner.
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        settings = self.settings
        trainer = TorchTrainer(
            _serve,
            train_loop_config={
                "mailbox": self.mailbox,
                "dataset": settings.dataset,
                "checkpoints": settings.checkpoints,
                "cpus": settings.cpus_per_worker,
            },
            torch_config=_torch_config(settings),
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
        try:
            trainer.fit()
        except BaseException as error:  # for the thread that waits in `advance`
            self.failure = error


def _torch_config(settings: GroupSettings) -> Any:
    """How the ranks of a group meet: on loopback through a file, because torch's own store listens on all networks."""
    import ray
    from ray.train.torch import TorchConfig
    from ray.train.torch.config import _TorchBackend

    backend = "nccl" if settings.gpus_per_worker else "gloo"
    if ray.util.get_node_ip_address() != "127.0.0.1":
        return TorchConfig(backend=backend)

    class Backend(_TorchBackend):
        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            file, size = Path(settings.storage) / f"ranks-{uuid.uuid4().hex[:8]}", len(worker_group)
            ray.get(
                [worker_group.execute_single_async(rank, _meet, backend, str(file), rank, size) for rank in range(size)]
            )

    class Config(TorchConfig):
        backend_cls = Backend

    return Config(backend=backend)


def _meet(backend: str, file: str, rank: int, size: int) -> None:
    import torch

    Path(file).parent.mkdir(parents=True, exist_ok=True)
    torch.distributed.init_process_group(backend, init_method=f"file://{file}", rank=rank, world_size=size)


def _serve(settings: dict[str, Any]) -> None:
    # Imported here because only the workers need the model libraries, whose import takes seconds.
    from sweeps.execution.worker_loop import serve

    serve(settings)
