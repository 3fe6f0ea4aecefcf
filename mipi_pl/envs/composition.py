"""Team compositions: which compositions a family of scenarios allows, and the probability of drawing each."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise, product
from numbers import Integral

import numpy as np

_MAX_CANDIDATES = 2_000_000
"""Candidates that are enumerated at most: about 10 s and 2 GB."""


@dataclass(frozen=True)
class Composition:
    """A multiset of agent types.

    Attributes:
        counts: (type name, number of agents) pairs in the order of the family's types; every number is positive.
    """

    counts: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """Total number of agents."""
        return sum(n for _, n in self.counts)

    @property
    def label(self) -> str:
        """Readable name, unique within a family, such as ``1 colossus + 3 zealot``."""
        return " + ".join(f"{n} {name}" for name, n in self.counts)


@dataclass(frozen=True)
class TypeGroup:
    """Agent types that may be mixed freely if their total number is within [min, max].

    Raises:
        ValueError: if `types` is no list of texts or empty, a type occurs twice, or the limits are not whole with
            0 <= min <= max.
    """

    types: tuple[str, ...]
    min: int
    max: int

    def __post_init__(self) -> None:
        is_list = isinstance(self.types, Iterable) and not isinstance(self.types, str)
        if not is_list or not all(isinstance(name, str) for name in self.types):
            raise ValueError(f"the types of a group must be a list of names, such as [marine], got {self.types!r}")
        object.__setattr__(self, "types", tuple(self.types))
        if len(set(self.types)) < len(self.types):
            raise ValueError(f"a group must list each type once, got {list(self.types)}")
        if not self.types:
            raise ValueError("a type group needs at least one type")
        if not all(isinstance(limit, Integral) for limit in (self.min, self.max)):
            raise ValueError(f"a type group needs whole numbers, got min={self.min!r}, max={self.max!r} in groups")
        if not 0 <= self.min <= self.max:
            raise ValueError(f"a type group needs 0 <= min <= max, got min={self.min}, max={self.max}")

    def count(self, largest: int) -> int:
        """Return the number of `fillings`, without making them.

        Examples:
            >>> group = TypeGroup(("marine", "medivac"), 1, 3)
            >>> group.count(2), len(list(group.fillings(2)))
            (5, 5)
        """
        types, high = len(self.types), min(self.max, largest)
        return max(0, math.comb(high + types, types) - math.comb(self.min + types - 1, types)) if high >= 0 else 0

    def fillings(self, largest: int) -> Iterable[tuple[int, ...]]:
        """Yield the number of agents per type, for every allowed total up to `largest`."""
        for total in range(self.min, min(self.max, largest) + 1):
            # Stars and bars: the bars split `total` units into one range per type.
            for bars in combinations_with_replacement(range(total + 1), len(self.types) - 1):
                edges = (0, *bars, total)
                yield tuple(high - low for low, high in pairwise(edges))


def enumerate_compositions(
    groups: Sequence[TypeGroup],
    sizes: Sequence[int],
    advice: str = "lower team_sizes or the limits in groups, or list the mixes",
) -> tuple[Composition, ...]:
    """Return all compositions of the given team sizes, sorted by size and then by counts.

    Args:
        groups: type groups of the family.
        sizes: allowed team sizes.
        advice: what the user can do if there are too many, for the message.

    Raises:
        ValueError: if `sizes` is empty, no composition has one of the sizes, two groups list the same type, or too many
            compositions would have to be made.
    """
    if not sizes or any(size < 1 for size in sizes):
        raise ValueError(f"team_sizes must list at least one size, all of them positive, got {list(sizes)}")
    names = [name for group in groups for name in group.types]
    if len(set(names)) < len(names):
        raise ValueError(f"each type must be in one group only, got {names}")
    candidates = math.prod(group.count(max(sizes)) for group in groups)
    if candidates > _MAX_CANDIDATES:
        raise ValueError(
            f"teams of up to {max(sizes):,} agents of {len(names)} types have {candidates:,} candidate compositions, "
            f"more than {_MAX_CANDIDATES:,}: {advice}"
        )
    compositions: list[Composition] = []
    for filling in product(*(group.fillings(max(sizes)) for group in groups)):
        counts = [n for part in filling for n in part]
        if sum(counts) in sizes:
            compositions.append(Composition(tuple((name, n) for name, n in zip(names, counts, strict=True) if n)))
    for size in sizes:
        if not any(c.size == size for c in compositions):
            low, high = sum(g.min for g in groups), sum(g.max for g in groups)
            raise ValueError(
                f"no composition of {size} agents exists: this family allows {low} to {high} agents; "
                f"change team_sizes or the limits in groups"
            )
    return tuple(sorted(compositions, key=lambda c: (c.size, c.counts)))


def refuse_compositions(compositions: Sequence[Composition], arguments: Sequence[str]) -> None:
    """Check the compositions of a world, in whatever way it makes them.

    Args:
        compositions: compositions that its episodes draw from.
        arguments: names of its arguments that select them, for the message.

    Raises:
        ValueError: if there are none, or one has no agents.
    """
    where = " or ".join(f"env.{name}" for name in arguments)
    if not compositions:
        raise ValueError(f"{where} must list at least one team, got none")
    for composition in compositions:
        if composition.size < 1:
            raise ValueError(f"{where} must list teams of at least one agent, got a team of {composition.size}")


def draw_weights(compositions: Sequence[Composition], draw: str) -> np.ndarray:
    """Return the probability of each composition: float64 [number of compositions].

    Args:
        compositions: candidates.
        draw: ``compositions`` draws uniformly over all compositions, so sizes with many mixes occur more often (as in
            REFIL); ``sizes`` draws a size uniformly first, then a composition of that size.

    Raises:
        ValueError: if `draw` is neither.
    """
    if draw == "compositions":
        return np.full(len(compositions), 1.0 / len(compositions))
    if draw == "sizes":
        sizes = [c.size for c in compositions]
        return np.array([1.0 / (len(set(sizes)) * sizes.count(s)) for s in sizes])
    raise ValueError(f"draw must be 'compositions' or 'sizes', got {draw!r}")


def draw_limits(compositions: Sequence[Composition], draw: str, sizes: Collection[int] | None = None) -> np.ndarray:
    """Return the cumulative probabilities of the compositions, for draws of some team sizes only.

    Args:
        compositions: candidates.
        draw: see `draw_weights`.
        sizes: team sizes to draw; None for all. The others keep a probability of 0.

    Raises:
        ValueError: if no composition has one of the sizes.

    Examples:
        >>> few, many = Composition((("marine", 1),)), Composition((("marine", 2),))
        >>> draw_limits([few, many], "sizes").tolist(), draw_limits([few, many], "sizes", [1]).tolist()
        ([0.5, 1.0], [1.0, 1.0])
    """
    weights, drawn = draw_weights(compositions, draw), drawn_of(compositions, sizes)
    if len(drawn) == len(compositions):
        return np.cumsum(weights)
    limits = np.zeros(len(compositions))
    limits[drawn] = weights[drawn] / weights[drawn].sum()
    limits = np.cumsum(limits)
    limits[drawn[-1] :] = 1.0  # exactly, so that rounding never draws a later one
    return limits


def drawn_of(compositions: Sequence[Composition], sizes: Collection[int] | None) -> list[int]:
    """Return the indices of the compositions of some team sizes, or of all.

    Raises:
        ValueError: if no composition has one of the sizes.
    """
    drawn = [index for index, c in enumerate(compositions) if sizes is None or c.size in sizes]
    if not drawn:
        known = sorted({c.size for c in compositions})
        raise ValueError(f"the teams of this environment have the sizes {known}, got {sorted(sizes or ())}")
    return drawn
