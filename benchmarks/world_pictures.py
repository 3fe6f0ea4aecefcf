"""Draws docs/battle.png and docs/resource.png: an episode of each world at six moments, with a legend.

python benchmarks/world_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mipi_pl.envs.picture import draw, draw_legend
from mipi_pl.envs.scene import Scene, view_of
from mipi_pl.run.build import environment_factory
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve

DOCS = Path(__file__).resolve().parents[1] / "docs"
MOMENTS, COLUMNS, SIZE, GAP = 6, 3, 400, 8


def scenes_of(name: str, policy: str, steps: int | None = None, seed: int = 0, **options: object) -> list[Scene]:
    """Play an episode, or its first `steps`, with a scripted policy; return the scene of each step, the start first."""
    config = resolve(compose([f"env={name}"]))["env"] | options
    env = environment_factory(config)(num_envs=1, seed=seed)
    player, td = env.scripted_policy(policy), env.reset()
    scenes = [env.scene(0)]
    while not td.get("done").any() and len(scenes) != (steps or -1) + 1:
        td = env.step(player(td))["next"]
        scenes.append(env.scene(0))
    env.close()
    return scenes


def tiled(pictures: list[np.ndarray]) -> np.ndarray:
    """Return pictures of equal size in rows, with gaps."""
    height, width, _ = pictures[0].shape
    rows = -(-len(pictures) // COLUMNS)
    canvas = np.full((rows * (height + GAP) - GAP, COLUMNS * (width + GAP) - GAP, 3), 255, np.uint8)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, COLUMNS)
        top, left = row * (height + GAP), column * (width + GAP)
        canvas[top : top + height, left : left + width] = picture
    return canvas


def save(name: str, scenes: list[Scene]) -> None:
    """Draw six moments of an episode, from its first scene to its last."""
    steps = np.linspace(0, len(scenes) - 1, MOMENTS).round().astype(int).tolist()
    view = view_of(scenes)
    pictures = tiled([draw(scenes[step], f"step {step}", view, SIZE) for step in steps])
    legend = draw_legend(scenes[0], pictures.shape[1])
    Image.fromarray(np.concatenate([pictures, legend])).quantize(128).save(DOCS / name, optimize=True)
    print(f"{name}: steps {steps}, {scenes[-1].outcome}")


def main() -> None:
    """Draw the pictures."""
    save("battle.png", scenes_of("csz", "attack_nearest", mixes=[{"stalker": 3, "zealot": 3, "colossus": 2}]))
    save("resource.png", scenes_of("resource_collection", "expert", steps=60, seed=4, team_sizes=[3]))


if __name__ == "__main__":
    main()
