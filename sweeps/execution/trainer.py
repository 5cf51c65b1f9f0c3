"""Ray Train without the parts that this program does not use: a group of workers starts in half the time and memory.

`TorchTrainer` imports torch into every process that only passes it on, and each run starts four actors that nobody
here needs. Ray has no switch for them. The methods that `LeanTrainer` overrides are Ray's own; where a later Ray has
not got them, the trainer still works, but starts more slowly.
"""

import os
import socket
import threading
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import ray
from ray.train.backend import Backend, BackendConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

WATCHER = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"
PATIENCE = timedelta(minutes=30)
"""How long a rank waits for the others, as in Ray's own `TorchConfig`."""
STEP = 0.2
"""Seconds between two looks at whether a run is to be left."""
CREATING = threading.Lock()
"""Several threads must not create actors of one class at the same time."""


class Left(Exception):
    """A run was left before its end."""


class Rendezvous(Backend):
    """Lets the ranks of a group meet in `torch.distributed`. Only the workers import torch."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: "Torch") -> None:
        size = len(worker_group)
        if ray.util.get_node_ip_address() == "127.0.0.1":  # torch's own store listens on all networks
            meeting = f"file://{Path(backend_config.storage) / f'ranks-{uuid.uuid4().hex[:8]}'}"
        else:
            meeting = worker_group.execute_single(0, _free_address)
        ray.get(
            [
                worker_group.execute_single_async(rank, _meet, backend_config.backend, meeting, rank, size)
                for rank in range(size)
            ]
        )


class Torch(BackendConfig):
    """Torch with `backend` (gloo or nccl); on loopback the ranks meet through a file in the folder `storage`."""

    def __init__(self, backend: str, storage: str) -> None:
        self.backend, self.storage = backend, storage

    @property
    def backend_cls(self) -> type[Backend]:
        return Rendezvous


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind((ray.util.get_node_ip_address(), 0))
        host, port = probe.getsockname()
    return f"tcp://{host}:{port}"


def _meet(backend: str, meeting: str, rank: int, size: int) -> None:
    import gc

    gc.disable()  # a tenth of the time of the imports that begin here
    import torch

    if backend == "nccl":
        import ray.train.torch

        torch.cuda.set_device(ray.train.torch.get_device())
    if meeting.startswith("file://"):
        Path(meeting.removeprefix("file://")).parent.mkdir(parents=True, exist_ok=True)
    torch.distributed.init_process_group(backend, meeting, PATIENCE, world_size=size, rank=rank)


class LeanTrainer(DataParallelTrainer):
    """A `DataParallelTrainer` whose run starts no actor for data sets, for autoscaling or for cleaning up.

    A controller that dies ends the sweep here, and with it Ray: nothing is left to clean up.
    """

    controller: Any = None
    """The actor that starts the workers, once it has been started itself."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.left = threading.Event()

    def leave(self) -> None:
        """Let `fit` raise `Left` within `STEP` seconds, whatever the workers do: Ray is about to end."""
        self.left.set()

    def abort(self) -> None:
        """End the workers, even in mid-epoch. If the controller were killed, their place would stay occupied."""
        if (controller := self.controller) is not None:
            controller.abort.remote()

    def _create_default_callbacks(self) -> list[Any]:
        unused = ("PlacementGroupCleanerCallback", "DatasetsCallback")
        return [one for one in super()._create_default_callbacks() if type(one).__name__ not in unused]

    def _initialize_and_run_controller(self, **settings: Any) -> Any:
        try:
            from ray.train.v2._internal.execution.controller import TrainController
            from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy

            policy = _fixed_size(FixedScalingPolicy)(self.scaling_config)
            here = {ray._raylet.RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()}
        except (ImportError, AttributeError, TypeError):
            return super()._initialize_and_run_controller(**settings)
        settings["scaling_policy"] = policy
        # Unlike Ray's method, without a runtime environment: with one, each process would import ray twice.
        with CREATING:
            self.controller = ray.remote(num_cpus=0, label_selector=here)(TrainController).remote(**settings)
        try:
            self._result(self.controller.run)
            return self._result(self.controller.get_result)
        finally:
            self.controller = None  # the process of an actor that nobody holds ends

    def _result(self, method: Any) -> Any:
        """Call a method of the controller and wait, in steps: a thread inside `ray.get` while Ray ends kills its
        process."""
        call = method.remote()
        while not ray.wait([call], timeout=STEP)[0]:
            if self.left.is_set():
                raise Left
        return ray.get(call)


def _fixed_size(policy: Any) -> Any:
    """Ray's policy of a fixed number of workers, which does not ask the autoscaler for more machines."""

    class FixedSize(policy):  # type: ignore[misc]
        def after_controller_start(self, train_run_context: Any) -> None:
            # The controller has read it. Workers must not inherit it: a process with variables of its own starts later.
            os.environ.pop(WATCHER, None)

        async def before_controller_shutdown(self) -> None:
            pass

        def before_controller_abort(self) -> None:
            pass

        def _maybe_send_resource_request(self) -> None:
            pass

    return FixedSize
