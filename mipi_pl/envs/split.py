"""Train/held-out split of the compositions of a world, as declared under `env.split` in its config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from numbers import Integral
from typing import Any

import numpy as np

from mipi_pl.envs.composition import Composition, TypeGroup, enumerate_compositions
from mipi_pl.utils.checks import choose, require

Mix = Mapping[str, int]
"""A composition as written in a config: type name to number of agents, such as ``{stalker: 2, zealot: 1}``."""


class Mixes(str, Enum):
    """Which part of the split is played."""

    TRAINING = "training"
    HELD_OUT = "held_out"
    ALL = "all"


def composition_of(groups: Sequence[TypeGroup], mix: Mix) -> Composition:
    """Convert a mix to a composition.

    Args:
        groups: type groups of the family.
        mix: number of agents per type.

    Raises:
        ValueError: if the family does not have one of the types or does not allow one of the numbers.
    """
    names = [name for group in groups for name in group.types]
    if not isinstance(mix, Mapping) or not mix:
        raise ValueError(f"a mix must be a mapping such as {{{names[0]}: 3}}, got {mix!r}")
    for name, count in mix.items():
        if name not in names:
            raise ValueError(f"mix {dict(mix)} has unknown type {name!r}; the types of this world: {', '.join(names)}")
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ValueError(f"mix {dict(mix)}: the number of {name} must be a whole number, got {count!r}")
    for group in groups:
        total = sum(mix.get(name, 0) for name in group.types)
        if not group.min <= total <= group.max:
            types = " and ".join(group.types)
            raise ValueError(f"mix {dict(mix)} has {total} of {types}; groups allows {group.min} to {group.max}")
    return Composition(tuple((name, mix[name]) for name in names if mix.get(name, 0)))


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


@dataclass(frozen=True)
class Split:
    """Split of the mixes of some team sizes into training mixes and held-out mixes.

    Attributes:
        sizes: team sizes that are split. Training draws all mixes of other sizes.
        training: training mixes of these sizes; None means all mixes that are not held out.
        held_out: held-out mixes. If it is empty and `training` is given, all mixes missing from `training` are held
            out.
        share: share of the mixes of each size to hold out in addition to `held_out`, rounded to whole mixes.
        seed: seed that selects this share. The choice depends on no other mix and not on the machine.

    Raises:
        ValueError: if a field has another form, `share` or `seed` is out of range, or both `training` and `share` are
            given.
    """

    sizes: Sequence[int]
    training: Sequence[Mix] | None = None
    held_out: Sequence[Mix] = ()
    share: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not _is_list(self.sizes) or not all(isinstance(size, Integral) for size in self.sizes):
            raise ValueError(f"env.split.sizes must be a list of team sizes, such as [3, 4], got {self.sizes!r}")
        for key, mixes in (("training", self.training), ("held_out", self.held_out)):
            if not (_is_list(mixes) or (key == "training" and mixes is None)):
                raise ValueError(f"env.split.{key} must be a list of mixes, such as [{{zealot: 3}}], got {mixes!r}")
        require("env.split.share", self.share, 0, 1)
        if not isinstance(self.seed, Integral):
            raise ValueError(f"env.split.seed must be a whole number, got {self.seed!r}")
        require("env.split.seed", self.seed, 0)
        if self.training is not None and self.share:
            raise ValueError(
                f"env.split: `share` must be 0 if `training` lists the training mixes, got {self.share:g}; drop one"
            )

    @classmethod
    def from_config(cls, declared: Mapping[str, Any] | Split | None) -> Split:
        """Create a split from a config. None holds nothing out.

        Raises:
            ValueError: if the config is no mapping or has an unknown key.
        """
        if isinstance(declared, Split):
            return declared
        if not (declared is None or isinstance(declared, Mapping)):
            raise ValueError(
                f"env.split must be null or a mapping, such as {{sizes: [3], share: 0.5}}, got {declared!r}"
            )
        known = [field.name for field in fields(cls)]
        for name in declared or {}:
            if name not in known:
                raise ValueError(f"unknown key env.split.{name}; known keys: {', '.join(known)}")
        return cls(**{"sizes": (), **(declared or {})})

    def divide(self, groups: Sequence[TypeGroup]) -> tuple[frozenset[Composition], frozenset[Composition]]:
        """Return the training mixes and the held-out mixes of `sizes`.

        Args:
            groups: type groups of the family.

        Raises:
            ValueError: if a mix is in both, or a size has no training mix.
        """
        candidates = enumerate_compositions(groups, self.sizes) if self.sizes else ()
        held_out = self._listed_mixes(groups, "held_out", self.held_out)
        if self.training is None:
            held_out |= self._draw_share([c for c in candidates if c not in held_out])
            training = frozenset(candidates) - held_out
        else:
            training = self._listed_mixes(groups, "training", self.training)
            if both := training & held_out:
                raise ValueError(
                    f"env.split: mixes must be in training or in held_out, got in both: {_labels(both)}; remove each "
                    "from one of them"
                )
            held_out = held_out or frozenset(candidates) - training
        for size in self.sizes:
            if not any(c.size == size for c in training):
                lost = _labels(c for c in candidates if c.size == size)
                raise ValueError(f"env.split leaves no mix of {size} agents to train on, out of {lost}; hold out fewer")
        return training, held_out

    def _listed_mixes(self, groups: Sequence[TypeGroup], key: str, mixes: Sequence[Mix]) -> frozenset[Composition]:
        listed = [composition_of(groups, mix) for mix in mixes]
        if len(set(listed)) < len(listed):
            repeated = {c for c in listed if listed.count(c) > 1}
            raise ValueError(f"env.split.{key} must list each mix once, got more than once: {_labels(repeated)}")
        if others := [c for c in listed if c.size not in self.sizes]:
            raise ValueError(
                f"env.split.{key} must list mixes of the sizes {list(self.sizes)} (env.split.sizes), got "
                f"{_labels(others)}"
            )
        return frozenset(listed)

    def _draw_share(self, candidates: Sequence[Composition]) -> frozenset[Composition]:
        """Select a share of the mixes of each size: the first ones after sorting by a seeded hash."""
        selected: list[Composition] = []
        for size in self.sizes:
            of_size = sorted((c for c in candidates if c.size == size), key=self._hash)
            selected += of_size[: round(self.share * len(of_size))]
        if self.share and not selected:
            raise ValueError(f"env.split.share {self.share:g} holds out no mix of any size; raise it")
        return frozenset(selected)

    def _hash(self, composition: Composition) -> int:
        return int(np.random.SeedSequence([self.seed, *composition.label.encode()]).generate_state(1, np.uint64)[0])


NOTHING_HELD_OUT = Split(())


def played_mixes(
    groups: Sequence[TypeGroup], team_sizes: Sequence[int], split: Split, mixes: str | Sequence[Mix]
) -> tuple[Composition, ...]:
    """Return the compositions that episodes draw from, sorted by size and then by counts.

    Args:
        groups: type groups of the family.
        team_sizes: allowed team sizes; ignored if `mixes` is a list.
        split: training and held-out mixes.
        mixes: one of `Mixes`, or a list of mixes.

    Raises:
        ValueError: if `mixes` is neither, or no composition is left.
    """
    if not isinstance(mixes, str):
        if not mixes:
            raise ValueError("env.mixes must be training, held_out, all or a list of mixes, got an empty list")
        return _ordered({composition_of(groups, mix) for mix in mixes})
    candidates, part = enumerate_compositions(groups, team_sizes), choose("env.mixes", mixes, Mixes)
    training, held_out = split.divide(groups)
    if part is Mixes.TRAINING:
        return _ordered(c for c in candidates if c in training or c.size not in split.sizes)
    if part is Mixes.ALL:
        return candidates
    held_out_candidates = _ordered(c for c in candidates if c in held_out)
    if not held_out_candidates:
        raise ValueError(
            f"env.mixes=held_out needs a held-out mix, but env.split holds out no mix of {list(team_sizes)} agents; "
            "change env.split or env.team_sizes"
        )
    return held_out_candidates


def _ordered(compositions: Iterable[Composition]) -> tuple[Composition, ...]:
    return tuple(sorted(compositions, key=lambda c: (c.size, c.counts)))


def _labels(compositions: Iterable[Composition]) -> str:
    return ", ".join(c.label for c in _ordered(compositions))
