"""How often do the intervals hold the truth? Simulated images whose population is known.

    python benchmarks/coverage.py [--draws 1000] [--only differences]

Each row is a kind of data set. A cell shows how often the 95% interval of `tce_core.evidence.intervals` contains the
IoU of the population, and in brackets how often a percentile bootstrap over images does.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from tce_core.evidence.intervals import difference, estimate, estimate_classes, estimate_worst
from tce_core.evidence.jackknife import Jackknife
from tce_core.evidence.measures import OfIoU, miou, std_iou, worst_iou, worst_quarter
from tce_core.iou import iou_from_counts

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
POPULATION = 200_000
"""Images that stand for the population."""
SEEDS = 60
"""Seeds that stand for all seeds."""
GAIN = 0.3
"""What one method is better than the other in each class, on the logit scale."""
COMPARED: dict[str, OfIoU] = {"mIoU": miou, "worst class": worst_iou}
SMOOTH: dict[str, OfIoU] = {"mIoU": miou, "worst quarter": worst_quarter, "std": std_iou}


@dataclass(frozen=True)
class Kind:
    """A kind of data set."""

    images: int
    quality: tuple[float, ...]
    """The typical IoU of each class in an image."""
    presence: tuple[float, ...]
    """How often an image shows each class."""
    seed_scatter: float = 0.25
    """Standard deviation, over seeds, of a class's quality on the logit scale."""

    def draw(self, rng: np.random.Generator, images: int, shift: float | Floats = 0.0) -> Counts:
        """Draw the counts (N, 3, K) of some images. Good images are good for all classes; regions differ in size.

        `shift` moves the quality of each class (K,) on the logit scale.
        """
        shown, quality = rng.random((images, len(self.quality))) < self.presence, np.array(self.quality)
        size = np.exp(rng.normal(6, 1, shown.shape)) * shown
        at = np.log(quality / (1 - quality)) + shift + rng.normal(0, 0.5, (images, 1)) + rng.normal(0, 0.8, shown.shape)
        right = 1 / (1 + np.exp(-at))
        missed = size * (1 - right)
        wrong = missed * rng.random(shown.shape)
        return np.stack([size * right, wrong, missed - wrong], axis=1).round().astype(np.int64)

    def truth(self, shift: float | Floats = 0.0, images: int = POPULATION) -> Floats:
        """The IoUs (K,) of the population."""
        rng = np.random.default_rng(0)
        return np.asarray(iou_from_counts(self.draw(rng, images, shift).sum(axis=0)))


def even(low: float, classes: int) -> tuple[float, ...]:
    return tuple(np.linspace(low, 0.9, classes).tolist())


KINDS = {
    "60 images, 10 classes, 2 rare": Kind(60, even(0.1, 10), (0.125,) * 2 + (0.8,) * 8),
    "100 images, 10 classes, common": Kind(100, even(0.3, 10), (0.8,) * 10),
    "100 images, 2 of 10 equally bad": Kind(100, (0.3, 0.3, *even(0.45, 8)), (0.3,) * 10),
    "100 images, 5 of 10 equally bad": Kind(100, (0.3,) * 5 + even(0.5, 5), (0.6,) * 10),
    "100 images, worst near 0 and rare": Kind(100, (0.01, 0.05, *even(0.3, 8)), (0.15,) * 2 + (0.8,) * 8),
    "500 images, 19 classes, 3 rare": Kind(500, even(0.2, 19), (0.05,) * 3 + (0.7,) * 16),
}


