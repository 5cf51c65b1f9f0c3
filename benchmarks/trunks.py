"""How long a trunk pays: the front's hypervolume over the epochs that a sweep has spent, with trunks of several shares.

    python benchmarks/trunks.py --out streets.jsonl
    python benchmarks/trunks.py --dataset CAMVID --space tce --out camvid.jsonl --set trial.encoder_weights=WEIGHTS

Each row is a real sweep with plain cross-entropy as the only baseline and without confirmation runs. All sweeps may
spend the same epochs, those of the trunk included. A row is appended to --out when its sweep has ended; a repeated
command runs only what is missing. The table shows the mean over the seeds, and in brackets the lowest and the highest.

Hypervolume is that of mIoU and the measure of fairness, from (0, 0), over all points of all curves, adjusted or not.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import yaml

from search_spaces.loading import load_space
from sweeps.storage.record import Record
from sweeps.strategy.outcome import Outcome
from sweeps.sweep import SweepOptions, run_sweep

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="streets", help="streets, or a folder of Arrow files")
    parser.add_argument("--space", default="streets", help="search space (default: %(default)s)")
    parser.add_argument("--set", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE", help="as in a sweep")
    parser.add_argument("--objective", default="worst_iou", help="the measure of fairness (default: %(default)s)")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.5, 0.75, 0.9], help="of the trunks")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=12, help="epochs of a trial (default: %(default)s)")
    parser.add_argument("--budget", type=int, default=96, help="epochs of a sweep (default: %(default)s)")
    parser.add_argument("--concurrent", type=int, help="trials at a time (default: as many as fit)")
    parser.add_argument("--out", type=Path, required=True, help="file of rows, JSON lines")
    options = parser.parse_args()
    done = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    for seed in range(options.seeds):
        for share in options.shares:
            if not any((row["seed"], row["share"]) == (seed, share) for row in done):
                done.append(sweep(share, seed, options))
                with options.out.open("a") as out:
                    out.write(json.dumps(done[-1]) + "\n")
    print_table(done, options.budget)


def sweep(share: float, seed: int, options: argparse.Namespace) -> Row:
    """Run one sweep, and return how its front grew."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        space = load_space(options.space, options.overrides).model_dump(mode="json", exclude_defaults=True)
        space["baselines"] = {"mcce": {"loss": "mcce"}}
        (folder / "space.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
        run = SweepOptions(
            dataset=options.dataset,
            objective=options.objective,
            space=folder / "space.yaml",
            epochs=options.epochs,
            trunk=share,
            seed=seed,
            trials=options.budget,
            confirm=0,
            max_epochs=options.budget,
            concurrent=options.concurrent,
            name="trunks",
            storage=f"sqlite:///{folder}/sweeps.db",
            tracking_uri=f"sqlite:///{folder}/mlflow.db",
            runs=folder / "runs",
        )
        run_sweep(run)
        outcome = Outcome(record := Record.load(run.storage, "trunks"), record.plan.objectives)
        trials, volumes = outcome.history()
        choice = outcome.choose()
        report = None if choice is None else choice.point.scores.report
        return {
            "share": share,
            "seed": seed,
            "spent": [trial.ended_at for trial in trials],
            "volumes": volumes,
            "trials": len(record.trials("search")),
            "complete": len(trials),
            "recommended": None if choice is None else choice.point.label,
            "miou": None if report is None else report.miou,
            "worst_iou": None if report is None else report.worst_iou,
        }


def print_table(rows: list[Row], budget: int) -> None:
    """Print the mean hypervolume after parts of the budget, and the recommended model."""
    moments = [budget * part // 4 for part in (1, 2, 3, 4)]
    print("| trunk | " + " | ".join(f"after {moment}" for moment in moments) + " | configurations | mIoU | worst IoU |")
    print("|---" * (len(moments) + 4) + "|")
    for share in sorted({row["share"] for row in rows}):
        same = [row for row in rows if row["share"] == share]
        volumes = [[volume_at(row, moment) for row in same] for moment in moments]
        figures = [f"{statistics.mean(v):.3f} ({min(v):.3f} to {max(v):.3f})" for v in volumes]
        means = [statistics.mean(row[key] for row in same if row[key] is not None) for key in ("miou", "worst_iou")]
        trials = statistics.mean(row["trials"] for row in same)
        print(f"| {share:g} | {' | '.join(figures)} | {trials:.0f} | {means[0]:.3f} | {means[1]:.3f} |")


def volume_at(row: Row, moment: int) -> float:
    """Return the hypervolume of a sweep when it had spent `moment` epochs; 0 before its first trial ended."""
    return max((v for spent, v in zip(row["spent"], row["volumes"], strict=True) if spent <= moment), default=0.0)


if __name__ == "__main__":
    main()
