"""Measure a whole training step, from the data to the optimiser, relative to a bare step of the same model.

    python benchmarks/step.py [--space streets] [--rounds 12] [--threads 1] [--device cuda]

The bare step is the least a loop can do: forward, `F.cross_entropy`, backward and SGD on a batch that is already on the
device. A whole step also cuts the crops, copies them, changes their colours, computes its own loss, clips the gradient
and, for Algorithm 1, updates the class weights. Between them is a floor: a bare step that prepares its batch on the
device and clips its gradient, because the settings ask for that. Each round times some steps of every variant in turn,
and each ratio compares times of the same round. The table shows the median over the rounds.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from search_spaces.loading import load_space
from tce_core import VOID
from tce_core.colours import normalise
from tce_core.config import TrialConfig
from tce_core.data.dataset import Dataset
from tce_core.data.streets.dataset import make_streets
from tce_core.devices import use_bf16
from tce_core.evaluation import autocast
from tce_core.freezing import training_mode
from tce_core.model import build_model
from tce_core.run import Run

FLOOR = "bare step that also prepares its batch and clips its gradient"
STEPS = 4  # of each variant in each round
VARIANTS: dict[str, dict[str, object]] = {
    "mcce": {"loss": "mcce"},
    "mcce, encoder frozen": {"loss": "mcce", "train": "decoder"},
    "mcce, all but the head frozen": {"loss": "mcce", "train": "head"},
    "weighted_ce": {"loss": "weighted_ce"},
    "focal": {"loss": "focal"},
    "image_tilt": {"loss": "image_tilt"},
    "class_tilt": {"loss": "class_tilt"},
    "stochastic_tilt, lookahead 0": {"loss": "stochastic_tilt", "lookahead": 0},
    "stochastic_tilt, lookahead 1": {"loss": "stochastic_tilt", "lookahead": 1},
    "stochastic_tilt, lookahead 2": {"loss": "stochastic_tilt", "lookahead": 2},
    "stochastic_tilt, lookahead 4": {"loss": "stochastic_tilt", "lookahead": 4},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="streets", help="space whose trial is run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=12, help="measured rounds (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the training (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--only", metavar="TEXT", nargs="+", help="steps whose names contain one of these texts")
    options = parser.parse_args()
    chosen = {n: v for n, v in VARIANTS.items() if not options.only or any(text in n for text in options.only)}
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    settings = load_space(options.space).config({}).model_dump() | {"steps_per_epoch": 10**6, "epochs": 1}
    with tempfile.TemporaryDirectory() as folder:
        data = make_streets(Path(folder) / "streets", seed=0)
        config = TrialConfig(**settings)
        start = Path(folder) / "start.pt"
        torch.save(build_model(config, data.num_classes).state_dict(), start)
        runs = {
            name: Run(TrialConfig(**settings | {"start": str(start)} | changes), data, device)
            for name, changes in chosen.items()
        }
        whole = {name: steps_of(run) for name, run in runs.items()}
        bare = {"bare step": bare_step(config, data, device), FLOOR: bare_step(config, data, device, recipe=True)}
        timed = measure({**bare, **whole}, options.rounds, device)
        for run in runs.values():
            run.close()
    seconds_bare = statistics.median(timed["bare step"])
    size = "x".join(map(str, (config.batch_size, *config.crop)))
    print(f"{size}, {config.encoder}, {options.threads} threads, {device}\n")
    print("| step | time / bare step |\n|---|---|")
    for name, seconds in timed.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, timed["bare step"], strict=True))
        print(f"| {name} | {ratio:.2f} |")
    print(f"\nThe bare step took {1000 * seconds_bare / STEPS:.1f} ms.")


def bare_step(config: TrialConfig, data: Dataset, device: torch.device, *, recipe: bool = False) -> Callable[[], None]:
    """Return a function that takes one bare step on a random batch.

    With `recipe` it also changes the colours, normalises and clips the gradient, as the configuration asks for. That is
    the floor of a whole step: only its crops and its own loss are missing.
    """
    model = build_model(config, data.num_classes).to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=config.momentum, weight_decay=config.weight_decay)
    pixels = torch.randint(256, (config.batch_size, *config.crop, 3), dtype=torch.uint8, device=device)
    pixels = pixels.permute(0, 3, 1, 2)
    colours = torch.eye(3, device=device).mul(0.5).repeat(config.batch_size, 2, 1, 1)

    def prepared() -> torch.Tensor:
        return normalise(pixels, colours).contiguous(memory_format=torch.channels_last)

    images = prepared()
    labels = torch.randint(data.num_classes, (config.batch_size, *config.crop), device=device)
    bf16 = use_bf16(config, device)

    def step() -> None:
        with autocast(device, bf16):
            logits = model(prepared() if recipe else images)
        loss = F.cross_entropy(logits.float(), labels, ignore_index=VOID)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if recipe and config.clip_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_grad_norm, foreach=True)
        optimizer.step()

    return step


def steps_of(run: Run) -> Callable[[], None]:
    """Return a function that takes the next step of a run."""
    training_mode(run.model, run.config.train)
    steps = iter(range(10**6))

    def step() -> None:
        run.step(next(steps))

    return step


def measure(variants: dict[str, Callable[[], None]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of `STEPS` steps of each variant in each round. The first round is a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, step in variants.items():
            step()  # after the others have used the caches
            if device.type == "cuda":
                torch.cuda.synchronize()
            started = time.perf_counter()
            for _ in range(STEPS):
                step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    main()
