from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from mipi_pl.envs.composition import Composition, TypeGroup, draw_weights, enumerate_compositions

TWO = [TypeGroup(("stalker", "zealot"), 3, 8)]
THREE = [TypeGroup(("stalker", "zealot"), 3, 6), TypeGroup(("colossus",), 0, 2)]


@pytest.mark.parametrize(
    ("groups", "sizes", "count"),
    [(TWO, (3, 4, 5), 15), (TWO, (6, 7, 8), 24), (THREE, (3, 4, 5), 28), (THREE, (6, 7, 8), 38)],
)
def test_there_are_as_many_as_in_the_papers_families(groups: list[TypeGroup], sizes: list[int], count: int) -> None:
    found = enumerate_compositions(groups, sizes)
    assert len(found) == len({c.label for c in found}) == count


def test_all_and_only_allowed_ones_are_listed_by_size() -> None:
    found = enumerate_compositions(THREE, [4, 5])
    expected = {
        (s, z, c) for s, z, c in product(range(9), repeat=3) if 3 <= s + z <= 6 and c <= 2 and s + z + c in (4, 5)
    }
    assert {tuple(dict(c.counts).get(n, 0) for n in ("stalker", "zealot", "colossus")) for c in found} == expected
    assert [c.size for c in found] == sorted(c.size for c in found)
    assert all(n > 0 for c in found for _, n in c.counts)


def test_labels_read_well() -> None:
    assert Composition((("colossus", 1), ("zealot", 3))).label == "1 colossus + 3 zealot"


@pytest.mark.parametrize("sizes", [[9], [3, 9], [2], [], [0]])
def test_sizes_that_no_team_has_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="team_sizes"):
        enumerate_compositions(TWO, sizes)


@pytest.mark.parametrize("types", [["stalker", 1], ["stalker", None], [["stalker"]], "stalker", 3, None])
def test_types_that_are_no_list_of_texts_are_refused(types: Any) -> None:
    with pytest.raises(ValueError, match=r"the types of a group must be a list of names, such as \[marine\], got "):
        TypeGroup(types, 1, 8)


def test_draws_are_uniform_over_compositions_or_over_sizes() -> None:
    found = enumerate_compositions(TWO, (3, 4, 5))
    np.testing.assert_allclose(draw_weights(found, "compositions"), 1 / 15)
    by_size = draw_weights(found, "sizes")
    for size in (3, 4, 5):
        of_size = [w for w, c in zip(by_size, found, strict=True) if c.size == size]
        assert sum(of_size) == pytest.approx(1 / 3)
        assert len(set(of_size)) == 1
    with pytest.raises(ValueError, match="got 'teams'"):
        draw_weights(found, "teams")


@pytest.mark.parametrize(
    ("types", "low", "high"), [((), 0, 1), (("a",), 2, 1), (("a",), -1, 1), (("a",), 1.5, 3), (("a",), 1, None)]
)
def test_impossible_groups_are_refused(types: tuple[str, ...], low: Any, high: Any) -> None:
    with pytest.raises(ValueError, match="a type group needs"):
        TypeGroup(types, low, high)
