"""Errors that mean something to the command line. Leaves all others to Python."""


class UsageError(ValueError):
    """The command line asks for what makes no sense: exit code 2."""
