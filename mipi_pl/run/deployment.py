"""The policy of a run as a program of its own: a function of the observation and the recurrent state.

`Decision` computes what `mipi_pl.actor.Actor` computes, in plain PyTorch, with the state as input and output. It is
exported with `torch.export` (PyTorch's successor of TorchScript, which is deprecated) or as ONNX.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mipi_pl.losses.information import log_policy
from mipi_pl.losses.td import greedy_actions
from mipi_pl.models import fused
from mipi_pl.models.agent import Agent
from mipi_pl.models.targets import Perceived
from mipi_pl.run import own_folder
from mipi_pl.run.changes import parsed_overrides, read_overrides
from mipi_pl.run.loaded_run import LoadedRun, open_checkpoint
from mipi_pl.spec import EntitySpec
from mipi_pl.storage.files import replacing
from mipi_pl.utils.errors import UserError
from mipi_pl.utils.extras import how_to_install

INPUTS = ("entities", "visible", "action_mask", "last_action", "state")
OUTPUTS = ("action", "scores", "new_state")
METADATA = "mipi.json"
"""Extra file of a .pt2, and metadata key of an ONNX model: names, sizes and meaning of inputs and outputs."""

_CHANGES = "a program is changed only by arguments of the environment that change its sizes, such as env.capacity=12"
_ONNX = ("onnx", "onnxscript")
_UNAVAILABLE = -1e9


class Decision(nn.Module):
    """One greedy decision of a team, for B environments.

    Args:
        agent: networks of the policy.
        spec: sizes of the environment; the exported program has these numbers of agent and entity slots.

    Raises:
        UserError: if the trunk of the agent, a class of the user's own, has no method ``step``.
    """

    kinds: Tensor

    def __init__(self, agent: Agent, spec: EntitySpec) -> None:
        super().__init__()
        if not hasattr(agent.trunk, "step"):
            raise UserError(
                f"{type(agent.trunk).__name__} cannot be exported: it has no method step, see "
                "mipi_pl.models.trunk.Trunk.step"
            )
        self.agent, self.n_entities = agent, spec.n_entities
        self.register_buffer("kinds", agent.kinds.of_actions(spec.n_agents, spec.n_entities))

    def forward(
        self, entities: Tensor, visible: Tensor, action_mask: Tensor, last_action: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decide.

        Args:
            entities: float32 [B, E, F], features of the entities, the agents first.
            visible: bool [B, A, E], which entities each agent sees; an agent that acts sees itself.
            action_mask: bool [B, A, U], which actions are available.
            last_action: int64 [B, A], actions of the previous step; U at the start of an episode.
            state: float32 [B, A, H], `new_state` of the previous step; zeros at the start of an episode.

        Returns:
            Actions int64 [B, A]; scores float32 [B, A, U]: log-probabilities of the actions, or utilities of a policy
            that maximizes them, and -1e9 for unavailable actions; and the recurrent states [B, A, H].
        """
        seen, after = self._perceive(entities, visible, last_action, state)
        if self.agent.policy_logits is not None:
            scores = log_policy(self.agent.policy_logits(seen), action_mask)
            action = scores.exp().argmax(dim=-1)
        else:
            utilities = self.agent.utilities(seen)
            action = greedy_actions(utilities, action_mask)
            scores = utilities.masked_fill(~action_mask, _UNAVAILABLE)
        return action, scores, after

    def _perceive(
        self, entities: Tensor, visible: Tensor, last_action: Tensor, state: Tensor
    ) -> tuple[Perceived, Tensor]:
        n_kinds, n_agents = self.agent.kinds.n_kinds, visible.shape[1]
        kinds = torch.arange(n_kinds, device=entities.device)
        of_agents = (self.kinds[last_action].unsqueeze(-1) == kinds).to(entities.dtype)  # zeros before the first action
        of_entities = nn.functional.pad(of_agents, (0, 0, 0, self.n_entities - n_agents))
        inputs = torch.cat((entities, of_entities), dim=-1)
        perceived: tuple[Perceived, Tensor] = self.agent.trunk.step(inputs, visible, state)  # type: ignore[operator]
        return perceived


def example(spec: EntitySpec, hidden: int, count: int = 2) -> tuple[Tensor, ...]:
    """Return inputs of a decision in `count` environments, in which no agent has acted yet."""
    a, e = spec.n_agents, spec.n_entities
    return (
        torch.zeros(count, e, spec.n_features),
        torch.ones(count, a, e, dtype=torch.bool),
        torch.ones(count, a, spec.n_actions, dtype=torch.bool),
        torch.full((count, a), spec.n_actions),
        torch.zeros(count, a, hidden),
    )


