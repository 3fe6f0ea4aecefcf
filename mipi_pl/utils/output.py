"""Standard output that a run survives losing: a closed descriptor, a reader that ends, a full disk, a lost terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class LostOutputError(Exception):
    """Standard output cannot be written; the cause is the first `OSError`."""


class Output:
    """Wrapper of a text stream that discards its text from the first failed write on.

    Args:
        stream: stream to write to.
        lost: called once with the error of the first failed write; it may raise an exception.
    """

    def __init__(self, stream: TextIO, lost: Callable[[OSError], None]) -> None:
        self._stream, self._lost = stream, lost

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text and return its length."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._discard(error)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self._stream.flush()
        except OSError as error:
            self._discard(error)

    def _discard(self, error: OSError) -> None:
        # Python flushes its buffers again at exit, so the descriptor itself must accept what is left in them.
        with suppress(OSError, ValueError), open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), self._stream.fileno())
        lost, self._lost = self._lost, _nothing
        lost(error)


@contextmanager
def standard_streams(lost: Callable[[OSError], None]) -> Iterator[None]:
    """Provide standard streams that never end the program with a traceback, and restore them on exit.

    Missing streams are replaced by the null device. Characters that the encoding does not have are escaped.

    Args:
        lost: called once if standard output cannot be written, with the error; it may raise an exception.
    """
    _open_missing()
    before = sys.stdout, sys.stderr
    for stream in before:
        if getattr(stream, "errors", None) in ("strict", "surrogateescape") and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = Output(sys.stdout, lost), Output(sys.stderr, _nothing)
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stdout, sys.stderr = before


def _open_missing() -> None:
    """Replace closed standard streams by the null device, so that no file of a run gets their descriptors."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        _occupy(number)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # open until the process ends


def _occupy(number: int) -> None:
    """Open the null device at a descriptor that is closed, also for child processes."""
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, number)
        if null != number:
            os.close(null)


def _nothing(_: OSError) -> None:
    """Ignore the error."""
