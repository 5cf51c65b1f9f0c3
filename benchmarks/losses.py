"""Measure the cost of each loss relative to `F.cross_entropy`: time and peak memory of forward and backward together.

    python benchmarks/losses.py [--shape 8x19x192x256] [--rounds 15]

Each round runs every loss once, and each ratio compares times of the same round. So a machine whose speed drifts
affects all losses alike. The table shows the median over the rounds.
"""

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tce_core import VOID
from tce_core.loss_table import LOSSES
from tce_core.losses import build_loss

SETTINGS: dict[str, dict[str, float]] = {"image_tilt": {"t": 1.0}, "class_tilt": {"t": 1.0}}
LEFT_OUT = {"stochastic_tilt"}  # the same loss as mcce, Eq. (1); its tilt is in the draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="8x19x192x256", help="BxKxHxW of the logits (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="measured rounds (default: %(default)s)")
    options = parser.parse_args()
    b, k, h, w = (int(n) for n in options.shape.split("x"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(b, k, h, w, generator=generator).to(device).requires_grad_()
    labels = torch.randint(k, (b, h, w), generator=generator).to(device)
    labels[:, : h // 20] = VOID
    losses = candidates(k)
    times: dict[str, list[float]] = {name: [] for name in losses}
    for turn in range(options.rounds + 1):
        for name, loss in losses.items():
            seconds = run(loss, logits, labels)
            if turn:  # the first round is a warm-up
                times[name].append(seconds)
    memory = {name: peak_memory(loss, logits, labels) for name, loss in losses.items()}
    print(f"{options.shape} float32 logits on {device}, {options.rounds} rounds, {torch.get_num_threads()} threads\n")
    print("| loss | time / F.cross_entropy | peak memory / F.cross_entropy |\n|---|---|---|")
    for name in losses:
        ratio = statistics.median(a / c for a, c in zip(times[name], times["F.cross_entropy"], strict=True))
        print(f"| `{name}` | {ratio:.2f} | {memory[name] / memory['F.cross_entropy']:.2f} |")


def candidates(num_classes: int) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Return the losses to measure, by name, `F.cross_entropy` first."""
    weights = tuple(1.0 for _ in range(num_classes))
    losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "F.cross_entropy": lambda logits, labels: F.cross_entropy(logits, labels, ignore_index=VOID)
    }
    for name in LOSSES:
        if name not in LEFT_OUT:
            weighted = {"class_weights": weights} if name in ("weighted_ce", "focal") else {}
            losses[name] = build_loss(name, **SETTINGS.get(name, {}), **weighted)
    return losses


def run(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, labels: Tensor) -> float:
    """Return the seconds of one forward and backward pass."""
    logits.grad = None
    synchronise(logits)
    started = time.perf_counter()
    loss(logits, labels).backward()
    synchronise(logits)
    return time.perf_counter() - started


def synchronise(tensor: Tensor) -> None:
    """Wait until the GPU of the tensor, if any, has finished."""
    if tensor.is_cuda:
        torch.cuda.synchronize()


def peak_memory(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, labels: Tensor) -> float:
    """Return the peak number of bytes that one forward and backward pass allocates."""
    logits.grad = None
    if logits.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(loss, logits, labels)
        return torch.cuda.max_memory_allocated() - before
    peaks = []
    for _ in range(3):
        logits.grad = None
        peaks.append(_peak_resident(lambda: run(loss, logits, labels)))
    return statistics.median(peaks)


def _peak_resident(work: Callable[[], object]) -> float:
    """Return the peak growth of this process's resident memory in bytes. It needs Linux, which can reset the peak."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # otherwise this loss could reuse memory that earlier ones freed
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = _status("VmRSS")
    work()
    return max(1.0, _status("VmHWM") - before)


def _status(key: str) -> float:
    with open("/proc/self/status") as file:
        return next(float(line.split()[1]) * 1024 for line in file if line.startswith(key))


if __name__ == "__main__":
    main()
