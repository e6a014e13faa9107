"""Exceptions that mean "the input is wrong", not "the program is"."""


class UserError(ValueError):
    """Bad input: its message is one line naming the flag, file or array, what it is, and what was
    expected. Scripts print it without a traceback and exit with status 1.
    """


class DivergedError(UserError):
    """A training whose loss is no longer a number.

    Args:
      what: which term, and after which update.
      advice: what the user can do.
    """

    def __init__(self, what: str, advice: str):
        super().__init__(f"{what}: {advice}")
        self.what = what
