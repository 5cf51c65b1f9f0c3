"""Shared by the tests of commands: what a command says to bad input."""

import re

from sweeps.__main__ import main


def refusal(command, capsys, *arguments):
    """Run a command, which must fail with one line and print nothing else, and return the line."""
    try:
        code = main([command, *map(str, arguments)])
    except SystemExit as exit:
        code = exit.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert re.fullmatch(r"error: [^\n]+\n", captured.err), captured.err
    return captured.err
