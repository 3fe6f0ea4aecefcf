"""Every command closes the environments it opens, also after an error, because one may be a running game."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mipi_pl.cli import main
from mipi_pl.envs.base import EntityEnv

TINY = ["experiment=quickstart", "debug=tiny", "held_out.team_sizes=[6]", "held_out.episodes=2"]


class Census:
    """The environments that were opened, and those of them that are closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: list[EntityEnv] = []
        self.closed: set[int] = set()
        construct, close = EntityEnv.__init__, EntityEnv.close

        def counted_construct(env: EntityEnv, *arguments: Any, **options: Any) -> None:
            construct(env, *arguments, **options)
            self.opened.append(env)

        def counted_close(env: EntityEnv, **options: Any) -> None:
            self.closed.add(id(env))
            close(env, **options)

        monkeypatch.setattr(EntityEnv, "__init__", counted_construct)
        monkeypatch.setattr(EntityEnv, "close", counted_close)

    @property
    def still_open(self) -> Counter[str]:
        return Counter(type(env).__name__ for env in self.opened if id(env) not in self.closed)


@pytest.fixture
def census(monkeypatch: pytest.MonkeyPatch) -> Census:
    return Census(monkeypatch)


@pytest.mark.slow
def test_a_run_makes_each_world_once_and_closes_it(census: Census, tmp_path: Path) -> None:
    assert main(["train", *TINY, f"output_dir={tmp_path}", "~callbacks.generalization"]) == 0
    assert census.still_open == Counter()
    # Two to see which compositions they play, one to train in, for each evaluated world one to see how many episodes it
    # plays at once and one to play, and one to see which scripted policies there are.
    assert len(census.opened) == 2 + 1 + 2 * 2 + 1
    results = json.loads(next(tmp_path.glob("*__*/*/results.json")).read_text())
    assert len(results["scripted"]) == 3, "five policies were played in these environments"


@pytest.mark.slow
def test_the_evaluations_while_training_have_environments_of_their_own(census: Census, tmp_path: Path) -> None:
    assert main(["train", *TINY, f"output_dir={tmp_path}", "callbacks.generalization.every_frames=1"]) == 0
    assert census.still_open == Counter()
    assert len(census.opened) == 2 + 1 + 2 * 2 + 1 + 2 * 2


@pytest.mark.parametrize(
    "command",
    [
        ["eval", "sz"],
        ["eval", "sz", "held_out.baselines=[nobody]"],
        ["eval", "sz", "env.team_sizes=[99]"],
        ["watch", "sz", "--episodes=1", "--format=html", "--against=attack_nearest"],
        ["watch", "sz", "--against=nobody"],
        ["compositions", "experiment=quickstart"],
        ["compositions", "experiment=quickstart", "held_out.team_sizes=[3]"],
        ["compositions", "experiment=quickstart", "held_out.team_sizes=[99]"],
        ["train", *TINY, "held_out.baselines=[nobody]"],
        ["train", *TINY, "algorithm.gamma=7"],
        ["train", *TINY, "+trainer.enable_progress_bar=false"],
        ["train", *TINY, "+logger.mine._target_=mipi_pl.logging.csv.ResumableCSVLogger"],
        ["train", *TINY, "algorithm=mipi", "datamodule.storage=nowhere"],
        ["train", *TINY, "algorithm=mipi", "datamodule.capacity=1"],
        ["train", *TINY, "algorithm=mipi", "datamodule.epsilon_hold=0"],
        ["train", *TINY, "algorithm=mipi", "datamodule.collector=ray"],
        ["train", *TINY, "callbacks.video.every_frames=1", "callbacks.video.team_sizes=[99]"],
    ],
    ids=" ".join,
)
def test_commands_close_what_they_open(command: list[str], census: Census, tmp_path: Path) -> None:
    name, *words = command
    if name != "compositions":
        words.append(f"output_dir={tmp_path}")
    if name == "eval":
        words.append("held_out.episodes=2")
    assert main([name, *words]) in (0, 2)
    assert census.opened
    assert census.still_open == Counter()


def test_an_evaluation_that_raises_closes_its_environment(
    census: Census, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Callable[..., Any]:
        raise RuntimeError("no policy")

    monkeypatch.setattr("mipi_pl.actor.Actor.forward", broken)
    with pytest.raises(RuntimeError, match="no policy"):
        main(["eval", "sz", "held_out.episodes=2", f"output_dir={tmp_path}"])
    assert census.still_open == Counter()
