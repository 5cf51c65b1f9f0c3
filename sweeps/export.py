"""Best configurations out: a YAML file that `train.py` trains and a person can read.

python sweeps/export.py NAME [--objective worst_iou] [--out best.yaml] [--all]
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from search_spaces.loading import read_yaml
from sweeps.cli import Parser, run_command
from sweeps.storage.objectives import MEASURES, Objectives
from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.outcome import Choice, Outcome
from tce_core.config import TrialConfig, parse_config
from tce_core.data.dataset import open_dataset
from tce_core.errors import UserError
from tce_core.files import replacing

FORMAT = "tilted-sweeps/1"
NEEDED = {
    "trial": (),
    "dataset": ("classes",),
    "workers": ("number", "cpus_each", "gpus_each"),
    "measured": ("iou", "epochs", "miou", "worst_class", "worst_iou"),
}
"""What `train.py` reads of an exported file: sections, and keys that must be in them."""


def exported(outcome: Outcome, choice: Choice, class_names: Sequence[str]) -> dict[str, Any]:
    """What the file of one recommended trial holds."""
    plan, trial = outcome.record.plan, choice.trial
    return {
        "format": FORMAT,
        "sweep": {
            "name": plan.name,
            "trial": trial.number,
            "label": trial.label,
            "objective": outcome.objectives.lead.name,
            "miou_allowance": plan.allowance,
        },
        "dataset": {"fingerprint": plan.fingerprint, "classes": list(class_names)},
        "workers": {"number": plan.workers, "cpus_each": plan.cpus_per_worker, "gpus_each": plan.gpus_per_worker},
        "trial": trial.config,
        "measured": measured(trial, class_names),
        "baseline": None if choice.baseline is None else measured(choice.baseline, class_names),
        "confirmed": [measured(again, class_names) for again in outcome.repetitions(trial)],
        "versions": plan.versions,
    }


def measured(trial: TrialRecord, class_names: Sequence[str]) -> dict[str, Any]:
    """A trial's last validation, in plain numbers."""
    last, report = trial.last, trial.last.report
    return {
        "label": trial.label,
        "epochs": last.epoch,
        "seed": trial.config["seed"],
        "worst_class": class_names[report.worst_class],
        **{name: measure.value(report) for name, measure in MEASURES.items()},
        "intervals_95": {name: list(pair) for name, pair in last.intervals.items()},
        "iou": {name: None if iou != iou else iou for name, iou in zip(class_names, last.iou, strict=True)},
    }


def write_yaml(path: Path, content: Any) -> None:
    """Write all of it or nothing.

    Raises:
        UserError: there is no place for such a file.
    """
    if path.is_dir():
        raise UserError(f"{path}: a folder, not a file to write")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None


def read_export(path: Path) -> tuple[dict[str, Any], TrialConfig]:
    """An exported file, checked, and its configuration.

    Raises:
        UserError: not such a file, or a configuration that is not valid here.
    """
    content = read_yaml(path, str(path))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: not a file exported by this program (format: {FORMAT})")
    for section, keys in NEEDED.items():
        if not isinstance(content.get(section), dict):
            raise UserError(f"{path}: '{section}' is missing or not a mapping; export it again")
        for key in keys:
            if key not in content[section]:
                raise UserError(f"{path}: '{section}.{key}' is missing; export it again")
    return content, parse_config(content["trial"], f"{path}: trial")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(description="Export a sweep's recommended configuration, or its whole front.")
    parser.add_argument("name", help="the sweep")
    parser.add_argument("--objective", choices=list(MEASURES), help="lead with another measure than the sweep did")
    parser.add_argument("--out", type=Path, help="file to write (with --all: folder); default: runs/NAME/…")
    parser.add_argument("--all", action="store_true", help="every point of the Pareto front, one file each")
    parser.add_argument("--storage", default="sqlite:///sweeps.db", help="Optuna storage (default: %(default)s)")
    options = parser.parse_args(arguments)
    record = Record.load(options.storage, options.name)
    for path in export_sweep(record, options):
        print(path)


def export_sweep(record: Record, options: argparse.Namespace) -> list[Path]:
    objective = options.objective or record.plan.objective
    outcome = Outcome(record, Objectives(objective, record.plan.allowance))
    choice = outcome.choose()
    if choice is None:
        raise UserError(f"sweep '{record.plan.name}' has no completed trial that keeps the guard; nothing to export")
    names = open_dataset(record.plan.dataset).class_names
    folder = Path("runs", record.plan.name)
    if not options.all:
        path = options.out or folder / "best.yaml"
        write_yaml(path, exported(outcome, choice, names))
        return [path]
    paths = []
    for trial in outcome.front():
        paths.append((options.out or folder / "front") / f"trial-{trial.number:05d}.yaml")
        write_yaml(paths[-1], exported(outcome, replace(choice, trial=trial), names))
    return paths


if __name__ == "__main__":
    sys.exit(run_command(main))
