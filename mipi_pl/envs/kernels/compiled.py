"""Numba decorators for the rules and entry points of the compiled worlds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

from mipi_pl.utils.compiled import cached

_Function = TypeVar("_Function", bound=Callable[..., Any])
# Python wrappers would double the compile time. Calls that are not inlined cost a third of the speed. Rules neither
# create nor keep arrays, so numba's reference counting (its runtime, NRT) is off; it costs a tenth of the speed. For
# the same reason a rule must not return an array: its caller would release a reference that was never counted. `_nrt`
# is a private option of numba, so pyproject.toml bounds numba's version.
_RULE: dict[str, Any] = {
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "forceinline": True,
    "_nrt": False,
}


def rule(function: _Function) -> _Function:
    """Compile a function that only other compiled functions call; it is inlined into them.

    Division by zero follows numpy. Fast-math is off, so compiled and uncompiled worlds agree bit for bit.
    """
    return cast(_Function, njit(**_RULE)(function))


def entry(*packages: str, parallel: bool = False) -> Callable[[_Function], _Function]:
    """Compile a function that Python calls. Its machine code is cached on disk.

    Args:
        packages: packages whose functions it calls, as in `mipi_pl.utils.compiled.cached`; this package is added.
        parallel: whether ``prange`` runs on all threads.
    """
    compile_ = njit(error_model="numpy", parallel=parallel, nogil=True)
    return cast(Any, lambda function: cached(compile_(function), __package__, *packages))
