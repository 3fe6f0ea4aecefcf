"""Bit-for-bit reproducibility over threads, neighbours, resets, restored states, compilation and versions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from tensordict import TensorDict

from mipi_pl import spec as keys
from mipi_pl.envs.resource.env import ResourceCollection

Make = Callable[..., ResourceCollection]
GOLDEN = Path(__file__).parents[2] / "golden" / "resource.json"
GOLDEN_STEPS = 200


def trace(env: ResourceCollection, steps: int, reset: bool = True) -> list[TensorDict]:
    """Observations of the expert with automatic resets; without `reset`, from where the episodes stand."""
    expert = env.scripted_policy("expert")
    standing = TensorDict({keys.DONE: torch.zeros(env.num_envs, 1, dtype=torch.bool)}, batch_size=[env.num_envs])
    td, found = env.reset() if reset else standing, []
    for _ in range(steps):
        td, after = env.step_and_maybe_reset(expert(td))
        found.append(td["next"].clone())
        td = after
    return found


def equal(one: list[TensorDict], two: list[TensorDict], rows: int) -> bool:
    """Whether the first rows are the same in every bit."""
    return all((a[:rows] == b[:rows]).all() for a, b in zip(one, two, strict=True))


def test_threads_and_neighbours_change_nothing(make_world: Make) -> None:
    alone = trace(make_world(num_envs=2, seed=11, episode_limit=30), 70)
    crowd = trace(make_world(num_envs=9, seed=11, episode_limit=30), 70)
    assert equal(alone, crowd, 2)
    before = numba.get_num_threads()  # 1 after a run with a single thread in this process
    for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        numba.set_num_threads(threads)
        assert equal(crowd, trace(make_world(num_envs=9, seed=11, episode_limit=30, parallel=True), 70), 9)
    numba.set_num_threads(before)


def test_another_seed_is_another_episode(make_world: Make) -> None:
    one, two = (make_world(seed=seed).reset()[keys.ENTITIES] for seed in (1, 2))
    assert not torch.equal(one, two)


def test_a_partial_reset_leaves_the_others_alone(make_world: Make) -> None:
    env = make_world(seed=4)
    td = trace(env, 5)[-1]
    before = {name: array.copy() for name, array in env.state._asdict().items()}
    rows = torch.tensor([[False], [True], [False]])
    after = env.reset(td.clone().exclude(keys.REWARD).set("_reset", rows))
    assert after[keys.IS_INIT].flatten().tolist() == [False, True, False]
    for row in (0, 2):
        assert all((array[row] == before[name][row]).all() for name, array in env.state._asdict().items())
        assert torch.equal(after[keys.ENTITIES][row], td[keys.ENTITIES][row])
    assert env.state.episodes["steps"].tolist() == [5, 0, 5]


def test_a_restored_episode_goes_on_the_same_way(make_world: Make, tmp_path: Path) -> None:
    env = make_world(seed=4, episode_limit=40)
    trace(env, 27)
    torch.save(env.state_dict(), tmp_path / "state.pt")
    expected = trace(env, 60, reset=False)
    other = make_world(seed=99, episode_limit=40)
    other.reset()
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert equal(expected, trace(other, 60, reset=False), 3)
    with pytest.raises(ValueError, match="same num_envs and scenario"):
        make_world(num_envs=2).load_state_dict(env.state_dict())


PLAIN_RUN = """
import sys, warnings
import numpy as np
warnings.simplefilter("ignore", RuntimeWarning)  # the generator's integers wrap around, as they must
from mipi_pl.envs.resource.env import ResourceCollection
env = ResourceCollection([5], 6, num_envs=2, seed=3, parallel=False)
expert = env.scripted_policy("expert")
td, steps = env.reset(), []
for _ in range(60):
    td = env.step(expert(td))["next"]
    seen = [td[name].numpy().ravel() for name in ("entities", "reward")]
    steps.append(np.concatenate([*seen, env.state.agents["x"].ravel()]))
"""


def test_compiled_and_plain_python_play_the_same_episode(tmp_path: Path) -> None:
    plain = f"{PLAIN_RUN}np.save(sys.argv[1], np.stack(steps))"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", plain, str(tmp_path / "plain.npy")], check=True, env=environment)
    here: dict[str, list[np.ndarray]] = {}
    exec(PLAIN_RUN, here)
    assert (np.stack(here["steps"]) == np.load(tmp_path / "plain.npy")).all()


def test_golden_resource_collection(make_world: Make, request: pytest.FixtureRequest) -> None:
    """200 steps of the expert: all rewards, and every tenth step the agents' places."""
    env = make_world([3, 5, 8], num_envs=3, seed=2024)
    steps = trace(env, GOLDEN_STEPS)
    rewards = torch.stack([s[keys.REWARD].squeeze(-1) for s in steps], 1)
    places = torch.stack([s[keys.ENTITIES][:, :8, 6:8] for s in steps[9::10]], 1)
    found = {
        "return": [round(float(r), 4) for r in rewards.sum(1)],
        "paid": [[[t, round(float(r), 4)] for t, r in enumerate(row) if r] for row in rewards],
        "places": [[[round(float(v), 3) + 0.0 for v in step.flatten()] for step in row] for row in places],
    }
    if request.config.getoption("--golden-update"):
        GOLDEN.write_text(json.dumps(found) + "\n", encoding="utf-8")
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    message = "make golden rewrites it after an intended change"
    assert found["paid"] == golden["paid"], message
    np.testing.assert_allclose(found["places"], golden["places"], atol=2e-3, err_msg=message)
    assert found["return"] == golden["return"], message
