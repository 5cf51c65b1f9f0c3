"""The one exception for what a user can mend."""


class UserError(Exception):
    """Bad input: a file, a flag, a configuration key, a label id.

    The message is one line that names the offending file and value and says what would be right. Commands print
    it without a traceback and exit with status 2; every other exception is a programming error and keeps its own.
    """
