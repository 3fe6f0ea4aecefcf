"""A source hash that invalidates numba's on-disk cache when the code changes."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files


@cache
def source_hash(*packages: str) -> int:
    """Return a number that changes if any module of the packages changes.

    Numba recompiles a cached function when its own file changes, but not when a called function in another file does.
    The cache key includes the values of a function's free variables. A compiled entry point that is defined inside a
    function and captures this number is therefore recompiled after any change.
    """
    digest = hashlib.sha256()
    for folder in map(files, packages):
        for name in sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".py")):
            digest.update((folder / name).read_bytes())
    return int.from_bytes(digest.digest()[:6], "big")
