"""Measure the way from the command to the first training step: its stages, its processes, and what no program avoids.

    python benchmarks/first_step.py [--rounds 3] [--command sweeps/run.py …]

Each round starts a real sweep in an empty folder, follows its processes in `/proc` (on Linux), and stops it after the
first step of every slot. It also measures the floor: the import of the model libraries, once and twice at a time, a
bare `ray.init`, and a bare `TorchTrainer` up to its training function. The tables show medians over the rounds.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOOK = """
# Python runs this file in every process. It notes the time of the first step of an optimiser.
import importlib.abc, os, sys, time

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "tce_core.training":
            return None
        sys.meta_path.remove(self)
        from torch.optim.optimizer import register_optimizer_step_post_hook
        register_optimizer_step_post_hook(first)
        return None

def first(*_):
    path = os.path.join(os.environ["FIRST_STEPS"], str(os.getpid()))
    if not os.path.exists(path):
        with open(path, "w") as file:
            file.write(repr(time.time()))

sys.meta_path.insert(0, Finder())
"""
TRAINER = """
import os, time
os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")

def train():
    with open({file!r}, "w") as file:
        file.write(repr(time.time()))

TorchTrainer(train, scaling_config=ScalingConfig(num_workers=1), run_config=RunConfig(storage_path={folder!r})).fit()
"""
MODEL = "import torch, segmentation_models_pytorch"
RAY = "import ray; ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level='ERROR')"
KINDS = {
    "ray::IDLE": "idle worker",
    "ray::": "",
    "raylet/raylet": "raylet",
    "gcs_server": "gcs_server",
    "runtime_env/agent": "runtime_env agent",
    "dashboard/agent": "dashboard agent",
    "log_monitor": "log monitor",
    "default_worker.py": "starting worker",
}


@dataclass
class Process:
    """What is known of a process of the sweep. Times are in seconds since the command."""

    kind: str
    started: float
    alive: float
    """When it was first seen as this kind: an actor is, when its class has been imported."""
    cpu: float = 0.0
    rss: float = 0.0
    """Peak in MB."""
    pss: float = 0.0
    """At the end, in MB: a page that n processes share counts one nth."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=2, help="slots whose first step is awaited (default: %(default)s)")
    parser.add_argument("--no-floor", action="store_true", help="measure the sweep alone")
    parser.add_argument(
        "--command", nargs=argparse.REMAINDER, default=[str(ROOT / "sweeps" / "run.py")], help="what Python runs"
    )
    options = parser.parse_args()
    stages: dict[str, list[float]] = defaultdict(list)
    kinds: dict[str, list[Process]] = defaultdict(list)
    for _ in range(options.rounds):
        found, processes = sweep(options.command, options.slots)
        if not options.no_floor:
            found |= floor()
        for name, seconds in found.items():
            stages[name].append(seconds)
        for process in processes:
            kinds[process.kind].append(process)
    print(f"{options.rounds} rounds, {options.slots} slots, {len(os.sched_getaffinity(0))} cores\n")
    print("| seconds since the command | median | all |\n|---|---|---|")
    for name, values in stages.items():
        print(f"| {name} | {statistics.median(values):.1f} | {' '.join(f'{value:.1f}' for value in values)} |")
    print("\n| process | per sweep | alive after s | CPU s up to the first steps | peak RSS MB | PSS MB |")
    print("|---|---|---|---|---|---|")
    for kind, group in sorted(kinds.items(), key=lambda item: min(process.alive for process in item[1])):
        median = [statistics.median(getattr(p, key) for p in group) for key in ("alive", "cpu", "rss", "pss")]
        numbers = " | ".join(f"{value:.{digits}f}" for value, digits in zip(median, (1, 1, 0, 0), strict=True))
        print(f"| {kind} | {len(group) / options.rounds:g} | {numbers} |")
    total = sum(process.cpu for group in kinds.values() for process in group) / options.rounds
    print(f"\nCPU of all processes up to the first steps: {total:.1f} s")


