"""A split: which mixes of the training sizes are kept out of training, as it is declared in the config of a world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

import numpy as np

from mipi_pl.envs.composition import Composition, TypeGroup, enumerate_compositions
from mipi_pl.utils.checks import choose, require

Mix = Mapping[str, int]
"""A composition as it stands in a config: type name to number, such as ``{stalker: 2, zealot: 1}``."""


class Mixes(str, Enum):
    """Which of the mixes of the team sizes are played."""

    TRAINING = "training"
    HELD_OUT = "held_out"
    ALL = "all"


def composition_of(groups: Sequence[TypeGroup], mix: Mix) -> Composition:
    """A mix of a family of scenarios as a composition.

    Raises:
        ValueError: for a type or a number that the family does not have.
    """
    names = [name for group in groups for name in group.types]
    if not isinstance(mix, Mapping) or not mix:
        raise ValueError(f"a mix is a mapping such as {{{names[0]}: 3}}, got {mix!r}")
    for name, count in mix.items():
        if name not in names:
            raise ValueError(f"mix {dict(mix)} names {name!r}; the types here are {', '.join(names)}")
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ValueError(f"mix {dict(mix)}: the number of {name} must be a whole number, got {count!r}")
    for group in groups:
        total = sum(mix.get(name, 0) for name in group.types)
        if not group.min <= total <= group.max:
            kinds = " and ".join(group.types)
            raise ValueError(f"mix {dict(mix)} has {total} of {kinds}; groups allows {group.min} to {group.max}")
    return Composition(tuple((name, mix[name]) for name in names if mix.get(name, 0)))


@dataclass(frozen=True)
class Split:
    """Divides the mixes of some team sizes into those that training draws and those that it never does.

    Attributes:
        sizes: which team sizes it divides; the mixes of other sizes are all drawn.
        training: the only mixes of these sizes that training draws; None for all but the held-out ones.
        held_out: mixes that training never draws; empty beside `training` for all that it does not name.
        share: of the mixes of each size to hold out beside `held_out`, rounded, chosen by `seed`.
        seed: of that choice, which depends on nothing else: not on the mixes beside it, nor on the machine.

    Raises:
        ValueError: for values that contradict each other.
    """

    sizes: Sequence[int]
    training: Sequence[Mix] | None = None
    held_out: Sequence[Mix] = ()
    share: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        require("env.split.share", self.share, 0, 1)
        require("env.split.seed", self.seed, 0)
        if self.training is not None and self.share:
            raise ValueError("env.split: `training` names its mixes one by one, so `share` must be 0 beside it")

    @classmethod
    def of(cls, declared: Mapping[str, Any] | Split | None) -> Split:
        """From a config; None holds nothing out.

        Raises:
            ValueError: for a key that does not exist.
        """
        if isinstance(declared, Split):
            return declared
        known = [field.name for field in fields(cls)]
        for name in declared or {}:
            if name not in known:
                raise ValueError(f"unknown key env.split.{name}; known keys: {', '.join(known)}")
        return cls(**{"sizes": (), **(declared or {})})

    def divide(self, groups: Sequence[TypeGroup]) -> tuple[frozenset[Composition], frozenset[Composition]]:
        """The mixes of `sizes` that training draws, and those that are held out.

        Raises:
            ValueError: if a mix is in both, or a size has none left to train on.
        """
        every = enumerate_compositions(groups, self.sizes) if self.sizes else ()
        held_out = self._named(groups, "held_out", self.held_out)
        if self.training is None:
            held_out |= self._drawn([c for c in every if c not in held_out])
            training = frozenset(every) - held_out
        else:
            training = self._named(groups, "training", self.training)
            if both := training & held_out:
                raise ValueError(f"env.split: in training and held out as well: {_labels(both)}; name each mix once")
            held_out = held_out or frozenset(every) - training
        for size in self.sizes:
            if not any(c.size == size for c in training):
                lost = _labels(c for c in every if c.size == size)
                raise ValueError(f"env.split leaves no mix of {size} agents to train on: {lost}; hold fewer out")
        return training, held_out

    def _named(self, groups: Sequence[TypeGroup], key: str, mixes: Sequence[Mix]) -> frozenset[Composition]:
        found = [composition_of(groups, mix) for mix in mixes]
        if len(set(found)) < len(found):
            raise ValueError(f"env.split.{key} names a mix twice: {_labels({c for c in found if found.count(c) > 1})}")
        if others := [c for c in found if c.size not in self.sizes]:
            raise ValueError(f"env.split.{key}: {_labels(others)} is of none of the sizes {list(self.sizes)}")
        return frozenset(found)

    def _drawn(self, candidates: Sequence[Composition]) -> frozenset[Composition]:
        """A share of each size's mixes: those that come first in an order that the seed makes."""
        chosen: list[Composition] = []
        for size in self.sizes:
            of_size = sorted((c for c in candidates if c.size == size), key=self._lot)
            chosen += of_size[: round(self.share * len(of_size))]
        if self.share and not chosen:
            raise ValueError(f"env.split.share {self.share:g} holds out no mix of any size; raise it")
        return frozenset(chosen)

    def _lot(self, composition: Composition) -> int:
        return int(np.random.SeedSequence([self.seed, *composition.label.encode()]).generate_state(1, np.uint64)[0])


NOTHING_HELD_OUT = Split(())


def played_mixes(
    groups: Sequence[TypeGroup], team_sizes: Sequence[int], split: Split, mixes: str | Sequence[Mix]
) -> tuple[Composition, ...]:
    """What can be drawn, by size and then by counts.

    Args:
        groups: the family's type groups.
        team_sizes: allowed team sizes; without meaning for a list of mixes.
        split: what is held out.
        mixes: one of `Mixes`, or a list of mixes.

    Raises:
        ValueError: if that is none.
    """
    if not isinstance(mixes, str):
        if not mixes:
            raise ValueError("env.mixes is a list without an entry; give training, held_out, all or at least one mix")
        return _ordered({composition_of(groups, mix) for mix in mixes})
    every, part = enumerate_compositions(groups, team_sizes), choose("env.mixes", mixes, Mixes)
    training, held_out = split.divide(groups)
    if part is Mixes.TRAINING:
        return _ordered(c for c in every if c in training or c.size not in split.sizes)
    if part is Mixes.ALL:
        return every
    found = _ordered(c for c in every if c in held_out)
    if not found:
        raise ValueError(f"env.mixes=held_out: env.split holds out no mix of {list(team_sizes)} agents")
    return found


def _ordered(compositions: Iterable[Composition]) -> tuple[Composition, ...]:
    return tuple(sorted(compositions, key=lambda c: (c.size, c.counts)))


def _labels(compositions: Iterable[Composition]) -> str:
    return ", ".join(c.label for c in _ordered(compositions))
