"""The kernels against plain PyTorch: values and all gradients, in single precision."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numba
import pytest
import torch
from torch import Tensor, nn

from mipi_pl.models import fused
from mipi_pl.models.attention import EntityAttention
from mipi_pl.models.packing import AgentRows, PackedSteps
from mipi_pl.models.targets import Perceived, TargetScores
from mipi_pl.models.trunk import Recurrence

Run = Callable[[], Tensor]


@pytest.fixture(autouse=True)
def _enabled_afterwards() -> Iterator[None]:
    yield
    fused.enable(True)


def results(net: nn.Module, run: Run, more: tuple[Tensor, ...] = ()) -> list[Tensor]:
    """Output and gradients of all parameters and of `more`, for an uneven gradient of the output."""
    leaves = [*net.parameters(), *more]
    for leaf in leaves:
        leaf.grad = None
    out = run()
    out.backward(torch.linspace(-1.0, 2.0, out.numel()).view_as(out))
    return [out.detach(), *(leaf.grad.clone() for leaf in leaves if leaf.grad is not None)]


def assert_equal_to_plain(net: nn.Module, run: Run, more: tuple[Tensor, ...] = ()) -> None:
    fused.enable(True)
    fast = results(net, run, more)
    fused.enable(False)
    plain = results(net, run, more)
    assert len(fast) == len(plain) > 1
    for one, other in zip(fast, plain, strict=True):
        # Sums over hundreds of rows: the tolerance belongs to the largest of a tensor's values.
        largest = float(other.abs().max()) if other.numel() else 0.0
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6 * largest + 1e-7)


@pytest.mark.parametrize(
    ("steps", "views", "agents", "entities", "width", "heads"),
    [
        (40, 3, 10, 19, 64, 4),
        (1, 1, 1, 1, 32, 2),
        (7, 2, 3, 5, 48, 1),
        (5, 1, 8, 16, 128, 4),
        (3, 2, 4, 33, 16, 1),
        (250, 1, 2, 19, 16, 1),  # three blocks of steps
    ],
)
def test_attention(steps: int, views: int, agents: int, entities: int, width: int, heads: int) -> None:
    torch.manual_seed(0)
    net = EntityAttention(n_inputs=5, width=width, heads=heads)
    inputs = torch.randn(steps, entities, 5)
    seen = torch.rand(steps, views, agents, entities) < 0.5
    seen[0, 0, 0] = False  # a row that sees nothing
    seen[-1] = False  # a step
    acting = AgentRows.from_mask(torch.rand(steps, agents) < 0.7)
    output = torch.randn(3, width, requires_grad=True)
    assert_equal_to_plain(net, lambda: net(inputs, seen))
    assert_equal_to_plain(net, lambda: net.of_agents(inputs, seen, acting))
    nobody = AgentRows.from_mask(torch.zeros(steps, agents, dtype=torch.bool))
    assert_equal_to_plain(net, lambda: net.of_agents(inputs, seen, nobody))
    assert_equal_to_plain(net, lambda: net.summed(inputs, seen[:, 0], output), (output,))


@pytest.mark.parametrize(("entities", "width", "heads"), [(19, 64, 4), (1, 64, 4)])
def test_under_autocast_all_is_rounded_to_bfloat16_once(entities: int, width: int, heads: int) -> None:
    """As far from single precision as plain PyTorch under autocast is; single values may change sides of a ReLU."""
    torch.manual_seed(0)
    net, recurrence = EntityAttention(n_inputs=5, width=width, heads=heads), Recurrence(width, 8)
    steps = PackedSteps.from_mask(torch.ones(6, 5, dtype=torch.bool))
    inputs, seen = torch.randn(30, entities, 5), torch.rand(30, 2, 1, entities) < 0.7
    output = torch.randn(width, width)

    def run() -> Tensor:
        agents = steps.agents(1)
        states = recurrence(net.of_agents(inputs, seen, agents), agents, steps, None)[0]
        return torch.cat((states.flatten(), net.summed(inputs, seen[:, 0], output).flatten()))

    both = nn.ModuleList([net, recurrence])
    fused.enable(False)
    exact = results(both, run)
    rounded = []
    for on in (False, True):
        fused.enable(on)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded.append(results(both, run))
    assert not torch.equal(rounded[1][0], exact[0])
    for plain, fast, other in zip(*rounded, exact, strict=True):
        assert fast.dtype == plain.dtype == torch.float32
        error = (plain - other).norm()
        assert error <= 0.1 * other.norm()
        assert (fast - other).norm() <= 1.5 * error + 1e-3 * other.norm()


@pytest.mark.parametrize(("views", "agents", "size", "hidden"), [(3, 5, 16, 64), (1, 1, 7, 6), (2, 4, 9, 13)])
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_recurrence(views: int, agents: int, size: int, hidden: int, with_state: bool, share: float) -> None:
    """Also where agents act now and then: their state waits."""
    torch.manual_seed(0)
    net = Recurrence(size, hidden)
    acting = torch.rand(18, agents) < share
    acting[3:12, 0] = False  # a whole episode
    steps = PackedSteps.from_mask(torch.arange(9) < torch.tensor([[3], [9], [1], [5]])).with_acting(acting)
    which = steps.agents(agents)
    rows = torch.randn(len(which.step), views, size, requires_grad=True)
    state = torch.randn(4, views, agents, hidden, requires_grad=True) if with_state else None

    def run() -> Tensor:
        return torch.cat([found.flatten() for found in net(rows, which, steps, state)])

    assert_equal_to_plain(net, run, (rows,) if state is None else (rows, state))


@pytest.mark.parametrize(
    ("steps", "views", "agents", "targets", "hidden", "units"),
    [
        (40, 3, 5, 27, 16, 32),
        (1, 1, 1, 1, 64, 16),
        (9, 2, 3, 0, 16, 16),
        (30, 1, 4, 16, 32, 0),
        (7, 2, 3, 5, 16, 3),
        (7, 2, 3, 5, 6, 16),
    ],
)
@pytest.mark.parametrize("of_agents", [False, True])
def test_target_scores(
    steps: int, views: int, agents: int, targets: int, hidden: int, units: int, of_agents: bool
) -> None:
    """Scores of others and of agents, with a row and a step that see nothing. Sizes 3 and 6 are not whole vectors."""
    torch.manual_seed(0)
    net = TargetScores(hidden, n_inputs=5, width=8, pair_units=units)
    features = torch.randn(steps, views, agents, hidden, requires_grad=True)
    entities = torch.randn(steps, agents + targets, 5, requires_grad=True)
    seen = torch.rand(steps, views, agents, agents + targets) < 0.5
    seen[0, :, 0] = False
    seen[-1] = steps == 1
    slots = slice(agents) if of_agents else slice(agents, None)

    def run() -> Tensor:
        return net(Perceived(features, entities, seen), slots)

    assert_equal_to_plain(net, run, (features, entities))


def test_extreme_values_saturate_as_in_pytorch() -> None:
    torch.manual_seed(0)
    net, attend = Recurrence(4, 6), EntityAttention(n_inputs=4, width=32, heads=2)
    steps = PackedSteps.from_mask(torch.ones(1, 3, dtype=torch.bool))
    rows, inputs = 1e4 * torch.randn(6, 1, 4), 1e2 * torch.randn(3, 5, 4)
    seen = torch.rand(3, 1, 2, 5) < 0.7
    fast = net(rows, steps.agents(2), steps, None)[0], attend(inputs, seen)
    fused.enable(False)
    plain = net(rows, steps.agents(2), steps, None)[0], attend(inputs, seen)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_hidden(value: float) -> None:
    net, attend = Recurrence(4, 6), EntityAttention(n_inputs=4, width=32, heads=2)
    steps = PackedSteps.from_mask(torch.ones(1, 1, dtype=torch.bool))
    with torch.no_grad():
        net.linear.bias.fill_(value)
        attend.key_value.weight.fill_(value)
    assert net(torch.zeros(1, 1, 4), steps.agents(1), steps, None)[0].isnan().any()
    assert attend(torch.ones(1, 2, 4), torch.ones(1, 1, 1, 2, dtype=torch.bool)).isnan().any()
    features, entities = torch.zeros(1, 1, 1, 16), torch.full((1, 2, 4), value)
    seen = Perceived(features, entities, torch.ones(1, 1, 1, 2, dtype=torch.bool))
    scores = TargetScores(hidden=16, n_inputs=4, width=8, pair_units=16)
    assert not scores(seen, slice(1, 2)).isfinite().any()


def test_the_number_of_threads_changes_no_bit() -> None:
    torch.manual_seed(0)
    before, most = numba.get_num_threads(), numba.config.NUMBA_NUM_THREADS
    if most < 2:
        pytest.skip("numba was started with a single thread")
    net, attend = Recurrence(8, 16), EntityAttention(n_inputs=4, width=32, heads=2)
    steps = PackedSteps.from_mask(torch.ones(6, 10, dtype=torch.bool))
    rows, inputs, seen = torch.randn(180, 1, 8), torch.randn(60, 5, 4), torch.rand(60, 1, 3, 5) < 0.7
    scores, features = TargetScores(hidden=16, n_inputs=4, width=8, pair_units=16), torch.randn(60, 1, 3, 16)
    agents = steps.agents(3)
    found = []
    for threads in (1, most):
        numba.set_num_threads(threads)
        made = results(net, lambda: net(rows.clone(), agents, steps, None)[0])
        made += results(attend, lambda: attend(inputs, seen))
        made += results(scores, lambda: scores(Perceived(features, inputs, seen), slice(3, 5)))
        found.append(torch.cat([tensor.flatten() for tensor in made]))
    numba.set_num_threads(before)
    assert torch.equal(*found)


def test_what_the_kernels_do_not_do_goes_the_plain_way_or_is_refused() -> None:
    torch.manual_seed(0)
    net, attend = Recurrence(4, 6), EntityAttention(n_inputs=4, width=32, heads=2)
    steps = PackedSteps.from_mask(torch.ones(1, 3, dtype=torch.bool))
    inputs, agents = torch.randn(3, 5, 4, requires_grad=True), steps.agents(2)
    rows, seen = torch.randn(6, 1, 4), torch.ones(3, 1, 2, 5, dtype=torch.bool)
    attend(inputs, seen).sum().backward()
    assert inputs.grad is not None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert attend(inputs.detach(), seen).isfinite().all()
    out = net(rows, agents, steps, None)[0].sum()
    out.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="goes backward once"):
        out.backward()


def test_other_precisions_and_a_closed_switch_go_the_plain_way() -> None:
    assert fused.usable(torch.zeros(1))
    assert not fused.usable(torch.zeros(1), torch.zeros(1, dtype=torch.float64))
    fused.enable(False)
    assert not fused.usable(torch.zeros(1))


COLD_OR_WARM = """
import hashlib, torch
from mipi_pl.models.trunk import Recurrence
from mipi_pl.models.attention import EntityAttention
from mipi_pl.models.packing import PackedSteps
torch.manual_seed(0)
net, attend = Recurrence(16, 13), EntityAttention(n_inputs=4, width=64, heads=4)
steps, seen = PackedSteps.from_mask(torch.ones(4, 5, dtype=torch.bool)), torch.rand(20, 2, 6, 11) < 0.7
inputs = torch.randn(20, 11, 4)
out = [net(torch.randn(60, 2, 16), steps.agents(3), steps, None)[0], attend(inputs, seen)]
out.append(attend.summed(inputs, seen[:, 0], torch.eye(64)))
sum((x ** 2).sum() for x in out).backward()
content = [*out, *(p.grad for p in (*net.parameters(), *attend.parameters()))]
print(hashlib.sha256(b"".join(x.detach().numpy().tobytes() for x in content)).hexdigest())
"""


@pytest.mark.slow
def test_kernels_from_disk_give_the_bits_of_those_just_compiled(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    found = []
    for _ in ("cold", "warm"):
        command = [sys.executable, "-c", COLD_OR_WARM]
        found.append(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    assert found[0] == found[1] != ""
    assert list(tmp_path.rglob("*.nbc"))
