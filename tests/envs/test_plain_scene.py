"""A world without a method `scene` is drawn from the positions that its spec names, also as its team changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mipi_pl.envs.composition import Composition
from mipi_pl.envs.scene import AGENTS, THINGS
from mipi_pl.envs.stepped import SteppedEnv, View
from mipi_pl.evaluation.page import write_page
from mipi_pl.evaluation.recording import record
from mipi_pl.spec import EntitySpec


class Walk:
    """Agent 0 walks east; agent 1 is there until step 2, agent 2 from step 2 on; the only other entity stands still."""

    def reset(self, composition: int, seed: int) -> View:
        self.t = 0
        return self.view()

    def step(self, action: np.ndarray) -> View:
        self.t += 1
        return self.view()

    def view(self) -> View:
        entities = np.array([[self.t, 0, 7], [1, 1, 7], [2, 2, 7], [4, 5, 7]], dtype=np.float32)
        present = np.array([True, self.t < 2, self.t >= 2, True])
        return View(entities, present, terminated=self.t == 3)


def walk(*names: str) -> SteppedEnv:
    spec = EntitySpec(3, 4, n_features=3, n_actions=2, max_steps=5, feature_names=names)
    return SteppedEnv(spec, [Composition((("walker", 2),))], Walk, num_envs=1)


def test_positions_that_the_spec_names_are_drawn() -> None:
    env = walk("x", "y", "hunger")
    env.reset()
    bodies = env.scene(0).bodies
    assert [(b.slot, b.side, b.x, b.y, b.here) for b in bodies] == [
        (0, AGENTS, 0.0, 0.0, True),
        (1, AGENTS, 1.0, 1.0, True),
        (3, THINGS, 4.0, 5.0, True),
    ]


@pytest.mark.parametrize("names", [(), ("a", "b", "c")])
def test_without_names_of_positions_it_is_said_what_to_add(names: tuple[str, ...]) -> None:
    env = walk(*names)
    env.reset()
    with pytest.raises(NotImplementedError, match=r"name two features of its EntitySpec x and y \(feature_names\)"):
        env.scene(0)


def test_agents_that_appear_and_leave_are_part_of_the_whole_recording(tmp_path: Path) -> None:
    env = walk("x", "y", "hunger")
    (recording,) = record(env, env.rand_action, "random")
    assert [[b.slot for b in scene.bodies] for scene in recording.scenes] == [[0, 1, 2, 3]] * 4
    assert [[b.here for b in scene.bodies[1:3]] for scene in recording.scenes] == [[True, False]] * 2 + [
        [False, True]
    ] * 2
    assert len({scene.size for scene in recording.scenes}) == 1
    assert all(picture.std() > 0 for picture in recording.pictures(size=120))
    write_page(tmp_path / "watch.html", "walk", "", {"1": [recording]})
