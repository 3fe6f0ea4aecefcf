"""An exported policy is a function of observation and state that plays as the policy does."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDictBase
from torch import Tensor

import mipi_pl
from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.cli import main
from mipi_pl.envs.base import EntityEnv
from mipi_pl.models import fused
from mipi_pl.run import deployment
from mipi_pl.run.build import build
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve
from mipi_pl.run.deployment import INPUTS, METADATA, OUTPUTS, Decision, example
from mipi_pl.spec import EntitySpec

LIMIT = 10
Program = Callable[..., tuple[Tensor, ...]]


def env_of(num_envs: int = 3, **arguments: Any) -> EntityEnv:
    return mipi_pl.make_env("sz", num_envs=num_envs, seed=4, episode_limit=LIMIT, **arguments)


def plays_like(program: Program, actor: Callable[[TensorDictBase], TensorDictBase], env: EntityEnv, hidden: int) -> int:
    """Play episodes with the policy and compare the program's actions; the number of choices that were compared."""
    td, spec, compared = env.reset(), env.entity_spec, 0
    *_, last_action, state = example(spec, hidden, env.num_envs)
    for _ in range(LIMIT):
        seen = (td["entities"], td["agents", "visible"], td["agents", "action_mask"])
        action, scores, state = program(*seen, last_action, state)
        td = actor(td)
        last_action = td["agents", "action"]
        assert torch.equal(action, last_action)
        torch.testing.assert_close(state, actor._state, rtol=1e-4, atol=1e-5)  # type: ignore[attr-defined]
        assert torch.equal(scores > -1e8, seen[2])
        compared += int((seen[2].sum(dim=-1) > 1).sum())
        td = env.step(td)["next"]
    return compared


def learner(algorithm: str, spec: EntitySpec, *overrides: str) -> EntityAlgorithm:
    torch.manual_seed(3)
    config = resolve(compose(["env=sz", f"algorithm={algorithm}", "network.hidden=16", "network.width=16", *overrides]))
    made: EntityAlgorithm = build("algorithm", config["algorithm"], spec=spec)
    return made.eval()


@pytest.mark.parametrize(
    ("algorithm", "overrides"),
    [
        ("mipi", []),
        ("refil", ["network=refil", "network.width=16"]),
        ("collaq", []),
        ("alpha_infinity", []),
    ],
)
def test_every_kind_of_agent_decides_alike_in_plain_pytorch(algorithm: str, overrides: list[str]) -> None:
    env = env_of()
    made = learner(algorithm, env.entity_spec, *overrides)
    decision = Decision(made.agent, env.entity_spec)
    with torch.no_grad():
        assert plays_like(decision, made.actor(greedy=True), env, made.agent.hidden) > 50


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "policy.pt2"
    assert main(["export", "quickstart", "--output", str(path)]) == 0
    assert fused.enabled()
    return path


def test_a_torch_export_program_plays_as_the_policy(exported: Path) -> None:
    extra = {METADATA: ""}
    loaded = torch.export.load(io.BytesIO(exported.read_bytes()), extra_files=extra)
    about = json.loads(extra[METADATA])
    assert (tuple(about["inputs"]), tuple(about["outputs"])) == (INPUTS, OUTPUTS)
    program, actor = loaded.module(), mipi_pl.load_policy("quickstart").actor
    for num_envs in (3, 1):
        assert plays_like(program, actor, env_of(num_envs), about["sizes"]["H"]) > 20


def test_the_code_of_the_document_plays_as_the_policy(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(exported.parent)
    document = Path(__file__).parents[2] / "docs" / "python.md"
    blocks = re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = (block for block in blocks if exported.name in block)
    names: dict[str, Any] = {}
    exec(compile(code, "document", "exec"), names)
    env, actor = env_of(1), mipi_pl.load_policy("quickstart").actor
    td, n_actions = env.reset(), env.entity_spec.n_actions
    for _ in range(LIMIT):
        action = names["decide"](td["entities"], td["agents", "visible"], td["agents", "action_mask"])
        td = actor(td)
        assert torch.equal(action, td["agents", "action"])
        td = env.step(td)["next"]
    assert names["sizes"]["U"] == n_actions


@pytest.mark.parametrize("slots", [10, 5])
def test_a_program_may_have_more_or_fewer_slots_than_training_had(slots: int, tmp_path: Path) -> None:
    path = tmp_path / "policy.pt2"
    assert main(["export", "quickstart", "--format", "pt2", "--output", str(path), f"env.capacity={slots}"]) == 0
    program = torch.export.load(io.BytesIO(path.read_bytes())).module()
    actor = mipi_pl.load_policy("quickstart").actor
    assert plays_like(program, actor, env_of(2, capacity=slots, team_sizes=[slots]), actor.agent.hidden) > 20


def test_an_onnx_model_plays_as_the_policy(tmp_path: Path) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    import onnxruntime

    path = tmp_path / "policy.onnx"
    assert main(["export", "quickstart", "--format", "onnx", "--output", str(path)]) == 0
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])

    def program(*inputs: Tensor) -> tuple[Tensor, ...]:
        named = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in zip(INPUTS, inputs, strict=True)}
        return tuple(torch.from_numpy(array) for array in session.run(list(OUTPUTS), named))

    actor = mipi_pl.load_policy("quickstart").actor
    for num_envs in (3, 1):
        assert plays_like(program, actor, env_of(num_envs), about["sizes"]["H"]) > 20


def test_what_cannot_be_exported_says_why(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deployment, "find_spec", lambda _: None)
    for words, told in (
        (["--output", str(exported)], "exists already"),
        (["--format", "pt2", "--output", str(tmp_path / "policy.zip")], "must end in .pt2"),
        (["--output", str(tmp_path / "policy.onnx")], "pip install 'mipi-pl[onnx]'"),
        (["--output", str(tmp_path / "p.safetensors"), "env.capacity=9"], "overrides are for --format pt2 and onnx"),
        (["--output", str(tmp_path / "p.pt2"), "env.capasity=9"], "did you mean env.capacity"),
        (["--output", str(tmp_path / "p.safetensors"), "--config-dir", "/nowhere"], "must be an existing folder"),
        (["--output", str(tmp_path / "p.pt2"), "--config-dir", "/nowhere"], "must be an existing folder"),
    ):
        assert main(["export", "quickstart", *words]) == 2
        assert told in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (["output_dir=x", "seed=3", "env.capacity=10"], "output_dir=x seed=3"),
        (["seed=3", "env.team_sizes=[6]"], "seed=3 env.team_sizes"),
        (["held_out.episodes=3"], "held_out.episodes=3"),
        (["env.capacity=10", "env.team_sizes=[10]"], "env.team_sizes"),
        (["env={team_sizes: [10]}"], "env.team_sizes"),
        (["env.episode_limit=7"], "env.episode_limit=7"),
    ],
)
def test_overrides_that_do_not_change_the_program_are_refused(
    words: list[str], refused: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "quickstart", "--output", str(tmp_path / "p.pt2"), *words]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "only by arguments of the environment that change its sizes, such as env.capacity=12;" in line
    assert line.endswith(f"; {refused} has no effect")
    assert list(tmp_path.iterdir()) == []


def test_an_override_that_repeats_the_training_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "p.pt2"
    assert main(["export", "quickstart", "--output", str(path), "env.capacity=8"]) == 0
    assert path.is_file()
