"""How the battle is compiled: the decorator of all rules, and what keeps numba's cache honest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from numba import njit

_Function = TypeVar("_Function", bound=Callable[..., Any])


def rule(function: _Function) -> _Function:
    """Compile a function that is called from other compiled ones alone (no wrapper for Python: half the compile time).

    Division by zero follows numpy; no fast-math, so that a compiled battle is the uncompiled one bit for bit.
    """
    return njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)  # type: ignore[no-any-return]


def entry(parallel: bool = False) -> Callable[[_Function], _Function]:
    """Compile a function that Python calls; the machine code is kept on disk."""
    return njit(error_model="numpy", cache=True, parallel=parallel, nogil=True)  # type: ignore[no-any-return]


@cache
def source_hash() -> int:
    """A number that changes when any module of the battle does.

    Numba's cache knows of an entry point's own file, not of the rules it calls. But its key holds the values of a function's
    free variables, so an entry point that is made inside a function of this number is compiled afresh when a rule changes.
    """
    folder = files("mipi_pl.envs.battle")
    names = sorted(found.name for found in folder.iterdir() if found.name.endswith(".py"))
    digest = hashlib.sha256(b"".join((folder / name).read_bytes() for name in names))
    return int.from_bytes(digest.digest()[:6], "big")
