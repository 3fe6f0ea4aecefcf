"""Exceptions of this program, who reports them in a run of several processes, and their messages."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import TypeVar

_IN_PLAIN_WORDS = {
    # OmegaConf says this in both cases.
    "Cannot merge DictConfig with ListConfig": "it is a list in the place of a mapping, or a mapping in that of a list",
    "LexerNoViableAltException: ": "unexpected letter or open quote in ",
    "invalid literal for int() with base 10:": "expected the number of an entry of the list, got",
    "ValueError raised while resolving interpolation: HydraConfig was not set": "${hydra:...} has no value here",
}
"""Messages of OmegaConf and Hydra about their own classes."""

_SEE_GRAMMAR = re.compile(r"See https://hydra\.cc/\S+ for details")
_GRAMMAR = (
    "write KEY=VALUE; a value with a comma, a bracket, # or & or a letter such as é needs two pairs of quotes: "
    "KEY=\"'VALUE'\""
)
"""Advice in the place of Hydra's link to its grammar."""


Error = TypeVar("Error", bound=Exception)


class UserError(Exception):
    """A mistake by the user; the command line prints only the message and exits with code 2."""


class FailedError(Exception):
    """A failure that is not a mistake by the user; the command line prints only the message and exits with code 1.

    Args:
        message: the message.
        reported_by_any_process: whether a process other than the first one of a run prints the message, too, because
            the first one does not know it.
    """

    def __init__(self, message: str, *, reported_by_any_process: bool = False) -> None:
        super().__init__(message)
        self.reported_by_any_process = reported_by_any_process


class DivergedError(ArithmeticError):
    """Learning produced NaN or infinite numbers."""


class WorldFaultError(ValueError):
    """A world broke the contract of `mipi_pl.envs.base.EntityEnv` or raised an exception; not a fault of learning."""


class UnavailableActionError(ValueError):
    """A policy chose an action that its agent does not have."""


class TooManyFaultsError(RuntimeError):
    """A world failed in more episodes than `datamodule.max_faults` allows."""


class WorkerError(RuntimeError):
    """A worker process that steps environments died or could not be started."""


def mark_reported(error: BaseException, reported: bool) -> None:
    """Note on an exception whether another process of the run reports it, so that this one need not."""
    error.already_reported = reported  # type: ignore[attr-defined]


def is_reported(error: BaseException) -> bool:
    """Return whether another process of the run reports an exception, see `mark_reported`."""
    return getattr(error, "already_reported", False)


def marked_as(cause: Exception, error: Error) -> Error:
    """Mark an exception that is raised in the place of another one as reported if that one is, and return it."""
    mark_reported(error, is_reported(cause))
    return error


def reason_of(error: BaseException) -> str:
    """Return the message of an exception, or its type if it has none, as a bare `MemoryError`."""
    return str(error) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an exception."""
    return reason_of(error).splitlines()[0]


def did_you_mean(word: str, known: Iterable[str], form: str = "{}") -> str:
    """Return ``did you mean NAME? `` with the most similar known name, or an empty text if none is similar.

    Args:
        word: name that does not exist.
        known: names that exist.
        form: how a name is written, such as ``env={}``.
    """
    similar = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {form.replace('{}', similar[0])}? " if similar else ""


def one_message(error: BaseException) -> str:
    """Return the message of an exception and of its cause in one line.

    Hydra's exceptions name the failed step; their cause often gives the reason.
    """
    messages = [reason_of(error).strip()]
    if error.__cause__ is not None and str(error.__cause__).strip() not in messages[0]:
        messages.append(str(error.__cause__).strip())
    text = _SEE_GRAMMAR.sub(_GRAMMAR, "; ".join(messages))
    for words, plain in _IN_PLAIN_WORDS.items():
        text = text.replace(words, plain)
    lines = [line.strip() for line in text.splitlines() if line.strip(" ^")]  # without a line that marks a letter
    return "; ".join(line for line in lines if not line.startswith(("full_key", "object_type", "reference_type")))
