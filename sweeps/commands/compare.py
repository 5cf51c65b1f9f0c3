"""Compare methods by the paper's protocol: `tilted-sweeps compare --methods mcce,tce@t=0.1,tce@t=1 --seeds 5`.

Every method is trained with every seed, on the slots of a sweep, and evaluated on the test split. The same command
again continues a comparison that was interrupted.
"""

import argparse
from collections.abc import Sequence

from sweeps.cli import (
    DONE,
    INTERRUPTED,
    Parser,
    add_runtime,
    fraction,
    natural,
    objective,
    positive,
)
from sweeps.storage.measures import objectives_text

METHODS = """A method is a baseline of the space (mcce, weighted_ce, ce_dice, …), a loss (focal, class_tilt, …), `tce`
(Algorithm 1 of the paper), `class-uniform` (the same draws at t = 0), or a file that a sweep exported. Settings follow
an @:

    --methods mcce,mcce+adjusted,tce@t=0.1,class_tilt@t=1@lr=0.05,runs/streets-1/best.yaml

`+adjusted` gives each model the logit adjustment that suits it on the val split; it costs no training. The first
method is the reference: classes are sorted by it, gains are over it. All methods share epochs, crops, encoder and
data.

The tables are printed and written to runs/NAME/comparison. The same command again continues a comparison that was
interrupted; `run --resume NAME` does the same."""


def parser(prog: str = "tilted-sweeps compare") -> Parser:
    p = Parser(
        prog=prog,
        description="Train methods with several seeds, and compare them on the test split.\n\n" + METHODS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = p.add_argument_group("what is compared")
    what.add_argument("--methods", type=_split, nargs="+", required=True, help="the methods, the reference first")
    what.add_argument("--dataset", help="`streets` (built in, the default) or a folder of Arrow files")
    what.add_argument("--seeds", type=positive, metavar="N", help="trainings of each method (default: 5)")
    what.add_argument("--seed", type=natural, help="the first seed (default: 0)")
    what.add_argument(
        "--folds",
        type=positive,
        metavar="K",
        help="for a small data set: deal its train and val images into K folds, and hold out each once",
    )
    what.add_argument(
        "--group-by",
        metavar="TEXT",
        help="images whose names agree before this text, such as frames of one drive, stay in one fold, and are "
        "one unit of the intervals; e.g. `_`",
    )
    what.add_argument("--epochs", type=positive, help="epochs of each training (default: the space's)")
    what.add_argument(
        "--trunk", type=float, metavar="SHARE", help="first share of the epochs, plain and trained once for all methods"
    )
    what.add_argument(
        "--space", help="its `trial` section holds for all methods (default: streets or tce); a YAML file or a name"
    )
    what.add_argument(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        metavar="KEY=VALUE",
        help="change what all methods have in common, e.g. trial.encoder=resnet50 trial.lr=0.02",
    )
    what.add_argument(
        "--objective",
        type=objective,
        metavar="MEASURE",
        help=f"what an adjustment is chosen by: {objectives_text()} (default: worst_iou)",
    )
    what.add_argument(
        "--miou-allowance", type=fraction, metavar="A", help="how far an adjustment may lower mIoU (default: 0.01)"
    )
    add_runtime(p, "trainings", "name of the comparison (default: DATASET-compared-1, …)")
    return p


def main(arguments: Sequence[str] | None = None, prog: str = "tilted-sweeps compare") -> int:
    """Run the command. Returns 0, or 130 if the comparison was interrupted; trouble is raised, see `run_command`."""
    given = vars(parser(prog).parse_args(arguments))
    # Imported here because `--help` needs none of the libraries of a sweep.
    from sweeps.strategy.options import CompareOptions
    from sweeps.sweep import compare_methods

    given["methods"] = tuple(method for part in given["methods"] for method in part)
    return DONE if compare_methods(CompareOptions(**given)).finished else INTERRUPTED


def _split(text: str) -> tuple[str, ...]:
    """Parse methods with commas between them. A comma inside of brackets belongs to a value."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[({") - (letter in "])}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    methods = tuple(part.strip() for part in parts)
    if not all(methods):
        raise argparse.ArgumentTypeError(f"{text!r}: a method is empty")
    return methods
