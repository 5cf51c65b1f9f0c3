"""Warm trial slots: Ray Train worker groups that live as long as the sweep and serve one trial after another.

The usual pattern builds a `TorchTrainer` per trial: 20 seconds of starting processes and importing torch, each time.
Here a *slot*, one reused Tune actor, owns one long `TorchTrainer` run. Tune's `step()` becomes "bring trial T to
epoch e"; stopping a trial is not asking for its next epoch; Ray Train replaces workers that die.
"""

import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from sweeps.mailbox import Mailbox, Order


@dataclass(frozen=True)
class SlotSettings:
    """What a slot needs to know; the same for every slot of a sweep."""

    dataset: str
    checkpoints: str
    storage: str
    """Folder for Ray Train's own files; on several machines a shared one, like the other two."""
    workers: int
    cpus_per_worker: int
    gpus_per_worker: float
    retries: int = 2
    """How many groups of workers a trial may lose before it fails."""

    @property
    def resources_per_worker(self) -> dict[str, float]:
        gpu = {"GPU": self.gpus_per_worker} if self.gpus_per_worker else {}
        return {"CPU": self.cpus_per_worker, **gpu}


def _serve(settings: dict[str, Any]) -> None:
    # Imported here: only the workers need the model libraries, whose import takes seconds.
    from sweeps.worker import serve

    serve(settings)


class Slot(tune.Trainable):
    """One slot. Tune's config: `slot` (SlotSettings), `number`, `trial` (a TrialConfig as a dict), `epochs`.

    A result has `number`, `epoch`, and either `result` (an `EpochResult` as a dict) or `error` (why the trial failed).
    """

    def setup(self, config: dict[str, Any]) -> None:
        self.settings: SlotSettings = config["slot"]
        self.serial = 0
        self.mailbox = ray.remote(Mailbox).options(num_cpus=0, max_concurrency=1000).remote(self.settings.retries)
        self.failure: BaseException | None = None
        self.reset_config(config)
        self.trainer = threading.Thread(target=self._train, name="torch-trainer", daemon=True)
        self.trainer.start()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The slot's next trial. True: the actor may be reused."""
        self.number, self.trial, self.epochs = new_config["number"], new_config["trial"], new_config["epochs"]
        self.epoch = new_config.get("epoch", 0)
        return True

    def step(self) -> dict[str, Any]:
        self.serial += 1
        order = Order(self.serial, self.number, self.trial, self.epoch + 1)
        asked = time.perf_counter()
        answer = self._wait_for(self.mailbox.ask.remote(order))
        if "error" not in answer:
            self.epoch += 1
        finished = "error" in answer or self.epoch >= self.epochs
        seconds = time.perf_counter() - asked
        return {"number": self.number, "epoch": self.epoch, "done": finished, "slot_seconds": seconds, **answer}

    def _wait_for(self, answer: Any) -> dict[str, Any]:
        while not ray.wait([answer], timeout=1.0)[0]:
            if not self.trainer.is_alive():
                raise RuntimeError(f"the slot's workers could not be kept running: {self.failure}") from self.failure
        return dict(ray.get(answer))

    def _train(self) -> None:
        settings = self.settings
        trainer = TorchTrainer(
            _serve,
            train_loop_config={
                "mailbox": self.mailbox,
                "dataset": settings.dataset,
                "checkpoints": settings.checkpoints,
                "cpus": settings.cpus_per_worker,
            },
            torch_config=TorchConfig(backend="nccl" if settings.gpus_per_worker else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=settings.workers,
                use_gpu=settings.gpus_per_worker > 0,
                resources_per_worker=settings.resources_per_worker,
            ),
            run_config=RunConfig(
                name=f"slot-{uuid.uuid4().hex[:8]}",
                storage_path=settings.storage,
                # Dead workers are replaced for ever (the mailbox counts each trial's losses); a group that cannot
                # even start is given up.
                failure_config=FailureConfig(max_failures=-1, controller_failure_limit=3),
            ),
        )
        try:
            trainer.fit()
        except BaseException as error:
            self.failure = error

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Tune asks when a trial ends. Nothing to save: workers write the trial's checkpoint after every epoch."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        pass

    def cleanup(self) -> None:
        ray.get(self.mailbox.stop.remote())
        self.trainer.join(timeout=30)
        ray.kill(self.mailbox)
