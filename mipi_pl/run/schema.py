"""Keys and types of a resolved train.yaml and of its nodes held_out, network and run."""

from __future__ import annotations

from typing import Any, TypedDict

Node = dict[str, Any]
"""A node with a ``_target_``, or a mapping of such nodes."""


class HeldOut(TypedDict):
    """Evaluations in addition to the training teams.

    Attributes:
        team_sizes: held-out team sizes; each is one evaluation.
        worlds: further evaluations: name to the environment arguments that differ from training.
        episodes: greedy episodes per evaluation, at the start and at the end of training.
        seed: seed of the evaluation environments, independent of the training seed, so that runs are compared on equal
            teams.
        baselines: scripted policies that play the same episodes; None uses all that the environment has.
    """

    team_sizes: list[int]
    worlds: dict[str, dict[str, Any]]
    episodes: int
    seed: int
    baselines: list[str] | None


class Evaluation(TypedDict):
    """A resolved eval.yaml with the overrides of `mipi eval`; None: as in the run.

    Attributes:
        seed: seed of the evaluation environments.
        output_dir: parent of the result folder.
        threads: processor threads.
        held_out: entries of `HeldOut`, each of which may be None.
        env: changed arguments of the environment.
    """

    seed: int | None
    output_dir: str | None
    threads: int | None
    held_out: dict[str, Any]
    env: dict[str, Any]


class MixerNetwork(TypedDict):
    """Settings shared by all mixers with attention.

    Attributes:
        width: width of the entity embedding and of attention.
        heads: number of attention heads.
        mixing: number of mixing units.
        pool: entities that the weights are pooled over: ``slots`` or ``present``.
    """

    width: int
    heads: int
    mixing: int
    pool: str


class Network(TypedDict):
    """Settings shared by all agent networks; algorithms, mixers and environments refer to them.

    Attributes:
        width: width of the entity embedding and of attention.
        heads: number of attention heads.
        hidden: size of the recurrent state.
        own_path: whether the recurrence also takes a linear map of the agent's own entity, in addition to attention.
        pair_units: hidden units of the pair scores of target actions; 0 disables pair scores.
        normalize: whether LayerNorm follows attention and recurrence.
        target_actions: how target actions of battles name their target: ``slots`` or ``tags``.
        mixer: settings of the mixer, for algorithms that have one.
    """

    width: int
    heads: int
    hidden: int
    own_path: bool
    pair_units: int
    normalize: bool
    target_actions: str
    mixer: MixerNetwork


class RunNames(TypedDict):
    """Names and folder of a run; the names are those of the chosen config files.

    Attributes:
        environment: name of the environment.
        algorithm: name of the algorithm.
        experiment: name of the experiment, if one was chosen.
        overrides: overrides of this run, from the command line or from Python.
        changes: what else the command line changed, such as ``alpha=0.02``; empty if nothing.
        setting: environment, algorithm, experiment and changes: everything but the seed.
        name: name of the run, and of the parent of its folder.
        folder: parent of the run folder; the run folder itself once the run has started.
    """

    environment: str
    algorithm: str
    experiment: str | None
    overrides: list[str]
    changes: str
    setting: str
    name: str
    folder: str


class Config(TypedDict):
    """A resolved train.yaml: plain containers, numbers, strings and None, which a checkpoint can store."""

    seed: int
    total_frames: int
    output_dir: str
    config_dir: str | None
    threads: int | None
    lost_after_s: float
    fused: bool
    held_out: HeldOut
    run: RunNames
    network: Network
    env: Node
    algorithm: Node
    datamodule: Node
    callbacks: Node
    trainer: Node
    logger: Node
    picture: Node
