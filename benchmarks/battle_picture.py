"""Draws docs/battle.png: a battle of Stalkers, Zealots and Colossi at six moments, with a legend.

python benchmarks/battle_picture.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mipi_pl.envs.battle.scripted import make_scripted
from mipi_pl.envs.picture import draw, draw_legend
from mipi_pl.envs.scene import Scene, view_of
from mipi_pl.run.build import environment_factory
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "battle.png"
MIX = {"stalker": 3, "zealot": 3, "colossus": 2}
MOMENTS, COLUMNS, SIZE, GAP = 6, 3, 400, 8


def scenes_of_battle() -> list[Scene]:
    """Play a battle with `attack_nearest` and return the scene of each step, the start first."""
    config = resolve(compose(["env=csz"]))["env"] | {"mixes": [MIX]}
    env = environment_factory(config)(num_envs=1, seed=0)
    player, td = make_scripted("attack_nearest", env), env.reset()
    scenes = [env.scene(0)]
    while not td.get("done").any():
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


def main() -> None:
    """Draw the picture."""
    scenes = scenes_of_battle()
    steps = np.linspace(0, len(scenes) - 1, MOMENTS).round().astype(int).tolist()
    view = view_of(scenes)
    battle = tiled([draw(scenes[step], f"step {step}", view, SIZE) for step in steps])
    legend = draw_legend(scenes[0], battle.shape[1])
    Image.fromarray(np.concatenate([battle, legend])).quantize(128).save(PICTURE, optimize=True)
    print(f"{PICTURE.name}: steps {steps}, {scenes[-1].outcome}")


if __name__ == "__main__":
    main()
