"""Compare the tilted losses with their rivals on `streets` and CamVid, every model with and without adjusted logits.

    python benchmarks/rivals.py streets --out streets.jsonl [--jobs 2]
    python benchmarks/rivals.py FOLDER --encoder-weights FILE --out camvid.jsonl [--jobs 8]
    python benchmarks/rivals_table.py streets.jsonl camvid.jsonl > docs/results/rivals.md

FOLDER is a data set of photographs in Arrow files, such as `tilted-sweeps convert camvid` makes; `--halve` halves the
sides of its images first. Every method gets the same budget: four settings are trained with seed 0, the best is chosen
on `val`, and it is trained again with three fresh seeds. A line of the output is one training: its IoU of each class on
`val` and `test` for each tau. Trainings that the file already holds are not repeated, so the same command continues
after an interruption.
"""

import argparse
import itertools
import json
import multiprocessing
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rivals_table import chosen_settings, reference_of

from search_spaces.loading import load_space
from tce_core.adjust import TAUS
from tce_core.config import TrialConfig
from tce_core.data.dataset import Dataset, SplitWriter, open_dataset
from tce_core.data.streets.dataset import make_streets
from tce_core.devices import default_device
from tce_core.divergence import NonFiniteLossError
from tce_core.evaluation import evaluate
from tce_core.iou import iou_from_counts
from tce_core.run import Run

SEEDS = (1, 2, 3)
"""Fresh seeds; seed 0 chooses the settings."""
PHOTOGRAPHS = {"encoder": "mobilenet_v2", "crop": (128, 160), "epochs": 14, "lr": 0.01, "precision": "fp32"}

Settings = dict[str, Any]
Row = dict[str, Any]
Job = tuple[str, Settings, int]
"""A method, the settings that differ from those of the data set, and a seed."""


def grid(loss: str, lrs: Iterable[float] = (1.0, 2.0), **settings: Any) -> list[Settings]:
    """Return four settings of a loss: every combination; `lr` is a factor. A tuple is varied, other values are not."""
    varied = {name: value if isinstance(value, tuple) else (value,) for name, value in settings.items()}
    combinations = itertools.product(lrs, *varied.values())
    return [{"loss": loss, "lr": lr, **dict(zip(varied, values, strict=True))} for lr, *values in combinations]


