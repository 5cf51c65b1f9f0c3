"""Compare encoders on the built-in data set: how well does each segment after a minute of training on one core?

    python benchmarks/encoders.py [--encoders NAME ...] [--losses NAME ...] [--seconds 60 120] [--seeds 0 1 2]
                                  [--lr 0.1 0.2] [--quick]

All other settings are those of the search space `streets`. As in a sweep, each training has one thread, and as many
run at a time as there are cores (at most two). A training gets as many steps as fit into the time, by the encoder's
measured step, so its learning rate reaches zero exactly at the end. Evaluation does not count. If there are several
learning rates, each encoder and loss takes the one that is best after the shortest time with the first seed.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import metadata
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.loading import load_space
from tce_core.config import TrialConfig
from tce_core.data.dataset import open_dataset
from tce_core.data.streets.dataset import make_streets
from tce_core.fairness import fairness_report
from tce_core.model import build_model
from tce_core.training import train

ENCODERS = ("tu-test_resnet", "tu-test_efficientnet", "tu-mobilenetv3_small_050")
LOSSES = ("mcce", "class_tilt")
CPU = torch.device("cpu")
STEPS = 4
"""Steps of one encoder in a round of measurement."""


class Cost(NamedTuple):
    """What one model costs."""

    parameters: int
    flops: int
    """Floating-point operations of one forward pass of a batch."""
    bare: float
    """Seconds of a step on a resident batch: forward, `F.cross_entropy`, backward and SGD."""
    whole: float
    """Seconds of a training step, from the data to the optimiser."""


class Scores(NamedTuple):
    """What one training reached on the validation split."""

    miou: float
    worst_quarter: float
    """Mean IoU of the quarter of the classes that is worst."""
    worst: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS), help="encoders of smp, or of timm as tu-NAME")
    parser.add_argument("--seconds", nargs="*", type=float, default=[60, 120], help="training times; none: no training")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds (default: 0 1 2)")
    parser.add_argument("--lr", nargs="+", type=float, help="learning rates to try (default: that of the space)")
    parser.add_argument("--losses", nargs="+", default=list(LOSSES), help="losses (default: mcce class_tilt)")
    parser.add_argument("--t", type=float, default=0.5, help="tilt of class_tilt (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of measuring the steps (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="two encoders for a few seconds: a check, not a result")
    options = parser.parse_args()
    if options.quick:
        options.encoders, options.seconds, options.seeds, options.rounds = options.encoders[:2], [3.0], [0], 1
    space = load_space("streets")
    configs = [space.config({"encoder": name, "t": options.t}) for name in options.encoders]
    at_once = min(2, os.cpu_count() or 1)
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="encoders-") as folder,
        ProcessPoolExecutor(at_once, context, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        path = make_streets(Path(folder, "streets")).path
        measured = pool.map(partial(costs, path, configs, options.rounds), range(at_once))
        both = [merge(ones) for ones in zip(*measured, strict=True)]
        show_costs(configs, both, at_once)
        runs = [
            (config.model_copy(update={"loss": loss}), cost.whole)
            for config, cost in zip(configs, both, strict=True)
            for loss in options.losses
        ]
        if options.seconds and options.lr:
            runs = best_rates(pool, path, runs, min(options.seconds), options.lr, options.seeds[0])
        if options.seconds:
            show_learning(pool, path, runs, options.seconds, options.seeds)


def costs(path: Path, configs: list[TrialConfig], rounds: int, _process: int) -> list[Cost]:
    """Measure what each model costs.

    A round runs a few steps of every configuration, so a machine whose speed drifts affects all of them alike.
    """
    data = open_dataset(path)
    models = [build_model(config, data.num_classes).to(memory_format=torch.channels_last) for config in configs]
    bare = [bare_step(model, config, data.num_classes) for model, config in zip(models, configs, strict=True)]
    short = {"epochs": rounds + 1, "steps_per_epoch": STEPS}
    whole = [train(config.model_copy(update=short), data, device=CPU) for config in configs]
    times: list[list[tuple[float, float]]] = [[] for _ in configs]
    for turn in range(rounds + 1):
        for i in range(len(configs)):
            pair = statistics.median(bare[i]() for _ in range(STEPS)), next(whole[i]).train_seconds / STEPS
            if turn:  # the first round is a warm-up
                times[i].append(pair)
    return [
        Cost(parameters(model), forward_flops(model, config), *map(statistics.median, zip(*pairs, strict=True)))
        for model, config, pairs in zip(models, configs, times, strict=True)
    ]


def merge(ones: Iterable[Cost]) -> Cost:
    """Return the mean of what several processes measured at the same time."""
    return Cost(*map(statistics.mean, zip(*ones, strict=True)))


def parameters(model: nn.Module) -> int:
    """Return the number of trained numbers of a model."""
    return sum(parameter.numel() for parameter in model.parameters())


def forward_flops(model: nn.Module, config: TrialConfig) -> int:
    """Count the floating-point operations of one forward pass of a batch; a multiplication and an addition are two."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(config.batch_size, 3, *config.crop))
    return counter.get_total_flops()


