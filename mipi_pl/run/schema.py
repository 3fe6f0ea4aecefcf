"""The keys of train.yaml, of its held_out and of its network, with their types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class HeldOut:
    """What is evaluated besides the training teams; one evaluation each.

    Attributes:
        team_sizes: team sizes, each evaluated on its own.
        worlds: further evaluations: a name to the environment arguments that differ from training.
        episodes: greedy episodes per evaluation, at the start and at the end of training.
        seed: of the evaluation environments; apart from the training seed, so that runs are compared on equal teams.
        baselines: scripted policies to play the same episodes; None takes all that the environment has.
    """

    team_sizes: list[int]
    worlds: dict[str, dict[str, Any]]
    episodes: int
    seed: int
    baselines: list[str] | None


@dataclass
class MixerNetwork:
    """What mixers with attention have in common.

    Attributes:
        width: embedding of entities and attention.
        heads: attention heads.
        mixing: mixing units.
        pool: entities that weights are pooled over: ``slots`` or ``present``.
    """

    width: int
    heads: int
    mixing: int
    pool: str


@dataclass
class Network:
    """What the networks of all agents have in common; algorithms, mixers and environments refer to it.

    Attributes:
        width: embedding of entities and attention.
        heads: attention heads.
        hidden: recurrent state.
        own_path: whether the recurrence takes a linear map of the agent's own entity beside the attention.
        pair_units: units of the pair scores of target actions; 0 for none.
        normalize: LayerNorm after attention and recurrence.
        target_actions: of battles: ``slots`` or ``tags``.
        mixer: of the mixer, where there is one.
    """

    width: int
    heads: int
    hidden: int
    own_path: bool
    pair_units: int
    normalize: bool
    target_actions: str
    mixer: MixerNetwork


@dataclass
class Train:
    """The top level of train.yaml. Fields that are a `dict` hold nodes with a ``_target_``."""

    seed: int
    total_frames: int
    output_dir: str
    config_dir: str | None
    threads: int | None
    fused: bool
    held_out: HeldOut
    run: dict[str, Any]
    network: Network
    env: dict[str, Any]
    algorithm: dict[str, Any]
    datamodule: dict[str, Any]
    callbacks: dict[str, Any]
    trainer: dict[str, Any]
    logger: dict[str, Any]
    picture: dict[str, Any]
