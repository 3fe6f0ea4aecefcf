"""Closing what was opened if the work that follows fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, TypeVar


class _Closable(Protocol):
    def close(self) -> None: ...


Opened = TypeVar("Opened", bound=_Closable)


@contextmanager
def closed_on_error(opened: Opened) -> Iterator[Opened]:
    """Close `opened`, such as an environment that may be a running game, if the block raises; otherwise keep it open.

    Examples:
        >>> from io import StringIO
        >>> try:
        ...     with closed_on_error(StringIO()) as file:
        ...         raise ValueError
        ... except ValueError:
        ...     file.closed
        True
    """
    try:
        yield opened
    except BaseException:
        with suppress(Exception):  # the first error says what is wrong
            opened.close()
        raise
