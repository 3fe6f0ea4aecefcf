"""How the battle is compiled: the decorator of all rules, and what keeps numba's cache honest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar, cast

from numba import njit

_Function = TypeVar("_Function", bound=Callable[..., Any])
# Wrappers for Python would double the compile time; calls that stay calls cost a third of the speed.
_RULE: dict[str, Any] = {
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "forceinline": True,
}


def rule(function: _Function) -> _Function:
    """Compile a function that is called from other compiled ones alone, and becomes part of them.

    Division by zero follows numpy; no fast-math, so that a compiled battle is the uncompiled one bit for bit.
    """
    return cast(_Function, njit(**_RULE)(function))


def entry(parallel: bool = False) -> Callable[[_Function], _Function]:
    """Compile a function that Python calls; the machine code is kept on disk."""
    return cast(Any, njit(error_model="numpy", cache=True, parallel=parallel, nogil=True))


@cache
def source_hash() -> int:
    """A number that changes when any module of the battle does.

    Numba's cache knows of an entry point's own file, not of the rules it calls. But its key holds the values of a
    function's free variables, so an entry point that is made inside a function of this number is compiled afresh when a
    rule changes.
    """
    folder = files("mipi_pl.envs.battle")
    names = sorted(found.name for found in folder.iterdir() if found.name.endswith(".py"))
    digest = hashlib.sha256(b"".join((folder / name).read_bytes() for name in names))
    return int.from_bytes(digest.digest()[:6], "big")
