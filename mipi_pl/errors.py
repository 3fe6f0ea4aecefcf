"""What ends a command with a message instead of a traceback."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of the user: the command line prints the message alone and ends with exit code 2."""


class FailedError(Exception):
    """A command cannot go on, and not by a mistake of the user; the message is for the user, the exit code is 1."""
