"""What the first command finds, over several seeds of the sweep: is its recommendation better than plain cross-entropy?

    python benchmarks/first_run.py --seeds 5 --out first_run.jsonl

runs `python sweeps/run.py --objective worst_iou --seed S` in a folder of its own for each seed, with its output in a
pipe. A row is appended to --out when a command has ended; a repeated command runs only what is missing.

The gains are those of the recommended model over unadjusted and over adjusted plain cross-entropy, for the same fresh
seeds, which had no part in the choice: the lowest and the highest over the fresh seeds of one sweep.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeps.reporting.export_file import Export, Measured, read_export

SCRIPT = Path(__file__).parents[1] / "sweeps" / "run.py"
COMPARED = [(name, split) for name in ("worst_iou", "miou") for split in ("val", "test")]
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="number of sweeps (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="file of rows, JSON lines")
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    for seed in range(options.seeds):
        if not any(row["seed"] == seed for row in rows):
            rows.append(first_run(seed))
            with options.out.open("a") as out:
                out.write(json.dumps(rows[-1]) + "\n")
    print_table(rows)


def first_run(seed: int) -> Row:
    """Run the command once."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(SCRIPT), "--objective", "worst_iou", "--seed", str(seed), "--name", "first"]
        started, moments = time.perf_counter(), [0.0]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
            moments += [time.perf_counter() - started for _ in process.stdout or ()]
        if process.returncode:
            raise SystemExit(f"seed {seed}: the command ended with code {process.returncode}")
        return row_of(seed, read_export(Path(folder, "runs", "first", "best.yaml")), moments)


def row_of(seed: int, export: Export, moments: list[float]) -> Row:
    """The row of a sweep; `moments`: when lines were printed, in seconds since the start, with 0."""
    mine, plain, adjusted = export.confirmed, export.baseline_confirmed, export.baseline_adjusted_confirmed
    return {
        "seed": seed,
        "recommended": export.measured.label,
        "tau": export.logit_adjustment,
        "gains": {f"{name} {split}": gains(mine, plain, name, split) for name, split in COMPARED},
        "over adjusted": gains(mine, adjusted, "worst_iou", "test"),
        "first line": moments[1],
        "longest silence": max(later - earlier for earlier, later in itertools.pairwise(moments)),
        "seconds": moments[-1],
    }


def gains(models: Sequence[Measured], others: Sequence[Measured], name: str, split: str) -> list[float]:
    """How much better each model is than the other one of its seed, on the validation or the test split."""
    pairs = [[one if split == "val" else one.test for one in pair] for pair in zip(models, others, strict=False)]
    return [round(getattr(one, name) - getattr(other, name), 4) for one, other in pairs]


def print_table(rows: list[Row]) -> None:
    columns = [f"{name} {split}" for name, split in COMPARED]
    heads = ["seed", "recommended", "τ", *columns, "worst_iou test, over adjusted", "first line", "longest silence"]
    print("| " + " | ".join([*heads, "time"]) + " |")
    print("|---" * (len(heads) + 1) + "|")
    for row in rows:
        figures = [span(row["gains"][column]) for column in columns] + [span(row["over adjusted"])]
        times = [f"{row[key]:.0f} s" for key in ("first line", "longest silence", "seconds")]
        print(f"| {row['seed']} | {row['recommended']} | {row['tau']:g} | {' | '.join([*figures, *times])} |")


def span(values: list[float]) -> str:
    """The lowest and the highest of the fresh seeds."""
    if not values:
        return "–"
    return f"{min(values):+.3f} to {max(values):+.3f}"


if __name__ == "__main__":
    main()
