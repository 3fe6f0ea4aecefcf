from __future__ import annotations

import plain_losses
import torch

from mipi_pl.losses.partition import draw_groups, same_group


def test_within_and_interact_split_a_mask_by_group() -> None:
    g = torch.Generator().manual_seed(0)
    groups = draw_groups(4, 2, 5, g)
    mask = torch.rand(2, 4, 3, 5, generator=g) < 0.7
    same = same_group(groups, n_agents=3)
    for k in range(2):
        for n in range(4):
            for i in range(3):
                row, partition = mask[k, n, i].tolist(), groups[k, n].tolist()
                assert (mask & same)[k, n, i].tolist() == plain_losses.restrict(row, i, partition, within=True)
                assert (mask & ~same)[k, n, i].tolist() == plain_losses.restrict(row, i, partition, within=False)


def test_an_agent_is_always_in_its_own_group() -> None:
    same = same_group(draw_groups(50, 1, 4, torch.Generator()), n_agents=4)
    assert same.diagonal(dim1=-2, dim2=-1).all()


def test_the_share_of_group_a_is_uniform_and_its_own_in_every_episode_and_partition() -> None:
    groups = draw_groups(400, 5, 200, torch.Generator().manual_seed(0))
    shares = groups.float().mean(dim=-1)
    # Of a uniform distribution: mean 1/2, variance 1/12, and a tenth in every tenth.
    assert abs(shares.mean() - 0.5) < 0.02
    assert abs(shares.var() - 1 / 12) < 0.006
    assert (torch.histc(shares, 10, 0.0, 1.0) / shares.numel() - 0.1).abs().max() < 0.03
    assert abs(torch.corrcoef(shares)[0, 1]) < 0.2


def test_draws_are_reproducible() -> None:
    first, second = (draw_groups(3, 2, 4, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)
