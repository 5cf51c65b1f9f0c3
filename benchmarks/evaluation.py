"""Measure what an evaluation costs beside the forward pass of the model.

    python benchmarks/evaluation.py [--size 1024x2048] [--classes 19] [--encoder mobilenet_v2] [--rounds 5]
                                    [--threads 1] [--device cuda]

Each round runs every part once, and each ratio compares times of the same round. So a machine whose speed drifts
affects all parts alike. The table shows the median over the rounds. Rows in brackets are what others do instead.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tce_core import VOID
from tce_core.adjust import TAUS, class_shares, offsets
from tce_core.argmax import most_likely, most_likely_adjusted
from tce_core.colours import normalise
from tce_core.config import TrialConfig
from tce_core.confusion import count_labels, image_counts
from tce_core.data.dataset import Split
from tce_core.evaluation import evaluate
from tce_core.model import build_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1024x2048", help="HxW of the image, multiples of 16 (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=19, help="number of classes (default: %(default)s)")
    parser.add_argument("--encoder", default="mobilenet_v2", help="encoder of DeepLabv3+ (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: all)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    height, width = (int(n) for n in options.size.split("x"))
    device = torch.device(options.device)
    model = build_model(TrialConfig(encoder=options.encoder, output_stride=16), options.classes).eval()
    model = model.to(device, memory_format=torch.channels_last)
    work = parts(model, OneImage(height, width, options.classes), device)
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(options.rounds + 1):
        for name, run in work.items():
            seconds = measure(run, device)
            if turn:  # the first round is a warm-up
                times[name].append(seconds)
    print(f"one image of {options.size}, {options.classes} classes, DeepLabv3+ with {options.encoder}, float32")
    print(f"{device}, {options.rounds} rounds, {options.threads} threads\n")
    print("| part | time / forward pass of the model |\n|---|---|")
    for name, seconds in times.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, times["model"], strict=True))
        print(f"| {name} | {ratio:.4f} |")


class OneImage:
    """What `evaluate` needs of a split, with one image of smooth random regions."""

    def __init__(self, height: int, width: int, num_classes: int) -> None:
        rng = np.random.default_rng(0)
        self.num_classes, self.sizes = num_classes, np.array([[height, width]])
        self._image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        coarse = rng.integers(0, num_classes, (height // 16, width // 16), dtype=np.uint8)
        self._mask = coarse.repeat(16, axis=0).repeat(16, axis=1)
        self._mask[: height // 20] = VOID

    def __len__(self) -> int:
        return 1

    def image(self, index: int) -> np.ndarray:
        return self._image

    def mask(self, index: int) -> np.ndarray:
        return self._mask


def parts(model: nn.Module, split: OneImage, device: torch.device) -> dict[str, Callable[[], object]]:
    """Return the parts of an evaluation to measure, by name; `model` is the forward pass alone."""
    k = split.num_classes
    images = torch.from_numpy(split.image(0).copy()).to(device).permute(2, 0, 1)[None]
    labels = torch.from_numpy(split.mask(0).copy()).to(device)[None]

    def forward() -> Tensor:
        with torch.inference_mode():
            logits: Tensor = model(x)
        return logits

    x = normalise(images).contiguous(memory_format=torch.channels_last)
    logits = forward()
    prediction = most_likely(logits)
    wide = logits.argmax(1)
    # Shares as uneven as those of Cityscapes.
    shares = class_shares(np.geomspace(4e8, 1e6, k).astype(np.int64))
    moved = torch.from_numpy(offsets(shares, TAUS)).to(device, torch.float32)

    # Adjustment changes nearly every pixel of a random model. As sure of the truth as this, it changes one in three.
    sure = logits + 9 * F.one_hot(labels.long().clamp(max=k - 1), k).permute(0, 3, 1, 2) * torch.rand_like(
        logits[:, :1]
    )

    def count_five() -> list[Tensor]:
        found = most_likely_adjusted(sure, moved)
        return [image_counts(count_labels(one, labels, k)[:, :k]) for one in found]

    return {
        "model": forward,
        "`normalise`": lambda: normalise(images).contiguous(memory_format=torch.channels_last),
        "`most_likely`": lambda: most_likely(logits),
        "(`logits.argmax(1)`)": lambda: logits.argmax(1),
        "`count_labels`, `image_counts`": lambda: image_counts(count_labels(prediction, labels, k)[:, :k]),
        "(confusion matrix of torchvision's reference script)": lambda: masked_confusion(wide, labels.long(), k),
        "`most_likely_adjusted`, five strengths": lambda: most_likely_adjusted(sure, moved),
        "five strengths and their counts": count_five,
        "`evaluate`, model and all": lambda: evaluate(model, cast(Split, split), device),
        "`evaluate` of five strengths": lambda: evaluate(model, cast(Split, split), device, offsets=moved),
    }


def masked_confusion(prediction: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """The way of torchvision's reference for segmentation: choose the valid pixels, then count."""
    valid = (labels >= 0) & (labels < num_classes)
    index = num_classes * labels[valid] + prediction[valid]
    return torch.bincount(index, minlength=num_classes**2).view(num_classes, num_classes)


def measure(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that `work` takes."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
