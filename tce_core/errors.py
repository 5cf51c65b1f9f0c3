"""The exceptions for trouble that the user, not the programmer, can end, and their exit codes."""

import errno
from pathlib import Path

BAD_INPUT = 2
TEMPORARY = 75
"""EX_TEMPFAIL of sysexits.h: the same command can succeed later."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class UserError(Exception):
    """Bad input: a file, a flag, a configuration key, a label id.

    The message is one line that names the file and the value and says what would be right. Commands print it without
    a traceback and exit with `exit_code`. Every other exception is a programming error and keeps its traceback.
    """

    exit_code = BAD_INPUT


class TemporaryError(UserError):
    """Trouble that may pass without a change of the input: a full disk, a store that is gone, lost workers.

    A scheduler can run the same command again later. A sweep loses nothing that it has recorded.
    """

    exit_code = TEMPORARY


def exit_code_of(error: OSError) -> int:
    """The exit code for an error of the operating system: only a full disk is temporary."""
    return TEMPORARY if error.errno in NO_SPACE else BAD_INPUT


def file_error(path: Path | str, what: str, error: OSError) -> UserError:
    """The error for a file that cannot be written; a full disk is temporary."""
    kind = TemporaryError if exit_code_of(error) == TEMPORARY else UserError
    return kind(f"{path}: {what}: {error.strerror or error}")