def sweep(command: Sequence[str], slots: int) -> tuple[dict[str, float], list[Process]]:
    """Start a sweep, and stop it after the first step of each slot. Returns its stages and its processes."""
    with tempfile.TemporaryDirectory(prefix="first-step-") as name:
        folder = Path(name)
        (folder / "hook").mkdir()
        (folder / "steps").mkdir()
        (folder / "hook" / "sitecustomize.py").write_text(HOOK)
        if (ROOT / "data" / "streets").is_dir():  # otherwise the sweep draws it, as at its very first start
            shutil.copytree(ROOT / "data" / "streets", folder / "data" / "streets")
        paths = [str(folder / "hook"), os.environ.get("PYTHONPATH", "")]
        env = {**os.environ, "PYTHONPATH": ":".join(filter(None, paths)), "FIRST_STEPS": str(folder / "steps")}
        with open(folder / "output", "w") as output:
            began = time.time()
            line = [sys.executable, "-u", *command]
            driver = subprocess.Popen(line, cwd=folder, env=env, stdout=output, stderr=output)
        processes: dict[int, Process] = {}
        said: dict[str, float] = {}
        try:
            while len(list((folder / "steps").iterdir())) < slots:
                if driver.poll() is not None:
                    raise SystemExit(f"the sweep ended before its first step:\n{(folder / 'output').read_text()}")
                follow(driver.pid, began, processes)
                if "first line of output" not in said and (folder / "output").stat().st_size:
                    said["first line of output"] = time.time() - began
                time.sleep(0.1)
            steps = sorted(float(file.read_text()) - began for file in (folder / "steps").iterdir())
            follow(driver.pid, began, processes)
            for pid, process in processes.items():
                process.rss, process.pss = memory(pid)
        finally:
            for _ in range(2):  # the second Ctrl-C stops it at once
                driver.send_signal(signal.SIGINT)
                time.sleep(0.5)
            driver.wait(60)
        return stages(said, processes.values(), steps), list(processes.values())


def stages(said: dict[str, float], processes: Iterator[Process], steps: Sequence[float]) -> dict[str, float]:
    """When each generation of processes was complete, and the first steps."""
    alive: dict[str, float] = {}
    for process in processes:
        alive[process.kind] = max(alive.get(process.kind, 0), process.alive)
    found = {"Ray is up": alive.get("raylet", 0)} | said
    words = {
        "Slot": "slots",
        "ResourceTrainable": "slots",  # Tune's name of a trainable with resources
        "TrainController": "controllers",
        "RayTrainWorker": "workers",
    }
    for kind, word in words.items():
        if kind in alive:
            found[f"{word} alive"] = alive[kind]
    return found | {"**first training step**": steps[0], "first step of the last slot": steps[-1]}


def follow(driver: int, began: float, processes: dict[int, Process]) -> None:
    """Update what is known of the driver and its descendants."""
    parents, lines = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                lines[int(entry.name)] = fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            parents[int(entry.name)] = int(fields[1])
    now, ticks = time.time() - began, os.sysconf("SC_CLK_TCK")
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
    for pid, fields in lines.items():
        if driver not in ancestors(pid, parents) or fields[0] == "Z":
            continue
        kind = "driver" if pid == driver else kind_of(pid)
        started = now - (uptime - int(fields[19]) / ticks)
        if kind and (pid not in processes or processes[pid].kind != kind):
            processes[pid] = Process(kind, started, now)
        if pid in processes:
            processes[pid].cpu = (int(fields[11]) + int(fields[12])) / ticks


def ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid in parents:
        yield pid
        pid = parents[pid]


def kind_of(pid: int) -> str | None:
    """What a process is, from its command line, in which Ray names the actor; None if it is nothing of Ray."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    for pattern, kind in KINDS.items():
        if pattern in line.partition("--python_worker_command")[0]:
            return kind or line.removeprefix("ray::").partition(".")[0].partition("(")[0].partition(":")[0].strip()
    return None


def memory(pid: int) -> tuple[float, float]:
    """The peak of the resident memory, and the present PSS, in MB."""
    found = {}
    for file in ("status", "smaps_rollup"):
        try:
            for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
                key, _, value = line.partition(":")
                if key in ("VmHWM", "Pss"):
                    found[key] = float(value.split()[0]) / 1024
        except OSError:
            pass
    return found.get("VmHWM", 0.0), found.get("Pss", 0.0)


def floor() -> dict[str, float]:
    """What no program that uses these libraries avoids, in seconds."""
    with tempfile.TemporaryDirectory(prefix="first-step-") as folder:
        file = Path(folder, "began")
        began = time.time()
        python(TRAINER.format(file=str(file), folder=folder)).wait()
        trainer = float(file.read_text()) - began
    return {
        "floor: import torch and smp": timed(MODEL),
        "floor: the same, twice at a time": timed(MODEL, MODEL),
        "floor: `ray.init`": timed(RAY),
        "floor: `TorchTrainer`, its first line": trainer,
    }


def timed(*programs: str) -> float:
    """Seconds until all programs, started together, have ended."""
    began = time.time()
    for process in [python(program) for program in programs]:
        process.wait()
    return time.time() - began


def python(program: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
