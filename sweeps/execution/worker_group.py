"""A warm group of Ray Train workers: started once, then given one trial after another through a mailbox."""

import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.execution.mailbox import Mailbox, Order


@dataclass(frozen=True)
class GroupSettings:
    """What a group of workers needs to know; the same for every group of a sweep."""

    dataset: str
    checkpoints: str
    storage: str
    """Folder for Ray Train's own files; on several machines a shared one, like the other two."""
    workers: int
    cpus_per_worker: int
    gpus_per_worker: float
    retries: int = 2
    """How many groups of workers a trial may lose in one epoch before it fails."""

    @property
    def resources_per_worker(self) -> dict[str, float]:
        gpu = {"GPU": self.gpus_per_worker} if self.gpus_per_worker else {}
        return {"CPU": self.cpus_per_worker, **gpu}


def checkpoint_path(folder: str | Path, trial: int) -> Path:
    """Where a trial's checkpoint is, below the folder of `GroupSettings.checkpoints`."""
    return Path(folder) / f"trial-{trial:05d}.pt"


class WorkerGroup:
    """One long `TorchTrainer` run in a thread, and the mailbox its workers listen to. Ray replaces workers that die."""

    def __init__(self, settings: GroupSettings) -> None:
        import ray  # nowhere before `start_ray` has set what ray reads when it is imported

        self.settings = settings
        self.serial = 0
        self.failure: BaseException | None = None
        self.mailbox = ray.remote(Mailbox).options(num_cpus=0, max_concurrency=1000).remote(settings.retries)
        self.trainer = threading.Thread(target=self._train, name="torch-trainer", daemon=True)
        self.trainer.start()

    def advance(self, trial: int, config: dict[str, Any], epoch: int) -> dict[str, Any]:
        """Train a trial up to the end of `epoch`, from its checkpoint if this group does not have it at hand.

        Returns:
            `result`, an `EpochResult` as JSON; or `error`, why the trial failed; or `fatal`, why no trial can go on.
            And `seconds`, all included.
        """
        import ray

        self.serial += 1
        started = time.perf_counter()
        answer = self.mailbox.ask.remote(Order(self.serial, trial, config, epoch))
        while not ray.wait([answer], timeout=1.0)[0]:
            if not self.trainer.is_alive():
                reply = {"fatal": f"the workers cannot be kept running: {self.failure}"}
                break
        else:
            reply = ray.get(answer)
        return {**reply, "seconds": time.perf_counter() - started}

    def close(self) -> None:
        import ray

        ray.get(self.mailbox.stop.remote())
        self.trainer.join(timeout=5)  # what lingers ends with this process, its owner
        ray.kill(self.mailbox)

    def _train(self) -> None:
        # Imported here, as it brings torch: the process that drives the sweep starts seconds sooner without.
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
                # Dead workers are replaced for ever (the mailbox counts each trial's losses); a group that cannot
                # even start is given up.
                failure_config=FailureConfig(max_failures=-1, controller_failure_limit=3),
            ),
        )
        try:
            trainer.fit()
        except BaseException as error:  # told to the thread that waits in `advance`
            self.failure = error


def _torch_config(settings: GroupSettings) -> Any:
    """How the ranks of a group meet. A Ray on loopback: by a file, as torch's own store listens to every network."""
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
    # Imported here: only the workers need the model libraries, whose import takes seconds.
    from sweeps.execution.worker_loop import serve

    serve(settings)
