"""Read what a sweep has recorded: its trials, how the front grew, and what each class gains.

    python examples/read_the_record.py [NAME [STORAGE]]

It works while the sweep runs, too. Default: the latest sweep in `sqlite:///sweeps.db`.
"""

import sys

from sweeps.storage.folder import DEFAULT_STORAGE
from sweeps.storage.record import Record
from sweeps.strategy.outcome import Outcome
from sweeps.strategy.planning import latest
from tce_core.data.dataset import open_dataset
from tce_core.errors import UserError
from tce_core.fairness import class_table


def main() -> None:
    storage = sys.argv[2] if len(sys.argv) > 2 else DEFAULT_STORAGE
    record = Record.load(storage, sys.argv[1] if len(sys.argv) > 1 else latest(storage))
    class_names = open_dataset(record.plan.dataset).class_names

    print(f"Sweep '{record.plan.name}', {record.epochs} epochs so far")
    for trial in record.trials():
        reached = f"mIoU {trial.last.report.miou:.3f}" if trial.results else "no result yet"
        state = f"{trial.role:<8}  {trial.state.name:<8}  epoch {trial.epoch:>3}"
        print(f"  {trial.number:>3}  {state}  {reached:<15}  {trial.label}")

    outcome = Outcome(record, record.plan.objectives)
    print("Hypervolume of the front after each trial that ended:")
    for trial, volume in zip(*outcome.history(), strict=True):
        print(f"  {trial.number:>3}  {volume:.5f}")

    choice = outcome.choose()
    if choice is not None and choice.baseline is not None:
        print(f"IoU of each class: {choice.baseline.label}, and the recommended {choice.point.label}")
        print(class_table(choice.scores.iou, choice.baseline.last.iou, class_names, choice.baseline.label))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:  # such as a sweep that does not exist: the message is one line
        sys.exit(f"error: {error}")
