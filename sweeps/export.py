"""Export the recommended configuration of a sweep, or its whole front: `python sweeps/export.py NAME`.

The result is a YAML file that a person can read and that `sweeps/train.py` trains.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sweeps.cli import DONE, Parser, add_storage, run_command
from sweeps.reporting.export_file import export_of, write_export
from sweeps.storage.folder import DEFAULT_STORAGE, folder_of
from sweeps.storage.objectives import MEASURES, Objective, Objectives
from sweeps.storage.record import Record
from sweeps.strategy.options import Runtime
from sweeps.strategy.outcome import Outcome
from tce_core.data.dataset import open_dataset
from tce_core.errors import UserError


def main(arguments: Sequence[str] | None = None, prog: str = "python sweeps/export.py") -> int:
    parser = Parser(prog=prog, description="Export a sweep's recommended configuration, or its whole front.")
    parser.add_argument("name", help="the sweep")
    parser.add_argument("--objective", choices=list(MEASURES), help="lead with another measure than the sweep did")
    parser.add_argument("--out", type=Path, help="file to write (with --all: folder); default: in runs/NAME/")
    parser.add_argument(
        "--all", dest="whole_front", action="store_true", help="every point of the Pareto front, one file each"
    )
    add_storage(parser)
    given = vars(parser.parse_args(arguments))
    runtime = Runtime(storage=given.pop("storage", DEFAULT_STORAGE))
    for path in export_sweep(**given, runtime=runtime):
        print(path)
    return DONE


def export_sweep(
    name: str,
    *,
    objective: Objective | None = None,
    out: str | Path | None = None,
    whole_front: bool = False,
    runtime: Runtime | None = None,
) -> list[Path]:
    """Write exported files of a sweep.

    Args:
        name: the sweep.
        objective: the measure that picks the recommended trial. Default: the sweep's.
        out: file to write, or with `whole_front` the folder. Default: `best.yaml` or `front/` in the sweep's folder.
        whole_front: export every point of the Pareto front, not only the recommended one.
        runtime: where the sweep is kept.

    Returns:
        The files that were written.

    Raises:
        UserError: there is no such sweep, nothing to export, or a file that cannot be written.
    """
    where = runtime or Runtime()
    if objective is not None and objective not in MEASURES:
        raise UserError(f"objective '{objective}': it is one of {', '.join(MEASURES)}")
    record = Record.load(where.storage, name)
    outcome = Outcome(record, Objectives(objective or record.plan.objective, record.plan.allowance))
    choice = outcome.choose()
    if choice is None:
        raise UserError(f"sweep '{name}' has no completed trial that keeps the guard; nothing to export")
    class_names = open_dataset(record.plan.dataset).class_names
    folder = folder_of(record.plan, where.runs)
    if not whole_front:
        choices = {Path(out or folder.best): choice}
    else:
        target = Path(out or folder.front)
        choices = {target / f"trial-{t.number:05d}.yaml": replace(choice, trial=t) for t in outcome.front()}
    for path, chosen in choices.items():
        write_export(path, export_of(outcome, chosen, class_names))
    return list(choices)


if __name__ == "__main__":
    sys.exit(run_command(main))
