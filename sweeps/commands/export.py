"""Export the recommended configuration of a sweep, or its whole front: `tilted-sweeps export NAME`.

The result is a YAML file that a person can read and that `sweeps/train.py` trains.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sweeps.cli import DONE, Parser, add_floor, add_storage, objective
from sweeps.reporting.export_file import export_of, write_export
from sweeps.storage.folder import DEFAULT_STORAGE, folder_of
from sweeps.storage.measures import is_objective, objectives_text
from sweeps.storage.record import Record
from sweeps.strategy.floors import check_classes, parse_floors
from sweeps.strategy.options import Runtime
from sweeps.strategy.outcome import Outcome
from sweeps.strategy.points import Point
from tce_core.data.dataset import open_dataset
from tce_core.errors import UserError


def main(arguments: Sequence[str] | None = None, prog: str = "tilted-sweeps export") -> int:
    parser = Parser(prog=prog, description="Export a sweep's recommended configuration, or its whole front.")
    parser.add_argument("name", help="the sweep")
    parser.add_argument(
        "--objective", type=objective, metavar="MEASURE", help="lead with another measure than the sweep did"
    )
    add_floor(parser)
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
    objective: str | None = None,
    floors: Sequence[str] | None = None,
    out: str | Path | None = None,
    whole_front: bool = False,
    runtime: Runtime | None = None,
) -> list[Path]:
    """Write exported files of a sweep.

    Args:
        name: the sweep.
        objective: the measure that picks the recommended trial. Default: the sweep's.
        floors: what it must keep, such as `wall=0.3`, beside the sweep's allowance. Default: the sweep's floors.
        out: file to write, or with `whole_front` the folder. Default: `best.yaml` or `front/` in the sweep's folder.
        whole_front: export every point of the Pareto front, not only the recommended one.
        runtime: where the sweep is kept.

    Returns:
        The files that were written.

    Raises:
        UserError: there is no such sweep, class or measure, nothing to export, or a file that cannot be written.
    """
    where = runtime or Runtime()
    if objective is not None and not is_objective(objective):
        raise UserError(f"objective '{objective}': it is one of {objectives_text()}")
    record = Record.load(where.storage, name)
    plan, asked = record.plan, record.plan.objectives
    data = open_dataset(plan.dataset)
    class_names = data.class_names
    given = asked.floors if floors is None else parse_floors(floors, class_names)
    wanted = replace(asked, objective=objective or plan.objective, classes=class_names, floors=given)
    check_classes(wanted, data.val.pixel_counts.sum(axis=0))
    outcome = Outcome(record, wanted)
    folder = folder_of(plan, where.runs)
    if whole_front and outcome.candidates():
        target = Path(out or folder.front)
        choices = {target / _file_name(point): outcome.choice_of(point) for point in outcome.front()}
    elif (choice := outcome.choose()) is not None:
        choices = {Path(out or folder.best): choice}
    else:
        raise UserError(f"sweep '{name}': {outcome.why_none()}")
    for path, chosen in choices.items():
        write_export(path, export_of(outcome, chosen, class_names))
    return list(choices)


def _file_name(point: Point) -> str:
    return f"trial-{point.trial.number:05d}" + (f"-tau-{point.tau:g}" if point.tau else "") + ".yaml"
