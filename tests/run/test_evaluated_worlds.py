"""The worlds of `held_out.worlds`: their arguments may be objects, and their scores must be of one kind."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mipi_pl.cli import main
from mipi_pl.run.build import environment_factory
from mipi_pl.run.compose import compose
from mipi_pl.run.config import check_train, resolve
from mipi_pl.run.evaluation_plan import make_plan
from mipi_pl.run.teams import teams_of
from mipi_pl.utils.errors import UserError

RULE = "{_target_: scored_world.always, _partial_: true}"
GAME = ["experiment=matrix_game", "debug=tiny", "env._target_=scored_world.ScoredGame", "held_out.baselines=[]"]


def checked(*overrides: str) -> Any:
    return check_train(resolve(compose([*GAME, *overrides])))


def test_an_argument_of_a_held_out_world_may_be_an_object() -> None:
    config = checked(f"+env.rule={RULE}", f"+held_out.worlds.BB.rule={RULE}")
    assert set(teams_of(config).held_out) == {"BB"}
    make_env = environment_factory(config["env"])
    for world in make_plan(config, []).worlds:
        with closing(world.environment(make_env, 1, 0)) as env:
            assert env.winnable


def test_worlds_with_another_kind_of_score_are_refused_before_training() -> None:
    with pytest.raises(UserError, match="'BB' is scored by its win rate and the training teams by their return"):
        teams_of(checked(f"+held_out.worlds.BB.rule={RULE}"))
    with pytest.raises(UserError, match="'BB' is scored by its return and the training teams by their win rate"):
        teams_of(checked(f"+env.rule={RULE}", "+held_out.worlds.BB.rule=null"))


def test_an_object_that_cannot_be_built_is_told() -> None:
    with pytest.raises(UserError, match=r"held_out.worlds: .*complex\(\) can't take second arg"):
        teams_of(checked("+held_out.worlds.BB.rule={_target_: builtins.complex, real: x, imag: y}"))


def test_worlds_with_another_kind_of_score_are_refused_in_an_evaluation(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *GAME, "picture._target_=crash.no_picture", f"output_dir={tmp_path}"]) == 0
    run = (tmp_path / "latest").resolve()
    capfd.readouterr()
    assert main(["eval", str(run / "checkpoints" / "last.ckpt"), f"held_out.worlds.BB.rule={RULE}"]) == 2
    assert "must be comparable: 'training' by its return and 'BB' by its win rate" in capfd.readouterr().err
