"""What ends a command with a message instead of a traceback."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of the user: the command line prints the message alone and ends with exit code 2."""


class FailedError(Exception):
    """A command cannot go on, and not by a mistake of the user; the message is for the user, the exit code is 1."""


def one_message(error: BaseException) -> str:
    """In one line: Hydra's own message says what, the cause beneath it often says why."""
    messages = [str(error).strip()]
    if error.__cause__ is not None and str(error.__cause__).strip() not in messages[0]:
        messages.append(str(error.__cause__).strip())
    text = "; ".join(messages)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(line for line in lines if not line.startswith(("full_key", "object_type", "reference_type")))
