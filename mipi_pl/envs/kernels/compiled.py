"""How the worlds are compiled: the decorators of all rules and entry points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

_Function = TypeVar("_Function", bound=Callable[..., Any])
# Wrappers for Python would double the compile time; calls that stay calls cost a third of the speed. Rules make no
# arrays and keep none, so they need not count references to them (numba's runtime, NRT), which cost a tenth. A rule
# must not return an array for that reason: its caller would release what nobody has counted. `_nrt` is a private option
# of numba, which is why pyproject.toml bounds its version.
_RULE: dict[str, Any] = {
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "forceinline": True,
    "_nrt": False,
}


def rule(function: _Function) -> _Function:
    """Compile a function that is called from other compiled ones alone, and becomes part of them.

    Division by zero follows numpy; no fast-math, so that a compiled world is the uncompiled one bit for bit.
    """
    return cast(_Function, njit(**_RULE)(function))


def entry(parallel: bool = False) -> Callable[[_Function], _Function]:
    """Compile a function that Python calls; the machine code is kept on disk."""
    return cast(Any, njit(error_model="numpy", cache=True, parallel=parallel, nogil=True))
