"""Ray: start it or join it, and count how many trials it holds at a time."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sweeps.storage.plan import Plan
from tce_core.errors import TemporaryError, UserError

# Conveniences of Ray Train and Tune that this program does not use, and that cost processes, files or time.
QUIET = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # or a late call of a thread would start another Ray after this one has ended
}


@dataclass(frozen=True)
class Room:
    """What the cluster has for the trials of a plan."""

    slots: int
    """Trials at a time."""
    cpus_per_worker: int


@contextlib.contextmanager
def ray_for(plan: Plan, address: str | None, concurrent: int | None) -> Iterator[Room]:
    """Run Ray during a sweep.

    Raises:
        UserError: not even one trial fits.
    """
    available = start_ray(address)
    try:
        cpus = plan.cpus_per_worker or fair_cpus(resources_of_nodes(), plan.gpus_per_worker)
        yield Room(slots_that_fit(available, plan.workers, cpus, plan.gpus_per_worker, concurrent), cpus)
    finally:
        import ray  # only after `start_ray` has set the variables that ray reads when it is imported

        ray.shutdown()


def start_ray(address: str | None) -> Mapping[str, float]:
    """Join the cluster at `address`, or start a Ray of this machine alone that listens on loopback.

    Returns:
        The resources of the cluster by name, such as CPU and GPU.

    Raises:
        UserError: there is no cluster at `address`, or Ray already runs in this process.
        TemporaryError: this machine is too busy to start Ray.
    """
    os.environ.update({key: value for key, value in QUIET.items() if key not in os.environ})
    if address is not None and address.startswith("ray://"):
        raise UserError(f"--address {address}: a sweep cannot run through Ray Client; run it on a node, --address auto")
    if address is None:
        # The variable that keeps Ray on loopback on macOS and Windows works on Linux, too. Ray reads it at import.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    import ray

    if ray.is_initialized():
        raise UserError("Ray runs already in this process; call ray.shutdown() first, a sweep starts its own")
    try:
        if address is None:
            if sys.platform == "linux":
                os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
            _start_here()
        else:
            env = dict(QUIET)
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", runtime_env={"env_vars": env})
    except (ConnectionError, ValueError) as error:  # ValueError: the text is not an address
        raise UserError(f"--address {address}: no Ray cluster there: {str(error).splitlines()[0]}") from None
    return dict(ray.cluster_resources())


def _start_here() -> None:
    """Start Ray, up to three times: on a busy machine its processes miss their 30 seconds, which no setting changes.

    Its processes inherit this one's variables. With variables in a runtime environment each would import ray twice.
    """
    import ray

    for attempt in range(3):
        try:
            ray.init(
                num_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                log_to_driver=False,
                logging_level="ERROR",
            )
            return
        except Exception as error:  # Ray raises no narrower type
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
            if attempt == 2:
                raise TemporaryError(
                    "Ray did not start in 3 x 30 seconds: this machine is too busy; try later"
                ) from None


def resources_of_nodes() -> list[dict[str, float]]:
    """The resources of each machine of the cluster by name, such as CPU and GPU."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def fair_cpus(nodes: Sequence[Mapping[str, float]], gpus_per_worker: float) -> int:
    """Share out the cores of each machine over its GPUs: the CPUs of one worker, at least 1. Its threads cut crops.

    The machine with the fewest cores per GPU decides, so that a worker fits wherever there is a GPU.
    """
    shares = [node.get("CPU", 0) / node["GPU"] for node in nodes if node.get("GPU")]
    return max(1, int(min(shares, default=1) * gpus_per_worker + 1e-9))


def slots_that_fit(
    available: Mapping[str, float], workers: int, cpus_per_worker: int, gpus_per_worker: float, wanted: int | None
) -> int:
    """How many trials run at a time: `wanted`, or as many as the cluster holds.

    Raises:
        UserError: not even one trial fits, or `wanted` do not.
    """
    needs = {"CPU": workers * cpus_per_worker, "GPU": workers * gpus_per_worker}
    fit = min(int(available.get(kind, 0) / amount + 1e-9) for kind, amount in needs.items() if amount)
    one = " and ".join(f"{amount:g} {kind}s" for kind, amount in needs.items() if amount)
    has = " and ".join(f"{available.get(kind, 0):g} {kind}s" for kind, amount in needs.items() if amount)
    if fit < max(1, wanted or 1):
        many = f"{wanted} trials at a time need {wanted} x {one}" if wanted and wanted > 1 else f"one trial needs {one}"
        raise UserError(
            f"{many} ({workers} workers of {cpus_per_worker} CPUs and {gpus_per_worker:g} GPUs), "
            f"but there are {has}; lower --workers-per-trial, --cpus-per-worker, --gpus-per-worker or --concurrent"
        )
    return wanted or fit
