from __future__ import annotations

from typing import Any

import pytest

from mipi_pl.envs.battle.env import BattleEnv
from mipi_pl.envs.composition import Composition, TypeGroup, enumerate_compositions
from mipi_pl.envs.split import Split, composition_of, played_mixes

SZ = (TypeGroup(("stalker", "zealot"), 3, 8),)
ALL = enumerate_compositions(SZ, [3, 4, 5])
STALKERS, ZEALOTS = {"stalker": 3}, {"zealot": 4}


def labels(compositions: tuple[Composition, ...]) -> set[str]:
    return {c.label for c in compositions}


def test_explicit_mixes_are_held_out_of_the_training_sizes_alone() -> None:
    split = Split([3, 4, 5], held_out=[STALKERS, ZEALOTS])
    training = played_mixes(SZ, [3, 4, 5], split, "training")
    held_out = played_mixes(SZ, [3, 4, 5], split, "held_out")
    assert labels(held_out) == {"3 stalker", "4 zealot"}
    assert labels(training) == labels(ALL) - labels(held_out)
    assert played_mixes(SZ, [3, 4, 5], split, "all") == ALL
    assert len(played_mixes(SZ, [6], split, "training")) == 7


def test_a_list_of_training_mixes_holds_out_all_the_others() -> None:
    trained = [STALKERS, ZEALOTS, {"stalker": 2, "zealot": 3}]
    split = Split([3, 4, 5], training=trained)
    assert labels(played_mixes(SZ, [3, 4, 5], split, "training")) == {"3 stalker", "4 zealot", "2 stalker + 3 zealot"}
    assert len(played_mixes(SZ, [3, 4, 5], split, "held_out")) == 12


def test_a_share_is_drawn_from_each_size_by_the_seed_alone() -> None:
    def drawn(seed: int, sizes: list[int]) -> set[str]:
        return labels(played_mixes(SZ, sizes, Split([3, 4, 5], share=0.4, seed=seed), "held_out"))

    chosen = [c for c in ALL if c.label in drawn(0, [3, 4, 5])]
    assert [c.size for c in chosen] == [3, 3, 4, 4, 5, 5]
    assert len({frozenset(drawn(seed, [3, 4, 5])) for seed in range(5)}) > 1
    assert drawn(0, [4]) == {c.label for c in chosen if c.size == 4}
    # Written down, so that another version of a library cannot move mixes from one side to the other.
    assert drawn(0, [3]) == {"1 stalker + 2 zealot", "3 zealot"}


def test_explicit_mixes_are_held_out_beside_a_share() -> None:
    held_out = played_mixes(SZ, [3, 4, 5], Split([3, 4, 5], held_out=[STALKERS], share=0.4), "held_out")
    assert "3 stalker" in labels(held_out)
    assert [c.size for c in held_out] == [3, 3, 4, 4, 5, 5]


def test_a_list_of_mixes_is_played_as_it_is() -> None:
    found = played_mixes(SZ, [3], Split(()), [{"zealot": 8}, {"zealot": 1, "stalker": 2}])
    assert [c.label for c in found] == ["2 stalker + 1 zealot", "8 zealot"]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"training": [STALKERS, ZEALOTS], "held_out": [STALKERS]}, "got in both: 3 stalker;"),
        ({"held_out": [STALKERS, {"stalker": 3, "zealot": 0}]}, "held_out must list each mix once, got .*: 3 stalker"),
        ({"held_out": [{"stalker": 6}]}, r"mixes of the sizes \[3, 4, 5\] .*, got 6 stalker"),
        ({"held_out": [{"marine": 3}]}, "unknown type 'marine'; the types of this world: stalker, zealot"),
        ({"held_out": [{"stalker": 2}]}, "has 2 of stalker and zealot; groups allows 3 to 8"),
        ({"held_out": [{"stalker": 2.5}]}, "must be a whole number, got 2.5"),
        ({"held_out": ["stalker"]}, "a mix must be a mapping"),
        ({"training": [STALKERS, ZEALOTS]}, "no mix of 5 agents to train on"),
        ({"training": [STALKERS], "share": 0.5}, "`share` must be 0 if `training` lists the training mixes, got 0.5"),
        ({"share": 1.0}, "no mix of 3 agents to train on"),
        ({"share": 0.01}, "holds out no mix of any size"),
        ({"share": 1.5}, "env.split.share must be at least 0 and at most 1, got 1.5"),
        ({"fraction": 0.5}, "unknown key env.split.fraction"),
        ({"sizes": 3}, "env.split.sizes must be a list of team sizes, such as .*, got 3"),
        ({"sizes": [3.5]}, r"env.split.sizes must be a list of team sizes, such as .*, got \[3.5\]"),
        ({"held_out": None}, "env.split.held_out must be a list of mixes, such as .*, got None"),
        ({"training": "zealot"}, "env.split.training must be a list of mixes, such as .*, got 'zealot'"),
        ({"share": 0.5, "seed": 1.5}, "env.split.seed must be a whole number, got 1.5"),
    ],
)
def test_a_split_that_cannot_be_is_refused(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Split.from_config({"sizes": [3, 4, 5], **declared}).divide(SZ)


def test_a_split_is_a_mapping() -> None:
    declared: Any = 3
    with pytest.raises(ValueError, match=r"env.split must be null or a mapping, such as .*, got 3"):
        Split.from_config(declared)


@pytest.mark.parametrize(
    ("mixes", "message"),
    [("some", "env.mixes must be one of training, held_out, all"), ([], "an empty list"), ("held_out", "no mix of")],
)
def test_mixes_that_do_not_exist_are_refused(mixes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        played_mixes(SZ, [3], Split(()), mixes)


def test_a_mix_is_a_composition_in_the_order_of_the_family() -> None:
    assert composition_of(SZ, {"zealot": 1, "stalker": 2}).label == "2 stalker + 1 zealot"


def test_a_battle_draws_what_the_split_leaves() -> None:
    def env(mixes: Any) -> BattleEnv:
        split = {"sizes": [3, 4], "held_out": [STALKERS, ZEALOTS]}
        return BattleEnv(SZ, [3, 4], capacity=8, num_envs=1, mixes=mixes, split=split)

    training, held_out = env("training"), env("held_out")
    assert labels(held_out.compositions) == labels(training.withheld) == {"3 stalker", "4 zealot"}
    assert labels(training.compositions).isdisjoint(labels(held_out.compositions))
    assert len(training.compositions) == 7
    with pytest.raises(ValueError, match="got 8 with capacity 5"):
        BattleEnv(SZ, [3], capacity=5, num_envs=1, mixes=[{"stalker": 8}])
