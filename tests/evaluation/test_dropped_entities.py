"""Entities that benchmarks/dropped_entities.py hides from agents."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import dropped_entities


def test_agents_keep_themselves_and_at_most_so_many_of_each_side() -> None:
    visible = torch.rand(200, 6, 13, generator=torch.Generator().manual_seed(0)) < 0.7
    visible[:, range(6), range(6)] = True
    visible[0, 1] = False  # a dead agent sees nothing
    keep = dropped_entities.kept(visible, 3, torch.Generator().manual_seed(1))
    assert not (keep & ~visible).any()
    for side in (slice(6), slice(6, 13)):
        assert torch.equal(keep[..., side].sum(-1), visible[..., side].sum(-1).clamp(max=3))
    assert torch.equal(keep[:, range(6), range(6)], visible[:, range(6), range(6)])
    assert keep[1:, 0, 6:].float().mean(0).std() < 0.1, "each enemy is drawn about equally often"
    everything = dropped_entities.kept(visible, 13, torch.Generator())
    assert torch.equal(everything, visible)
