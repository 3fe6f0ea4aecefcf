"""Bit-for-bit reproducibility over threads, neighbours, resets, restored states, compilation and versions."""

from __future__ import annotations

import hashlib
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
from mipi_pl.envs.battle.env import BattleEnv
from mipi_pl.envs.battle.scripted import make_scripted

Make = Callable[..., BattleEnv]
GOLDEN = Path(__file__).parents[2] / "golden" / "battle.json"
GOLDEN_STEPS = 200


def trace(env: BattleEnv, steps: int, policy: str = "attack_nearest") -> list[TensorDict]:
    """Observations of a run with automatic resets; rows of neighbours can be cut off afterwards."""
    player = make_scripted(policy, env, seed=7)
    td, found = env.reset(), []
    for _ in range(steps):
        td, after = env.step_and_maybe_reset(player(td))
        found.append(td["next"].clone())
        td = after
    return found


def equal(one: list[TensorDict], two: list[TensorDict], rows: int) -> bool:
    """Whether the first rows are the same in every bit."""
    return all((a[:rows] == b[:rows]).all() for a, b in zip(one, two, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sz", "mmm"])
def test_threads_and_neighbours_change_nothing(make_battle: Make, family: str) -> None:
    alone = trace(make_battle(family, num_envs=2, seed=11, episode_limit=20), 50)
    crowd = trace(make_battle(family, num_envs=9, seed=11, episode_limit=20), 50)
    assert equal(alone, crowd, 2)
    before = numba.get_num_threads()  # 1 after a run with a single thread in this process
    for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        numba.set_num_threads(threads)
        assert equal(crowd, trace(make_battle(family, num_envs=9, seed=11, episode_limit=20, parallel=True), 50), 9)
    numba.set_num_threads(before)


def test_another_seed_is_another_battle(make_battle: Make) -> None:
    one, two = (make_battle("sz", seed=seed).reset()[keys.ENTITIES] for seed in (1, 2))
    assert not torch.equal(one, two)


def test_a_partial_reset_leaves_the_others_alone(make_battle: Make) -> None:
    env = make_battle("mmm", num_envs=3, seed=4)
    td = trace(env, 5)[-1]
    before = td.clone()
    units = env.units.copy()
    rows = torch.tensor([[False], [True], [False]])
    after = env.reset(before.exclude(keys.REWARD).set("_reset", rows))
    assert after[keys.IS_INIT].flatten().tolist() == [False, True, False]
    for row in (0, 2):
        assert (env.units[row] == units[row]).all()
        assert torch.equal(after[keys.ENTITIES][row], td[keys.ENTITIES][row])
    assert (env.units[1]["health"] == env.units[1]["health_max"])[env.units[1]["kind"] >= 0].all()
    assert env.battles["steps"].tolist() == [5, 0, 5]


def test_a_restored_battle_goes_on_the_same_way(make_battle: Make, tmp_path: Path) -> None:
    env = make_battle("sz", num_envs=3, seed=4, episode_limit=15)
    trace(env, 7)
    torch.save(env.state_dict(), tmp_path / "state.pt")
    expected = trace_on(env, 30)
    other = make_battle("sz", num_envs=3, seed=99, episode_limit=15)
    other.reset()
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert equal(expected, trace_on(other, 30), 3)
    with pytest.raises(ValueError, match="same num_envs and scenario"):
        make_battle("sz", num_envs=2).load_state_dict(env.state_dict())


def trace_on(env: BattleEnv, steps: int) -> list[TensorDict]:
    """Like `trace`, from where the battles stand."""
    player = make_scripted("attack_nearest", env)
    found = []
    td = TensorDict({keys.DONE: torch.zeros(env.num_envs, 1, dtype=torch.bool)}, batch_size=[env.num_envs])
    for _ in range(steps):
        td, after = env.step_and_maybe_reset(player(td))
        found.append(td["next"].clone())
        td = after
    return found


PLAIN_RUN = """
import sys, warnings
import numpy as np
warnings.simplefilter("ignore", RuntimeWarning)  # the generator's integers wrap around, as they must
from mipi_pl.envs.battle.env import BattleEnv
from mipi_pl.envs.battle.scripted import make_scripted
from tensordict import TensorDict
groups = [{"types": ["stalker", "zealot", "marine"], "min": 2, "max": 3}, {"types": ["colossus"], "min": 1, "max": 1},
          {"types": ["medivac"], "min": 1, "max": 1}]
env = BattleEnv(groups, [4, 5], 5, num_envs=2, seed=3, parallel=False, spawn_distance=9.0, loops_per_step=6)
player = make_scripted("focus_fire", env, 1)
td = env.reset()
steps = []
for _ in range(10):
    td = env.step(player(td))["next"]
    steps.append(np.concatenate([td["entities"].numpy().ravel(), td["reward"].numpy().ravel(), env.units["x"].ravel()]))
np.save(sys.argv[1], np.stack(steps))
"""


@pytest.mark.slow
def test_compiled_and_plain_python_play_the_same_battle(tmp_path: Path) -> None:
    for name, plain in (("compiled.npy", "0"), ("plain.npy", "1")):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": plain}
        subprocess.run([sys.executable, "-c", PLAIN_RUN, str(tmp_path / name)], check=True, env=environment)
    compiled, plain_python = np.load(tmp_path / "compiled.npy"), np.load(tmp_path / "plain.npy")
    assert (compiled == plain_python).all()
    assert (compiled[-1] != compiled[0]).any()


def test_golden_battle(make_battle: Make, request: pytest.FixtureRequest) -> None:
    """200 steps with every unit type; rewards and a digest of positions and health rounded to 1e-4."""
    found: dict[str, dict[str, object]] = {}
    for family in ("csz", "mmm"):
        env = make_battle(family, num_envs=2, seed=2024)
        steps = trace(env, GOLDEN_STEPS, "focus_fire")
        rounded = np.stack([np.round(s[keys.ENTITIES].numpy(), 4) + 0.0 for s in steps])
        found[family] = {
            "return": [round(float(r), 4) for r in torch.stack([s[keys.REWARD] for s in steps]).sum(0).flatten()],
            "ends": [int(t) for t in torch.stack([s[keys.DONE] for s in steps]).any(-1).any(-1).nonzero().flatten()],
            "digest": hashlib.sha256(rounded.astype("<f4").tobytes()).hexdigest(),
        }
    if request.config.getoption("--golden-update"):
        GOLDEN.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    assert found == json.loads(GOLDEN.read_text(encoding="utf-8")), "make golden rewrites it after an intended change"
