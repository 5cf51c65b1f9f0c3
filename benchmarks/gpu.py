"""Measure training and evaluation of a full-size model on a GPU, and what is left of the card's speed.

    python benchmarks/gpu.py [--rounds 4] [--steps 20] [--images 64]
    python benchmarks/gpu.py --only compile                # the bare step, and compiled
    python benchmarks/gpu.py --device cpu --size small      # the same in a minute on a CPU, to try the script

The model is DeepLabv3+ with a ResNet-101 (random weights), on batches of 8 crops from images of 2048x1024 pixels with
19 classes. The paper's crop is 769x769. A crop here has sides that are multiples of 16, so it is 768x768 (0.3% less).

- *bare step*: forward, `F.cross_entropy`, backward and SGD on one batch that stays on the card;
- *our loop*: `Run.step`, with crops that are cut, scaled, flipped and jittered from an Arrow file;
- *plain loop*: what people write with `DataLoader`, PNG files and torchvision's transforms, a worker for each core.

Rounds alternate the candidates. Each begins with steps that are not timed, so that no candidate lives on batches that
were made while another one ran. The losses alone: `python benchmarks/losses.py --shape 8x19x769x769`.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from full_size import PlainCrops, write_arrow, write_png
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from tce_core import VOID
from tce_core.config import TrialConfig
from tce_core.data.dataset import Dataset, open_dataset
from tce_core.devices import use_bf16
from tce_core.evaluation import autocast, evaluate, predict
from tce_core.model import build_model
from tce_core.run import Run

SIZES = {
    "full": {"encoder": "resnet101", "crop": (768, 768), "batch_size": 8},
    "small": {"encoder": "tu-mobilenetv3_small_050", "decoder_channels": 16, "crop": (64, 96), "batch_size": 4},
}
IMAGES = {"full": (1024, 2048), "small": (128, 256)}
LOSSES = {"mcce": {}, "image_tilt": {"t": 1.5}, "class_tilt": {"t": 1.5}, "stochastic_tilt": {"t": 1.5}}
UNTIMED = 5
"""Steps at the start of each round: as many as our loop and a `DataLoader` worker can have made before."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda or cpu (default: %(default)s)")
    parser.add_argument("--size", choices=SIZES, default="full", help="default: %(default)s")
    parser.add_argument("--images", type=int, default=64, help="images of the data set (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each in a round (default: %(default)s)")
    parser.add_argument("--only", metavar="TEXT", help="candidates whose names contain TEXT, and the bare step")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("This machine has no GPU, so nothing is measured. `--device cpu --size small` only tries the script.")
        return
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} CPU threads", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        config = TrialConfig(epochs=10**6, steps_per_epoch=10**4, **SIZES[options.size])
        write_arrow(Path(folder), options.images, IMAGES[options.size])
        bench = Bench(config, open_dataset(folder), device)
        steps = {name: make() for name, make in candidates(bench, options.only).items()}
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(options.rounds):
            for name, step in steps.items():
                seconds[name].append(bench.time(step, options.steps))
        if options.only is None:
            seconds["plain loop"] = [bench.plain(Path(folder), options.steps)]
        bench.report(seconds)
        if options.only is None:
            bench.report_evaluation()


def candidates(bench: "Bench", only: str | None) -> dict[str, Callable[[], Callable[[], object]]]:
    """Return functions that build the steps to measure, by name. `torch.compile` takes minutes: only if named."""
    every = {
        "bare step": bench.bare,
        "bare step, fused SGD": partial(bench.bare, fused=True),
        "bare step, contiguous": partial(bench.bare, layout=torch.contiguous_format),
        "bare step, cudnn.benchmark": partial(bench.bare, tuned=True),
        "bare step, torch.compile": partial(bench.bare, compiled=True),
        **{f"our loop, `{loss}`": partial(bench.ours, loss=loss, **settings) for loss, settings in LOSSES.items()},
    }
    if only is None:
        return {name: make for name, make in every.items() if "compile" not in name}
    return {name: make for name, make in every.items() if name == "bare step" or only in name}


