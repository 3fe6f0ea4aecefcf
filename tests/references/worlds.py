"""Small random batches, small algorithms, and a driver that needs no Trainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from hypothesis import strategies as st
from tensordict import TensorDict
from torch import Tensor

from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.algorithms.collaq import CollaQ
from mipi_pl.algorithms.joint_value import JointValueAlgorithm
from mipi_pl.algorithms.mipi import MIPI
from mipi_pl.algorithms.q_learning import QLearning
from mipi_pl.losses.partition import draw_groups
from mipi_pl.models.agent import EntityAgent, UtilityAgent
from mipi_pl.models.collaq import CollaQAgent
from mipi_pl.models.marginal import MarginalPolicy
from mipi_pl.models.mixers import AttentionMixer, SumMixer
from mipi_pl.spec import EntitySpec

SGD = partial(torch.optim.SGD, lr=0.1)


@dataclass(frozen=True)
class Sizes:
    """Of a random batch: episodes by their lengths, agents by how many steps they act, present entities.

    Attributes:
        pauses: (episode, step, agent) in which an agent does not act though it does later.
    """

    lengths: tuple[int, ...] = (2, 1, 3)
    lifetimes: tuple[tuple[int, ...], ...] = ((9, 2, 1), (9, 9, 0), (1, 2, 9))
    absent: tuple[tuple[int, ...], ...] = ((), (2,), (4,))
    n_agents: int = 3
    n_others: int = 2
    n_features: int = 3
    n_actions: int = 4
    truncated: tuple[bool, ...] = (False, True, False)
    targets: tuple[str, ...] = ()
    pauses: tuple[tuple[int, int, int], ...] = ()
    seed: int = 0

    @property
    def spec(self) -> EntitySpec:
        """Of the world, whose time limit is the longest episode."""
        return EntitySpec(
            n_agents=self.n_agents,
            n_entities=self.n_agents + self.n_others,
            n_features=self.n_features,
            n_actions=self.n_actions,
            max_steps=max(self.lengths),
            targets=self.targets,
        )


ALL_DEAD = Sizes(lengths=(2, 1), lifetimes=((0, 0), (1, 1)), absent=((), ()), n_agents=2, truncated=(True, False))
"""A team that never acts, and one that dies in its first step."""
AIMING = Sizes(n_actions=8, targets=("others", "agents"))
"""Three fixed actions, one for each of two others, one for each of three agents."""
PAUSES = Sizes(
    lengths=(4, 3),
    lifetimes=((9, 9, 9), (9, 9, 0)),
    absent=((), ()),
    pauses=((0, 1, 0), (0, 2, 0), (0, 0, 2), (1, 1, 1)),
)
"""Agents that act again after a pause."""
SINGLE = Sizes(lengths=(1,), lifetimes=((9,),), absent=((),), n_agents=1, n_others=0, truncated=(False,))
"""One entity in one step."""


@st.composite
def sizes(draw: st.DrawFn, max_episodes: int = 2, max_steps: int = 3) -> Sizes:
    """Any small batch: dead and absent ones, truncated and terminated ones, short ones."""
    n_agents, n_others = draw(st.integers(1, 3)), draw(st.integers(0, 2))
    count = draw(st.integers(1, max_episodes))

    def per_episode(strategy: st.SearchStrategy[Any]) -> tuple[Any, ...]:
        return tuple(draw(st.lists(strategy, min_size=count, max_size=count)))

    absent = st.sets(st.integers(1, max(1, n_agents + n_others - 1)), max_size=2).map(sorted).map(tuple)
    return Sizes(
        lengths=per_episode(st.integers(1, max_steps)),
        lifetimes=per_episode(st.tuples(*[st.integers(0, max_steps + 1)] * n_agents)),
        absent=per_episode(absent),
        n_agents=n_agents,
        n_others=n_others,
        truncated=per_episode(st.booleans()),
        seed=draw(st.integers(0, 2**16)),
    )


def random_batch(s: Sizes, partitions: int = 3, dtype: torch.dtype = torch.float64) -> TensorDict:
    """[N, T+2] with garbage after the end of each episode, as nothing may depend on it."""
    g = torch.Generator().manual_seed(s.seed)
    n, steps, e = len(s.lengths), s.spec.max_steps + 2, s.spec.n_entities

    def flags(*shape: int, share: float = 0.6) -> Tensor:
        return torch.rand(*shape, generator=g) < share

    present = torch.ones(n, steps, e, dtype=torch.bool)
    acting = torch.zeros(n, steps, s.n_agents, dtype=torch.bool)
    valid = torch.zeros(n, steps, dtype=torch.bool)
    terminated, truncated = torch.zeros(n, steps, dtype=torch.bool), torch.zeros(n, steps, dtype=torch.bool)
    for k, length in enumerate(s.lengths):
        present[k, :, [slot for slot in s.absent[k] if slot < e]] = False
        valid[k, :length] = True
        (truncated if s.truncated[k] else terminated)[k, length - 1] = True
        for i, lifetime in enumerate(s.lifetimes[k]):
            acting[k, :lifetime, i] = present[k, 0, i]
    for pause in s.pauses:
        acting[pause] = False
    visible = flags(n, steps, s.n_agents, e) & present.unsqueeze(2)
    visible[..., : s.n_agents].diagonal(dim1=-2, dim2=-1).fill_(True)
    visible &= acting.unsqueeze(-1)
    available = flags(n, steps, s.n_agents, s.n_actions)
    available[..., 0] |= ~available.any(-1)
    idle = torch.arange(s.n_actions) == 0
    available = torch.where(acting.unsqueeze(-1), available, idle)
    action = torch.multinomial(available.flatten(0, 2).double(), 1, generator=g).view(n, steps, s.n_agents)
    return TensorDict(
        {
            "entities": torch.randn(n, steps, e, s.n_features, generator=g, dtype=dtype),
            "present": present,
            "agents": {"visible": visible, "action_mask": available, "action": action},
            "reward": torch.randn(n, steps, generator=g, dtype=dtype),
            "terminated": terminated,
            "truncated": truncated,
            "valid": valid,
            "won": torch.zeros(n, dtype=torch.bool),
            "composition": torch.zeros(n, dtype=torch.int64),
            "imaginary_groups": draw_groups(n, partitions, e, g).transpose(0, 1),
        },
        batch_size=[n],
    )


def small_mipi(
    spec: EntitySpec,
    *,
    width: int = 8,
    heads: int = 2,
    hidden: int = 4,
    mixing: int = 3,
    linear: bool = True,
    pool: str = "slots",
    own_entity_only: bool = False,
    network: dict[str, Any] | None = None,
    optimizer: Any = SGD,
    seed: int = 0,
    **options: Any,
) -> MIPI:
    """MIPI with tiny networks; its targets differ from its networks. `network` are options of the agent."""
    network = network or {}
    torch.manual_seed(seed)
    sizes = {"width": width, "hidden": hidden}
    algorithm = MIPI(
        spec,
        agent=partial(EntityAgent, heads=heads, own_entity_only=own_entity_only, **sizes, **network),
        marginal=partial(MarginalPolicy, normalize=network.get("normalize", False), **sizes),
        mixer=partial(AttentionMixer, width=width, heads=heads, mixing=mixing, linear=linear, pool=pool),
        critic_optimizer=optimizer,
        marginal_optimizer=optimizer,
        policy_optimizer=optimizer,
        **{"iterations": 2, **options},
    )
    return _with_other_targets(algorithm)


def small_q(
    spec: EntitySpec,
    kind: str = "refil",
    *,
    width: int = 8,
    heads: int = 2,
    hidden: int = 4,
    mixing: int = 3,
    linear: bool = False,
    pool: str = "slots",
    optimizer: Any = SGD,
    seed: int = 0,
    **options: Any,
) -> QLearning:
    """A value-based learner (refil, aqmix, vdn, collaq) with tiny networks; its targets differ from its networks."""
    torch.manual_seed(seed)
    collaq = kind == "collaq"
    attention = partial(AttentionMixer, width=width, heads=heads, mixing=mixing, linear=linear, pool=pool)
    algorithm = (CollaQ if collaq else QLearning)(
        spec,
        agent=partial(CollaQAgent if collaq else UtilityAgent, width=width, heads=heads, hidden=hidden),
        mixer=SumMixer if kind == "vdn" else attention,
        critic_optimizer=optimizer,
        **({"imaginary_weight": 0.0} if kind in ("aqmix", "vdn") else {}),
        **options,
    )
    return _with_other_targets(algorithm)


Learner = TypeVar("Learner", bound=JointValueAlgorithm)


def _with_other_targets(algorithm: Learner) -> Learner:
    if not algorithm.target_networks:
        return algorithm
    with torch.no_grad():
        for parameter in (*algorithm.target_agent.parameters(), *algorithm.target_mixer.parameters()):
            parameter.add_(0.3 * torch.randn_like(parameter))
    return algorithm


def drive(algorithm: EntityAlgorithm, batches: Sequence[TensorDict]) -> list[dict[str, Tensor]]:
    """Train on each batch without a Trainer; returns what each step logged, without ``train/``."""
    if "optimizers" not in vars(algorithm):
        optimizers = algorithm.configure_optimizers()
        vars(algorithm)["optimizers"] = lambda: optimizers
        vars(algorithm)["manual_backward"] = lambda loss: loss.backward()
    found: list[dict[str, Tensor]] = []
    vars(algorithm)["log_dict"] = lambda logged: found.append(
        {name.removeprefix("train/"): value.detach() for name, value in logged.items()}
    )
    for index, batch in enumerate(batches):
        algorithm.training_step(batch, index)
    return found


def parameters_of(algorithm: EntityAlgorithm, *prefixes: str) -> dict[str, Tensor]:
    """Copies of the trained parameters, by name."""
    return {
        name: value.detach().clone()
        for name, value in algorithm.named_parameters()
        if value.requires_grad and name.startswith(prefixes or ("agent.", "marginal.", "mixer."))
    }


def learn(batch: TensorDict, spec: EntitySpec, **options: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What one update of a small MIPI logs, and its parameters after it."""
    algorithm = small_mipi(spec, **options).double()
    (logged,) = drive(algorithm, [batch])
    return logged, parameters_of(algorithm)
