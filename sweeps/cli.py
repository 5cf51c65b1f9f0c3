"""What the command lines share: number types, one-line errors, exit codes and common flags."""

import argparse
import errno
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from sweeps.storage.folder import DEFAULT_STORAGE, DEFAULT_TRACKING_URI
from sweeps.storage.measures import is_objective, objectives_text
from tce_core.errors import BAD_INPUT, NO_SPACE, UserError, exit_code_of

DONE = 0
INTERRUPTED = 130
UNWRITABLE = (*NO_SPACE, errno.EROFS, errno.EACCES)
"""Errors of the operating system that a user can end."""


class Parser(argparse.ArgumentParser):
    """Reports what is wrong in one line, without the usage. A flag that is not given is not in the result."""

    def __init__(self, **settings: object) -> None:
        super().__init__(allow_abbrev=False, argument_default=argparse.SUPPRESS, **settings)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"error: {message}; see {self.prog} --help\n")


def add_storage(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--storage", help=f"Optuna storage (default: {DEFAULT_STORAGE})")


def add_tracking_uri(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--tracking-uri", help=f"MLflow store or server (default: {DEFAULT_TRACKING_URI})")


def add_address(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--address", help="a Ray cluster to join (default: this machine alone)")


def add_runtime(parser: Parser, trainings: str, name: str) -> None:
    """Add where trainings run and where they are kept; `trainings` and `name` are words of the help."""
    where = parser.add_argument_group("where it runs")
    where.add_argument("--workers-per-trial", type=positive, metavar="N", help="data-parallel workers (default: 1)")
    where.add_argument("--gpus-per-worker", type=amount, metavar="G", help="default: 1 where there are GPUs, else 0")
    where.add_argument("--cpus-per-worker", type=positive, metavar="C", help="default: 1, or on GPUs cores / GPUs")
    where.add_argument(
        "--concurrent", type=positive, metavar="N", help=f"{trainings} at a time (default: all that fit)"
    )
    add_address(where)
    kept = parser.add_argument_group("how it is kept")
    kept.add_argument("--name", help=name)
    add_storage(kept)
    add_tracking_uri(kept)


def add_floor(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--floor",
        dest="floors",
        nargs="+",
        action="extend",
        metavar="NAME=VALUE",
        help="what the recommended trial must keep, of a class, a measure or `others` (the other classes): wall=0.3, "
        "or with a sign relative to the baseline, miou=-0.01",
    )


def add_architecture(parser: Parser) -> None:
    state = parser.add_argument_group("the model of a state dict, which does not say it")
    state.add_argument("--encoder", help="of smp, or of timm with tu- before its name")
    state.add_argument("--output-stride", type=int, choices=(8, 16), help="default: 16")
    state.add_argument("--atrous-rates", type=positive, nargs=3, metavar="R", help="default: 12 24 36, as in smp")


def objective(text: str) -> str:
    """Parse the name of a measure that can lead. Classes are looked up later, when the data set is known."""
    if not is_objective(text):
        raise argparse.ArgumentTypeError(f"{text!r} is none of {objectives_text()}")
    return text


def positive(text: str) -> int:
    """Parse a whole number above 0. This and the following raise `argparse.ArgumentTypeError`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def natural(text: str) -> int:
    """Parse a whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def amount(text: str) -> float:
    """Parse a finite number of 0 or more."""
    return number(text, sys.float_info.max, "a number of 0 or more")


def fraction(text: str) -> float:
    """Parse a number from 0 to 1."""
    return number(text, 1, "a fraction between 0 and 1")


def number(text: str, highest: float, what: str) -> float:
    """Parse a number from 0 to `highest`. `what` describes it in the error."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= highest:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


def share(text: str) -> float:
    """Parse a number above 0, at most 1."""
    value = fraction(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share above 0")
    return value


def hours(text: str) -> float:
    """Parse a finite number above 0."""
    value = amount(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def run_command(main: Callable[[Sequence[str] | None], int], arguments: Sequence[str] | None = None) -> int:
    """Run `main` and return its exit code. Trouble that a user can end becomes one line on stderr.

    Exit codes: 0 done, 2 bad input, 75 trouble that may pass, 130 interrupted. Programming errors keep their traceback.
    """
    try:
        return main(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        print(f"error: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return exit_code_of(error)
    except KeyboardInterrupt:
        return INTERRUPTED
