"""What the command lines share: one-line errors, and exit codes."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from tce_core.errors import UserError

INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage before it."""

    def __init__(self, **settings: object) -> None:
        super().__init__(allow_abbrev=False, **settings)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def run_command(main: Callable[[Sequence[str] | None], int | None]) -> int:
    """Run `main`; bad input becomes one line on stderr and exit code 2, Ctrl-C 130."""
    try:
        return main(None) or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
