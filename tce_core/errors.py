"""The exceptions for trouble that the user, not the programmer, can end."""


class UserError(Exception):
    """Bad input: a file, a flag, a configuration key, a label id.

    The message is one line that names the file and the value and says what would be right. Commands print it
    without a traceback and exit with status 2. Every other exception is a programming error and keeps its traceback.
    """


class TemporaryError(UserError):
    """Trouble that may pass without a change of the input: a full disk, a store that is gone, lost workers.

    Commands exit with status 75, so that a scheduler knows that the same command can succeed later. A sweep loses
    nothing that it has recorded.
    """
