"""Numba's on-disk cache: invalidated by changes of called modules, and left out where it cannot be used."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from numba.core.caching import FunctionCache

from mipi_pl.utils.launched import is_first_process

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _OptionalCache(FunctionCache):
    """Numba's cache of a function; a file that cannot be read or written costs compile time instead of an error.

    Args:
        function: the function in Python.
        packages: packages whose functions it calls.
    """

    def __init__(self, function: Callable[..., Any], packages: Sequence[str]) -> None:
        super().__init__(function)
        self._source = source_hash(*packages)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        # Numba's own key does not contain the functions that are called.
        return *super()._index_key(sig, codegen), self._source

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the cached machine code, or None if it is missing or unreadable."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a damaged file raises exceptions of pickle, numba or LLVM
            self._discard()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store the machine code, if possible."""
        try:
            super().save_overload(sig, data)
        except (OSError, EOFError):
            _say_uncached()

    def _discard(self) -> None:
        """Empty the index, so that the next `save_overload` replaces the damaged files."""
        try:
            self.flush()
        except OSError:
            self.disable()
            _say_uncached()


def cached(function: _Function, *packages: str) -> _Function:
    """Cache the machine code of a compiled function on disk, as ``njit(cache=True)`` does, but only if that works.

    Numba compiles a cached function again when its own file changes, but not when a called function in another file
    does. This function compares the source of whole packages.

    Numba raises an error if it finds no folder to write to, for example in a read-only installation without a home
    folder. One line is then printed, once, and the function is compiled in each process.

    Args:
        function: result of ``njit``.
        packages: packages whose functions it calls; the machine code is not used after a change of any of their
            modules.
    """
    if hasattr(function, "enable_caching"):  # a plain function with NUMBA_DISABLE_JIT=1
        try:
            function._cache = _OptionalCache(function.py_func, packages)  # type: ignore[attr-defined]
        except RuntimeError:
            _say_uncached()
    return function


@cache
def _say_uncached() -> None:
    """Print one line, once, in the first process of a run."""
    if is_first_process():
        print(
            "mipi: numba's cache cannot be used, so kernels are compiled again in every process (a minute or more); "
            "set NUMBA_CACHE_DIR to a folder that can be written to",
            file=sys.stderr,
        )


@cache
def source_hash(*packages: str) -> int:
    """Return a number that changes if any module of the packages changes."""
    digest = hashlib.sha256()
    for folder in map(files, packages):
        for name in sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".py")):
            digest.update((folder / name).read_bytes())
    return int.from_bytes(digest.digest()[:6], "big")
