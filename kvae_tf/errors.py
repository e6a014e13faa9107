"""The one exception that means "the input is wrong", not "the program is"."""


class UserError(ValueError):
    """Bad input: its message is one line naming the flag, file or array, what it is, and what was
    expected. Scripts print it without a traceback and exit with status 1.
    """
