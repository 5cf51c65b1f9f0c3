"""Ray: starting or joining it, and how many trials it holds at a time."""

import os
import sys
from collections.abc import Mapping

from tce_core.errors import UserError

# Ray Train's and Tune's conveniences that this program does not use and that cost processes, files or time.
QUIET = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def start_ray(address: str | None) -> Mapping[str, float]:
    """Connect to `address`, or start a Ray of this machine alone that listens on loopback. Returns its resources.

    Raises:
        UserError: there is no cluster at `address`, or this machine is too busy to start one.
    """
    os.environ.update({key: value for key, value in QUIET.items() if key not in os.environ})
    if address is not None and address.startswith("ray://"):
        raise UserError(f"--address {address}: a sweep cannot run through Ray Client; run it on a node, --address auto")
    if address is None:
        # What makes Ray keep to loopback on macOS and Windows does so on Linux; it is read when ray is imported.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    import ray

    env = dict(QUIET)
    try:
        if address is None:
            if sys.platform == "linux":
                env["GLOO_SOCKET_IFNAME"] = "lo"
            _start_here(env)
        else:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", runtime_env={"env_vars": env})
    except (ConnectionError, ValueError) as error:  # the latter: no address at all
        raise UserError(f"--address {address}: no Ray cluster there: {str(error).splitlines()[0]}") from None
    return dict(ray.cluster_resources())


def _start_here(env: Mapping[str, str]) -> None:
    """On a busy machine Ray's processes may miss their own 30 seconds, which no setting changes: so try again."""
    import ray

    for attempt in range(3):
        try:
            ray.init(
                num_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": dict(env)},
            )
            return
        except Exception as error:  # Ray's own is no narrower
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
            if attempt == 2:
                raise UserError("Ray did not start in 3 x 30 seconds: this machine is too busy; try later") from None


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