def export(checkpoint: Path, target: Path, overrides: Sequence[str] = ()) -> None:
    """Export the policy of a checkpoint.

    Args:
        checkpoint: file written by `mipi train` or `mipi export`.
        target: file to write; its suffix is the format, ``.pt2`` or ``.onnx``.
        overrides: changes of the environment, such as ``env.capacity=12`` for a program with more agent slots; and
            ``--config-dir FOLDER``.

    Raises:
        UserError: if the checkpoint cannot be used, its agent cannot be exported, an override has no effect on the
            program, or a package is missing.
        OSError: if the file cannot be written.
    """
    if target.suffix == ".onnx" and (missing := [name for name in _ONNX if find_spec(name) is None]):
        raise UserError(f"ONNX needs {' and '.join(missing)}: {how_to_install('onnx')}, or use --format pt2")
    config_dir, changes = own_folder.split(overrides)
    _refuse_others(changes)
    loaded = open_checkpoint(checkpoint, [*own_folder.as_flag(config_dir), *changes])
    spec = loaded.spec
    _refuse_without_effect(changes, loaded, spec)
    decision = Decision(loaded.algorithm.agent, spec).eval().requires_grad_(False)
    about = json.dumps(_about(decision, spec, loaded.record), indent=2)
    was_enabled = fused.enabled()
    fused.enable(False)
    try:
        content = (_as_onnx if target.suffix == ".onnx" else _as_pt2)(decision, spec, about)
    finally:
        fused.enable(was_enabled)
    with replacing(target) as unfinished:
        unfinished.write_bytes(content)


def _refuse_others(changes: Sequence[str]) -> None:
    """Raise a UserError if an override is for playing: it is neither `threads` nor an argument of the environment.

    The teams are such an argument, but no part of the program.
    """
    parsed = parsed_overrides(changes)
    of_env = [
        str(change.input_line) for change in parsed if change.key_or_group.partition(".")[0] in ("env", "threads")
    ]
    others = [change for change in changes if change not in of_env]
    if "team_sizes" in read_overrides(of_env, {})["env"]:
        others.append("env.team_sizes")
    if others:
        raise UserError(f"{_CHANGES}; {' '.join(others)} has no effect")


def _refuse_without_effect(changes: Sequence[str], loaded: LoadedRun, spec: EntitySpec) -> None:
    """Raise a UserError if changes of the environment leave the program as it is."""
    if loaded.plan.changes and _program_sizes(spec) == _program_sizes(loaded.algorithm.spec):
        raise UserError(f"{_CHANGES}; {' '.join(changes)} has no effect")


def _program_sizes(spec: EntitySpec) -> dict[str, int]:
    return {"A": spec.n_agents, "E": spec.n_entities, "F": spec.n_features, "U": spec.n_actions}


def _about(decision: Decision, spec: EntitySpec, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a program that runs the policy must know."""
    return {
        "run": record["config"]["run"]["name"],
        "frames": record["frames"],
        "commit": record["commit"],
        "inputs": INPUTS,
        "outputs": OUTPUTS,
        "sizes": {**_program_sizes(spec), "H": decision.agent.hidden},
        "scores": "log-probabilities" if decision.agent.policy_logits is not None else "utilities",
        "feature_names": spec.feature_names,
        "action_names": spec.action_names,
    }


def _any_batch() -> dict[str, Any]:
    """Return that the first axis of every input, the number of environments, may have any size."""
    batch = torch.export.Dim("B", min=1)
    return {name: {0: batch} for name in INPUTS}


def _as_pt2(decision: Decision, spec: EntitySpec, about: str) -> bytes:
    program = torch.export.export(
        decision,
        example(spec, decision.agent.hidden),
        dynamic_shapes=_any_batch(),
        strict=False,
    )
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={METADATA: about})
    return content.getvalue()


def _as_onnx(decision: Decision, spec: EntitySpec, about: str) -> bytes:
    program = torch.onnx.export(
        decision,
        example(spec, decision.agent.hidden),
        input_names=INPUTS,
        output_names=OUTPUTS,
        dynamic_shapes=_any_batch(),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props[METADATA] = about
    serialized: bytes = program.model_proto.SerializeToString()
    return serialized
