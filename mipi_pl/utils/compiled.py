"""What keeps numba's cache on disk honest."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files


@cache
def source_hash(*packages: str) -> int:
    """A number that changes when any module of the packages does.

    Numba's cache knows of an entry point's own file, not of the others whose functions it calls. But its key holds the
    values of a function's free variables, so an entry point that is made inside a function of this number is compiled
    afresh when one of those changes.
    """
    digest = hashlib.sha256()
    for folder in map(files, packages):
        for name in sorted(found.name for found in folder.iterdir() if found.name.endswith(".py")):
            digest.update((folder / name).read_bytes())
    return int.from_bytes(digest.digest()[:6], "big")