class Bench:
    """What the candidates share: settings, data, device, and the work of one step.

    Args:
        config: model, crop and batch size.
        data: images and labels.
        device: where to compute.
    """

    def __init__(self, config: TrialConfig, data: Dataset, device: torch.device) -> None:
        self.config, self.data, self.device = config, data, device
        self.bf16 = use_bf16(config, device)
        generator = torch.Generator().manual_seed(0)
        shape = (config.batch_size, 3, *config.crop)
        self.images = torch.randn(shape, generator=generator).to(device, memory_format=torch.channels_last)
        self.labels = torch.randint(data.num_classes, (shape[0], *shape[2:]), generator=generator).to(device)
        self.flops = self._flops()
        self.peak = self._peak(8192 if device.type == "cuda" else 512)

    def _model(
        self, layout: torch.memory_format = torch.channels_last, fused: bool | None = None
    ) -> tuple[nn.Module, torch.optim.SGD]:
        model = build_model(self.config, self.data.num_classes).to(self.device).to(memory_format=layout).train()
        return model, torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=fused)

    def _flops(self) -> int:
        """Count the floating-point operations of one forward and backward pass."""
        model, optimizer = self._model()
        with FlopCounterMode(display=False) as counter:
            self._train(model, optimizer, self.images, self.labels)
        return int(counter.get_total_flops())

    def _peak(self, n: int) -> float:
        """Measure the operations per second of a bf16 product of random n x n matrices."""
        a, b = torch.randn(2, n, n, device=self.device, dtype=torch.bfloat16 if self.bf16 else torch.float32)
        return 2 * n**3 / min(self.time(lambda: torch.mm(a, b), 10) for _ in range(3))

    def _train(self, model: nn.Module, optimizer: torch.optim.SGD, images: Tensor, labels: Tensor) -> None:
        with autocast(self.device, self.bf16):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels, ignore_index=VOID)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def bare(
        self,
        *,
        fused: bool | None = None,
        tuned: bool = False,
        compiled: bool = False,
        layout: torch.memory_format = torch.channels_last,
    ) -> Callable[[], object]:
        """Return a step on the resident batch. `tuned`: cuDNN tries its algorithms and takes the fastest."""
        model, optimizer = self._model(layout, fused)
        run: Callable = torch.compile(model) if compiled else model
        images = self.images.contiguous(memory_format=layout)

        def step() -> None:
            torch.backends.cudnn.benchmark = tuned
            self._train(run, optimizer, images, self.labels)
            torch.backends.cudnn.benchmark = False

        return step

    def ours(self, **settings: object) -> Callable[[], object]:
        """Return the step of a training run of this project."""
        run = Run(self.config.model_copy(update={"lr": 1e-3, **settings}), self.data, self.device)
        run.model.train()
        steps = iter(range(10**9))
        return lambda: run.step(next(steps))

    def plain(self, folder: Path, steps: int) -> float:
        """Return the seconds of a step of the plain loop. The batches that its workers make ahead are not timed."""
        write_png(folder, self.data.train)
        workers = torch.get_num_threads()
        ahead = UNTIMED + 2 * workers  # a worker prefetches two batches
        crops = PlainCrops(folder, self.config, (ahead + steps) * self.config.batch_size)
        loader = DataLoader(crops, self.config.batch_size, num_workers=workers, pin_memory=self.device.type == "cuda")
        batches: Iterator[tuple[Tensor, Tensor]] = iter(loader)
        model, optimizer = self._model()

        def step() -> None:
            images, labels = (part.to(self.device, non_blocking=True) for part in next(batches))
            self._train(model, optimizer, images.contiguous(memory_format=torch.channels_last), labels)

        return self.time(step, steps, untimed=ahead)

    def time(self, step: Callable[[], object], steps: int, untimed: int = UNTIMED) -> float:
        """Return the mean seconds of a step."""
        for _ in range(untimed):
            step()
        self._synchronise()
        started = time.perf_counter()
        for _ in range(steps):
            step()
        self._synchronise()
        return (time.perf_counter() - started) / steps

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def report(self, seconds: dict[str, list[float]]) -> None:
        """Print the table of training."""
        size, (height, width) = self.config.batch_size, self.config.crop
        print(f"{self.flops / size / 1e9:,.0f} GFLOP per image forward and backward, {self.config.encoder}")
        print(f"matrix product: {self.peak / 1e12:,.1f} TFLOP/s in {'bf16' if self.bf16 else 'fp32'}\n")
        print(f"| batch of {size}, {height}x{width} | ms per step | images/s | time / bare step | share of the peak |")
        print("|---|---|---|---|---|")
        for name, rounds in seconds.items():
            one = statistics.median(rounds)
            against = zip(rounds, seconds["bare step"], strict=False)
            ratio = statistics.median(a / b for a, b in against)
            share = self.flops / one / self.peak
            print(f"| {name} | {one * 1e3:.1f} | {size / one:.1f} | {ratio:.2f} | {share:.0%} |")

    def report_evaluation(self) -> None:
        """Print the speed of `evaluate` on the validation split, and its share that is not the model."""
        model, split = self._model()[0].eval(), self.data.val
        raw = torch.tensor(split.image(0)).permute(2, 0, 1)[None].to(self.device)
        ready = raw.float().contiguous(memory_format=torch.channels_last)

        def forward() -> None:
            with torch.inference_mode(), autocast(self.device, self.bf16):
                model(ready)

        def whole() -> None:
            evaluate(model, split, self.device, bf16=self.bf16)

        seconds: dict[str, list[float]] = {"forward pass": [], "`predict`": [], "`evaluate`": []}
        for _ in range(3):
            seconds["forward pass"].append(self.time(forward, len(split)))
            seconds["`predict`"].append(self.time(lambda: predict(model, raw, self.bf16), len(split)))
            seconds["`evaluate`"].append(self.time(whole, 1, untimed=1) / len(split))
        height, width = split.sizes[0]
        print(f"\n| evaluation, {width}x{height} | ms per image | images/s | more than the forward pass |")
        print("|---|---|---|---|")
        for name, rounds in seconds.items():
            one = statistics.median(rounds)
            more = statistics.median(a / b for a, b in zip(rounds, seconds["forward pass"], strict=True)) - 1
            print(f"| {name} | {one * 1e3:.2f} | {1 / one:.1f} | {more:.1%} |")


if __name__ == "__main__":
    main()