LRS = (0.5, 1.0, 2.0, 4.0)
METHODS: dict[str, list[Settings]] = {
    "mcce": grid("mcce", LRS),
    "class_tilt": grid("class_tilt", t=(0.3, 1.0)),
    "class_tilt over batch": grid("class_tilt", t=(0.3, 1.0), over="batch"),
    "class_tilt over data": grid("class_tilt", t=(0.5, 2.0), over="data", gamma=0.1),
    "image_tilt": grid("image_tilt", t=(0.5, 2.0)),
    "stochastic_tilt": grid("stochastic_tilt", t=(0.5, 2.0)),
    "class-uniform sampling": grid("stochastic_tilt", LRS, t=0.0),
    "rare-class sampling": grid("mcce", focus_share=1.0, focus_temperature=(0.1, 1.0)),
    "a third of the draws focused": grid("mcce", LRS, focus_share=1 / 3),
    "logit_adjusted": grid("logit_adjusted", tau=(0.5, 1.0)),
    "weighted_ce": grid("weighted_ce", weight_power=(0.5, 1.0)),
    "balanced_ce": grid("balanced_ce", LRS),
    "class_cvar": grid("class_cvar", worst_share=(0.3, 0.6)),
    "focal": grid("focal", focal_gamma=(1.0, 2.0)),
    "ohem": grid("ohem", hard_share=(0.25, 0.5)),
    "recall_ce": grid("recall_ce", LRS),
    "logit_variation": grid("logit_variation", variation=(1.0, 4.0)),
    "ce_dice": grid("ce_dice", region_weight=(0.5, 2.0)),
    "ce_jaccard": grid("ce_jaccard", region_weight=(0.5, 2.0)),
    "lovasz": grid("lovasz", LRS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="`streets`, or a folder of Arrow files")
    parser.add_argument("--out", type=Path, required=True, help="file of results; it is continued")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--encoder-weights", help="ImageNet weights of `mobilenet_v2`, for photographs")
    parser.add_argument("--halve", action="store_true", help="halve the sides of the images")
    parser.add_argument("--epochs", type=int, help="epochs of a training (default: 8 for streets, else 14)")
    parser.add_argument("--only", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="METHOD")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, base = prepare(options, Path(folder))
        context = multiprocessing.get_context("spawn")
        with context.Pool(options.jobs, _start, (path, base)) as pool:
            done = read(options.out)
            if any(row["epochs"] != base["epochs"] for row in done):
                parser.error(f"{options.out} holds trainings of another number of epochs; give another file")
            tuning = [(name, settings, 0) for name in options.only for settings in METHODS[name]]
            for row in pool.imap_unordered(train, missing(tuning, done)):
                append(options.out, row)
            done = read(options.out)
            reference = reference_of(done)
            chosen = {name: chosen_settings(done, name, reference) for name in options.only}
            fresh = [(name, best, seed) for seed in SEEDS for name, best in chosen.items() if best is not None]
            for row in pool.imap_unordered(train, missing(fresh, done)):
                append(options.out, row)


def prepare(options: argparse.Namespace, folder: Path) -> tuple[Path, Settings]:
    """Return the data set's folder and the settings of every training on it."""
    if options.data == "streets":
        base = load_space("streets").config({}).model_dump()
        path = Path(make_streets(folder / "streets").path)
    else:
        base = TrialConfig(**PHOTOGRAPHS, encoder_weights=options.encoder_weights).model_dump()
        path = halved(open_dataset(options.data), folder / "halved") if options.halve else Path(options.data)
    return path, base | ({"epochs": options.epochs} if options.epochs else {})


def halved(data: Dataset, folder: Path) -> Path:
    """Write a data set whose images have half the height and width."""
    folder.mkdir()
    for split in filter(None, (data.train, data.val, data.test)):
        with SplitWriter(folder / f"{split.name}.arrow", split.classes, split.source, split.name) as writer:
            for i in range(len(split)):
                height, width = (int(side) // 2 for side in split.sizes[i])
                image = Image.fromarray(split.image(i)).resize((width, height), Image.Resampling.BOX)
                mask = Image.fromarray(split.mask(i)).resize((width, height), Image.Resampling.NEAREST)
                writer.add(split.row_name(i), np.asarray(image), np.asarray(mask))
    return folder


def train(job: Job) -> Row:
    """Train a model, and evaluate it after the last epoch. A training that diverges has no results."""
    method, settings, seed = job
    data, base = _context
    config = TrialConfig(**{**base, **settings, "lr": base["lr"] * settings["lr"], "seed": seed})
    row: Row = {"data": data.name, "method": method, "settings": settings, "seed": seed, "epochs": config.epochs}
    run = Run(config, data, default_device())
    try:
        for _ in range(config.epochs):
            run.train_epoch()
    except NonFiniteLossError as error:
        return row | {"error": str(error)}
    finally:
        run.close()
    for split in filter(None, (data.val, data.test)):
        _, counts = evaluate(run.model, split, run.device, bf16=run.bf16, offsets=run.offsets)
        iou = iou_from_counts(counts.sum(1).numpy())  # (T, K)
        row[split.name] = {str(tau): [None if x != x else x for x in one] for tau, one in zip(TAUS, iou, strict=True)}
    return row


_context: tuple[Dataset, Settings]


def _start(folder: Path, base: Settings) -> None:
    global _context
    torch.set_num_threads(1)
    _context = open_dataset(folder), base


def missing(jobs: list[Job], done: list[Row]) -> list[Job]:
    """Return the trainings that are not done yet."""
    have = [(row["method"], row["settings"], row["seed"]) for row in done]
    return [job for job in jobs if job not in have]


def read(path: Path) -> list[Row]:
    """Read the results so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append(path: Path, row: Row) -> None:
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(row["method"], row["settings"], "seed", row["seed"], row.get("error", ""), flush=True)


if __name__ == "__main__":
    main()
