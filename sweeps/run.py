"""Run a sweep: `python sweeps/run.py --objective worst_iou`.

A sweep trains the baselines, searches for configurations that trade little mIoU for fairness, trains the best one and
the reference baseline again with fresh seeds, and writes `runs/NAME/best.yaml`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from search_spaces.space import Sampler
from sweeps.cli import (
    DONE,
    INTERRUPTED,
    Parser,
    add_floor,
    add_runtime,
    fraction,
    hours,
    natural,
    objective,
    positive,
    run_command,
    share,
)
from sweeps.storage.measures import objectives_text
from tce_core.errors import UserError

if TYPE_CHECKING:
    from sweeps.strategy.options import ResumeOptions, SweepOptions

OTHER_FLAGS = {"overrides": "--set", "rungs": "--rungs/--no-halving", "start": "--from"}
"""Flags that have not the name of their field."""


def parser(prog: str = "python sweeps/run.py") -> Parser:
    """The flags. They have the names of the fields of `SweepOptions` and `ResumeOptions`."""
    p = Parser(prog=prog, description="Search for a training that neglects no class.")
    what = p.add_argument_group("what is searched")
    what.add_argument(
        "--objective",
        type=objective,
        metavar="MEASURE",
        help=f"the measure that leads: {objectives_text()} (default: worst_iou); mIoU and a fairness measure are "
        "always both optimised",
    )
    what.add_argument(
        "--miou-allowance",
        type=fraction,
        metavar="A",
        help="how far mIoU (or worst-class IoU, if mIoU leads) may fall below the baseline (default: 0.01)",
    )
    add_floor(what)
    what.add_argument("--dataset", help="`streets` (built in, the default) or a folder of Arrow files")
    what.add_argument("--space", help="search space: a YAML file or a name in search_spaces/ (default: streets or tce)")
    what.add_argument(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        metavar="KEY=VALUE",
        help="override the space, e.g. trial.encoder=resnet50 space.t.high=3",
    )
    what.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="WEIGHTS",
        help="start every training from a model that exists: weights of `train` or `adjust`, a checkpoint, a folder "
        "of smp or a state dict; as it is, it is the first baseline",
    )
    what.add_argument("--sampler", choices=get_args(Sampler), help="default: the space's, gp")
    what.add_argument(
        "--warm-start",
        metavar="NAME|FILE",
        help="try the front of an earlier sweep, or the configurations of a file, first",
    )
    what.add_argument("--trials", type=positive, help="configurations to search, beside the baselines")
    what.add_argument("--epochs", type=positive, help="epochs of each trial")
    what.add_argument(
        "--trunk",
        type=float,
        metavar="SHARE",
        help="first share of the epochs, plain and trained once for all trials (default: the space's)",
    )
    what.add_argument(
        "--confirm", type=natural, metavar="N", help="fresh seeds, at most, to show that the winner beats the baseline"
    )
    what.add_argument("--seed", type=natural, help="random seed of the search and of the trials (default: 0)")
    less = p.add_argument_group("how much is spent")
    halving = less.add_mutually_exclusive_group()
    halving.add_argument(
        "--rungs", nargs="+", type=positive, metavar="E", help="epochs after which only the better trials continue"
    )
    halving.add_argument(
        "--no-halving", dest="rungs", action="store_const", const=(), help="train every configuration to its end"
    )
    less.add_argument("--keep", type=share, metavar="S", help="share that continues at a rung (default: the space's)")
    less.add_argument(
        "--patience", type=positive, metavar="E", help="stop the search when the front has not grown for E epochs"
    )
    less.add_argument(
        "--max-epochs", type=positive, metavar="E", help="limit for the whole sweep, confirmation runs included"
    )
    less.add_argument(
        "--max-hours", type=hours, metavar="H", help="hours of running time; time spent interrupted does not count"
    )
    add_runtime(p, "trials", "name of the sweep (default: DATASET-1, DATASET-2, …)")
    again = p.add_argument_group("how it continues")
    again.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="NAME",
        help="continue a sweep (default: the latest) as its record says; the same command again does so, too. "
        "With --trials, --patience, --max-epochs, --max-hours or --floor its limits change, also after its end",
    )
    again.add_argument("--retry-failed", action="store_true", help="with --resume: begin failed trials again")
    p.add_argument("--dry-run", action="store_true", help="print the plan and train one step, then stop")
    return p


def main(arguments: Sequence[str] | None = None, prog: str = "python sweeps/run.py") -> int:
    """Run the command. Returns 0, or 130 if the sweep was interrupted; trouble is raised, see `run_command`."""
    given = vars(parser(prog).parse_args(arguments))
    # Imported here because `--help` needs none of the libraries of a sweep.
    from sweeps.strategy.options import SweepOptions
    from sweeps.sweep import dry_run_sweep, resume_sweep, run_sweep

    dry_run = given.pop("dry_run", False)
    options = options_of(given)
    if dry_run:
        for key, text in dry_run_sweep(options).items():
            print(f"{key:<10} {text}")
        return DONE
    result = run_sweep(options) if isinstance(options, SweepOptions) else resume_sweep(options)
    return DONE if result.finished else INTERRUPTED


def options_of(given: dict[str, Any]) -> "SweepOptions | ResumeOptions":
    """The options that the given flags make.

    Raises:
        UserError: flags that contradict each other, or that a resumed sweep would ignore.
    """
    from sweeps.strategy.options import ResumeOptions, SweepOptions

    if "resume" not in given:
        if "retry_failed" in given:
            raise UserError("--retry-failed: give --resume NAME, too; a new sweep has no failed trials")
        return SweepOptions(**given)
    name = given.pop("resume")
    ignored = [key for key in given if key not in ResumeOptions.model_fields or (key == "name" and name)]
    if ignored:
        flags = ", ".join(map(_flag, ignored))
        raise UserError(
            f"{flags}: a resumed sweep continues as its record says; leave this out, or repeat the command that "
            "began the sweep without --resume"
        )
    return ResumeOptions(**{**given, "name": name or given.get("name")})


def _flag(key: str) -> str:
    return OTHER_FLAGS.get(key, "--" + key.replace("_", "-"))


if __name__ == "__main__":
    sys.exit(run_command(main))