def one_model(kind: Kind, draws: int, seed: int = 0) -> dict[str, tuple[float, float]]:
    """How often the intervals of one model hold the truth, ours and the percentile bootstrap's."""
    rng, truth = np.random.default_rng(seed), kind.truth()
    hits = {name: [0.0, 0.0] for name in (*SMOOTH, "worst class", "each class")}
    for _ in range(draws):
        counts = kind.draw(rng, kind.images)
        model = [Jackknife.of(counts)]
        resampled = _resampled(counts, rng)
        for name, measure in {**SMOOTH, "worst class": worst_iou}.items():
            ours = estimate_worst(model) if name == "worst class" else estimate(model, measure)
            low, high = np.percentile(measure(resampled), [2.5, 97.5])
            hits[name][0] += ours.low <= measure(truth) <= ours.high
            hits[name][1] += low <= measure(truth) <= high
        low, high = np.nanpercentile(resampled, [2.5, 97.5], axis=0)
        ends = np.array([(one.low, one.high) for one in estimate_classes(model)])
        hits["each class"][0] += float(np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1])))
        hits["each class"][1] += float(np.mean((low <= truth) & (truth <= high)))
    return {name: (ours / draws, theirs / draws) for name, (ours, theirs) in hits.items()}


def _resampled(counts: Counts, rng: np.random.Generator) -> Floats:
    n = len(counts)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=200).astype(np.float64)
    return np.asarray(iou_from_counts((weights @ counts.reshape(n, -1)).reshape(200, *counts.shape[1:])))


@cache
def true_differences(kind: Kind) -> dict[str, float]:
    """The mean difference of the two methods over many seeds, on a tenth of the population each."""
    rng, n = np.random.default_rng(0), POPULATION // 10
    moved = [rng.normal(0, kind.seed_scatter, len(kind.quality)) for _ in range(SEEDS)]
    pairs = [(kind.truth(GAIN + of_seed, n), kind.truth(of_seed, n)) for of_seed in moved]
    return {name: float(np.mean([f(a) - f(b) for a, b in pairs])) for name, f in COMPARED.items()}


def two_methods(kind: Kind, seeds: int, draws: int, seed: int = 0) -> dict[str, float]:
    """How often the paired interval of a difference over `seeds` seeds holds the true difference.

    Both methods see the same images. Each seed moves the quality of every class; the truth is the mean over many seeds.
    """
    rng, true = np.random.default_rng(seed), true_differences(kind)
    hits = dict.fromkeys(true, 0)
    for _ in range(draws):
        images = int(rng.integers(2**31))  # the same images for all models
        models = [
            [
                Jackknife.of(kind.draw(np.random.default_rng(images), kind.images, better + of_seed))
                for of_seed in rng.normal(0, kind.seed_scatter, (seeds, len(kind.quality)))
            ]
            for better in (GAIN, 0.0)
        ]
        for name, measure in COMPARED.items():
            found = difference(models[0], models[1], measure)
            hits[name] += found.low <= true[name] <= found.high
    return {name: count / draws for name, count in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000, help="data sets of each kind (default: %(default)s)")
    parser.add_argument("--only", choices=["models", "differences"], help="one of the two parts")
    options = parser.parse_args()
    if options.only != "differences":
        print_models(options.draws)
    if options.only != "models":
        print_differences(options.draws // 2)


def print_models(draws: int) -> None:
    found = {name: one_model(kind, draws) for name, kind in KINDS.items()}
    _print(
        "one model",
        {
            name: {key: f"{ours:.1%} ({theirs:.1%})" for key, (ours, theirs) in cells.items()}
            for name, cells in found.items()
        },
    )


def print_differences(draws: int) -> None:
    for seeds in (2, 3, 5):
        rows = {name: two_methods(kind, seeds, draws) for name, kind in KINDS.items()}
        _print(
            f"difference of two methods, {seeds} seeds",
            {name: {key: f"{value:.1%}" for key, value in cells.items()} for name, cells in rows.items()},
        )


def _print(title: str, rows: Mapping[str, Mapping[str, str]]) -> None:
    head = list(next(iter(rows.values())))
    print(f"\n| {title} | {' | '.join(head)} |\n|---{'|---' * len(head)}|")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells.values())} |")


if __name__ == "__main__":
    main()
