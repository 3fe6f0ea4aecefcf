"""Teams: which compositions a family of scenarios allows, and how one is drawn for an episode."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise, product

import numpy as np


@dataclass(frozen=True)
class Composition:
    """A multiset of agent types.

    Attributes:
        counts: (type name, how many), types in the order of the family, none with count 0.
    """

    counts: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """Number of agents."""
        return sum(n for _, n in self.counts)

    @property
    def label(self) -> str:
        """Readable and unique within a family, such as ``1 colossus + 3 zealot``."""
        return " + ".join(f"{n} {name}" for name, n in self.counts)


@dataclass(frozen=True)
class TypeGroup:
    """Types that are exchanged freely, as long as their total stays within [min, max]."""

    types: tuple[str, ...]
    min: int
    max: int

    def __post_init__(self) -> None:
        if isinstance(self.types, str):
            raise ValueError(f"the types of a group are a list, such as [{self.types}], got {self.types!r}")
        object.__setattr__(self, "types", tuple(self.types))
        if len(set(self.types)) < len(self.types):
            raise ValueError(f"each type stands once in a group, got {list(self.types)}")
        if not self.types:
            raise ValueError("a type group needs at least one type")
        if not 0 <= self.min <= self.max:
            raise ValueError(f"a type group needs 0 <= min <= max, got min={self.min}, max={self.max}")

    def fillings(self, largest: int) -> Iterable[tuple[int, ...]]:
        """All counts per type whose total is allowed and at most `largest`."""
        for total in range(self.min, min(self.max, largest) + 1):
            # Where the last of each type stands, as bars between equal units.
            for bars in combinations_with_replacement(range(total + 1), len(self.types) - 1):
                edges = (0, *bars, total)
                yield tuple(high - low for low, high in pairwise(edges))


def enumerate_compositions(groups: Sequence[TypeGroup], sizes: Sequence[int]) -> tuple[Composition, ...]:
    """All compositions of the given total sizes, by size and then by counts.

    Args:
        groups: the family's type groups.
        sizes: allowed team sizes.

    Raises:
        ValueError: if `sizes` is empty or has an entry that no filling of the groups reaches, or a type is named twice.
    """
    if not sizes or any(size < 1 for size in sizes):
        raise ValueError(f"team_sizes must be positive and at least one, got {list(sizes)}")
    names = [name for group in groups for name in group.types]
    if len(set(names)) < len(names):
        raise ValueError(f"each type stands in one group only, got {names}")
    found: list[Composition] = []
    for filling in product(*(group.fillings(max(sizes)) for group in groups)):
        counts = [n for part in filling for n in part]
        if sum(counts) in sizes:
            found.append(Composition(tuple((name, n) for name, n in zip(names, counts, strict=True) if n)))
    for size in sizes:
        if not any(c.size == size for c in found):
            low, high = sum(g.min for g in groups), sum(g.max for g in groups)
            raise ValueError(
                f"no composition of {size} agents exists: this family allows {low} to {high} agents; "
                f"change team_sizes or the limits in groups"
            )
    return tuple(sorted(found, key=lambda c: (c.size, c.counts)))


def draw_weights(compositions: Sequence[Composition], draw: str) -> np.ndarray:
    """Probability of each composition, float64 [number of compositions].

    Args:
        compositions: what can be drawn.
        draw: ``compositions`` draws uniformly over all of them, so that sizes with many mixes are seen more
            (as REFIL does); ``sizes`` draws a size first, then a composition of it.

    Raises:
        ValueError: for another value of `draw`.
    """
    if draw == "compositions":
        return np.full(len(compositions), 1.0 / len(compositions))
    if draw == "sizes":
        sizes = [c.size for c in compositions]
        return np.array([1.0 / (len(set(sizes)) * sizes.count(s)) for s in sizes])
    raise ValueError(f"draw must be 'compositions' or 'sizes', got {draw!r}")
