"""Measure the cost of each loss relative to `F.cross_entropy`: time and peak memory of forward and backward together.

    python benchmarks/losses.py [--shape 8x19x769x769] [--rounds 3] [--threads 1] [--device cuda]
                                [--layouts channels_last] [--losses image_tilt focal]

Each round runs every loss once, and each ratio compares times of the same round. So a machine whose speed drifts
affects all losses alike. The table shows the median over the rounds. `stochastic_tilt` includes the sums by class that
its sampler learns from. DeepLabv3+ gives its logits in the layout `channels_last`.
"""

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tce_core import VOID
from tce_core.adjust import class_shares
from tce_core.class_weights import inverse_frequency_weights
from tce_core.loss_table import LOSSES
from tce_core.losses import build_loss
from tce_core.losses.by_pixel import mean_loss
from tce_core.pixel_losses import class_losses

Loss = Callable[[Tensor, Tensor], Tensor]
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
OVER = ("class_tilt over batch", "class_tilt over data")
ALL = (*LOSSES, *OVER)
BY_PIXEL = tuple(name for name in ALL if not str(LOSSES[name.split()[0]].builder).startswith("region."))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="8x19x769x769", help="BxKxHxW of the logits (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds (default: %(default)s)")
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS), choices=LAYOUTS, help="default: both")
    parser.add_argument("--losses", nargs="+", default=BY_PIXEL, choices=ALL, help="default: all but region losses")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: all)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape = [int(n) for n in options.shape.split("x")]
    losses = candidates(options.losses, shape[1])
    print(f"{options.shape} float32 logits on {options.device}, {options.rounds} rounds, {options.threads} threads\n")
    print("| layout | loss | time / F.cross_entropy | peak memory / F.cross_entropy |\n|---|---|---|---|")
    for layout in options.layouts:
        logits, labels = random_batch(shape, LAYOUTS[layout], options.device)
        seconds, memory = compare(losses, logits, labels, options.rounds)
        for name in losses:
            print(f"| {layout} | `{name}` | {seconds[name]:.2f} | {memory[name]:.2f} |", flush=True)


def random_batch(shape: list[int], layout: torch.memory_format, device: str) -> tuple[Tensor, Tensor]:
    """Make random logits, and labels of 16x16 squares whose top rows are void."""
    b, k, h, w = shape
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(b, k, h, w, generator=generator).to(device, memory_format=layout)
    squares = torch.randint(k, (b, h // 16 + 1, w // 16 + 1), generator=generator)
    labels = squares.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, :h, :w].contiguous()
    labels[:, : h // 20] = VOID
    return logits.requires_grad_(), labels.to(device)


def compare(
    losses: dict[str, Loss], logits: Tensor, labels: Tensor, rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the time and the peak memory of each loss, divided by those of `F.cross_entropy`."""
    times: dict[str, list[float]] = {name: [] for name in losses}
    for turn in range(rounds + 1):
        for name, loss in losses.items():
            seconds = run(loss, logits, labels)
            if turn:  # the first round is a warm-up
                times[name].append(seconds)
    memory = {name: peak_memory(loss, logits, labels) for name, loss in losses.items()}
    reference = times["F.cross_entropy"]
    ratios = {name: statistics.median(a / b for a, b in zip(times[name], reference, strict=True)) for name in losses}
    return ratios, {name: memory[name] / memory["F.cross_entropy"] for name in losses}


def candidates(names: Sequence[str], num_classes: int) -> dict[str, Loss]:
    """Return the losses to measure, by name, `F.cross_entropy` first."""
    counts = 2 ** torch.arange(num_classes)
    given = {
        "t": 1.0,
        "class_weights": inverse_frequency_weights(counts),
        "class_shares": tuple(class_shares(counts).tolist()),
    }
    losses: dict[str, Loss] = {
        "F.cross_entropy": lambda logits, labels: F.cross_entropy(logits, labels, ignore_index=VOID)
    }
    for name in names:
        loss, _, over = name.partition(" over ")
        settings = {key: given[key] for key in LOSSES[loss].arguments if key in given}
        losses[name] = build_loss(loss, **settings, **({"over": over} if over else {}))
    if "stochastic_tilt" in losses:
        losses["stochastic_tilt"] = lambda logits, labels: mean_loss(*class_losses(logits, labels))
    return losses


def run(loss: Loss, logits: Tensor, labels: Tensor) -> float:
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


def peak_memory(loss: Loss, logits: Tensor, labels: Tensor) -> float:
    """Return the peak number of bytes that one forward and backward pass allocates."""
    logits.grad = None
    if logits.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(loss, logits, labels)
        return torch.cuda.max_memory_allocated() - before
    return _peak_resident(lambda: run(loss, logits, labels))


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