def bare_step(model: nn.Module, config: TrialConfig, num_classes: int) -> Callable[[], float]:
    """Return a step on a resident batch, which returns the seconds it took."""
    generator = torch.Generator().manual_seed(0)
    b, (h, w) = config.batch_size, config.crop
    images = torch.randn(b, 3, h, w, generator=generator).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(num_classes, (b, h, w), generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=config.momentum)

    def step() -> float:
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        return time.perf_counter() - started

    return step


def show_costs(configs: list[TrialConfig], measured: list[Cost], at_once: int) -> None:
    """Print the cost of each model."""
    one = configs[0]
    sizes = f"batch {one.batch_size}x3x{one.crop[0]}x{one.crop[1]}, decoder {one.decoder_channels}"
    print(f"{sizes}, output stride {one.output_stride}; {at_once} at a time, 1 thread each\n")
    print("| encoder | licence | parameters | GFLOP forward | bare step | GFLOP/s | step with data |")
    print("|---|---|---|---|---|---|---|")
    for config, cost in zip(configs, measured, strict=True):
        size = f"{cost.parameters / 1e6:.2f} M | {cost.flops / 1e9:.2f}"
        print(
            f"| `{config.encoder}` | {licence(config.encoder)} | {size} "
            f"| {1e3 * cost.bare:.0f} ms | {3 * cost.flops / cost.bare / 1e9:.0f} | {1e3 * cost.whole:.0f} ms |"
        )


def licence(encoder: str) -> str:
    """Return the licence that the package of an encoder states: timm for `tu-NAME`, else smp."""
    package = metadata("timm" if encoder.startswith("tu-") else "segmentation-models-pytorch")
    return package.get("License-Expression") or package.get("License") or "?"


def learn(path: Path, step: float, config: TrialConfig, budget: float) -> Scores:
    """Train for `budget` seconds at `step` seconds per step, and evaluate."""
    steps = max(1, round(budget / step))
    (result,) = train(config.model_copy(update={"epochs": 1, "steps_per_epoch": steps}), open_dataset(path), device=CPU)
    report = fairness_report(result.iou)
    scores = Scores(report.miou, report.sorted_bottom, report.worst_iou)
    about = f"{config.encoder} {config.loss} lr={config.lr:g} seed={config.seed}, {steps} steps"
    print(f"{about}: mIoU {scores.miou:.3f}, worst quarter {scores.worst_quarter:.3f}", file=sys.stderr, flush=True)
    return scores


Runs = list[tuple[TrialConfig, float]]
"""Configurations, each with the seconds of its step."""


def best_rates(pool: ProcessPoolExecutor, path: Path, runs: Runs, budget: float, rates: list[float], seed: int) -> Runs:
    """Give each configuration the learning rate that reaches the highest mIoU + worst quarter in `budget` seconds."""
    trained = {
        (i, rate): pool.submit(learn, path, step, config.model_copy(update={"lr": rate, "seed": seed}), budget)
        for i, (config, step) in enumerate(runs)
        for rate in rates
    }

    def score(i: int, rate: float) -> float:
        scores = trained[i, rate].result()
        return scores.miou + scores.worst_quarter

    best = [max(rates, key=partial(score, i)) for i in range(len(runs))]
    return [(config.model_copy(update={"lr": rate}), step) for (config, step), rate in zip(runs, best, strict=True)]


def show_learning(pool: ProcessPoolExecutor, path: Path, runs: Runs, budgets: list[float], seeds: list[int]) -> None:
    """Train every configuration for every time with every seed; print the mean and the range over the seeds."""
    trained = [
        [
            [pool.submit(learn, path, step, config.model_copy(update={"seed": seed}), budget) for seed in seeds]
            for budget in budgets
        ]
        for config, step in runs
    ]
    heads = [f"{budget:g} s: {name}" for budget in budgets for name in ("mIoU", "worst quarter", "worst class")]
    print(f"\nValidation IoU after training, seeds {', '.join(map(str, seeds))}: mean (lowest to highest)\n")
    print(f"| encoder | loss | lr | {' | '.join(heads)} |\n|---|---|---{'|---' * len(heads)}|")
    for (config, _), row in zip(runs, trained, strict=True):
        cells = [spread(values) for cell in row for values in zip(*(one.result() for one in cell), strict=True)]
        print(f"| `{config.encoder}` | `{config.loss}` | {config.lr:g} | {' | '.join(cells)} |", flush=True)


def spread(values: tuple[float, ...]) -> str:
    """Return the mean of the values, and their range if there are several."""
    text = f"{statistics.mean(values):.3f}"
    return text if len(values) == 1 else f"{text} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
