"""Shared by the tests of printed text: a console that is read."""

import io

from rich.console import Console

NAMES = ("road", "rider", "wall", "pole")


class Screen:
    """A console that writes into memory."""

    def __init__(self, terminal=False):
        self.file = io.StringIO()
        self.console = Console(file=self.file, width=140, force_terminal=terminal, force_interactive=terminal)

    @property
    def lines(self):
        """The lines written so far, with each run of blanks reduced to one."""
        return [" ".join(line.split()) for line in self.file.getvalue().splitlines()]
