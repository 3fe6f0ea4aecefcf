"""Overrides of `mipi eval` and `mipi watch`: each is taken, or refused with the key, what it takes and what it got."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from fuzz_draws import EVAL_KEYS, value

from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve
from mipi_pl.run.evaluate import _finite
from mipi_pl.run.evaluation_plan import make_plan
from mipi_pl.utils.errors import UserError

CASES = 300


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return resolve(compose(["experiment=matrix_game", "held_out.episodes=4"]))


def test_infinite_changes_are_texts_in_the_results() -> None:
    changes = {"reach": math.inf, "ranges": [math.nan, {"far": -math.inf}], "name": "x"}
    assert _finite(changes) == {"reach": "inf", "ranges": ["nan", {"far": "-inf"}], "name": "x"}


def refusal(config: dict[str, Any], words: list[str]) -> str | None:
    """The message with which the overrides are refused; None if they make a plan."""
    try:
        make_plan(config, words)
    except UserError as error:
        return str(error)
    except Exception as error:  # with the words, without which the error cannot be found again
        raise AssertionError(f"{words} raised {error!r}") from error
    return None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["held_out.episodes=${env.payoffs.BB}"], "held_out.episodes: Interpolation key 'env.payoffs.BB' not found"),
        (["held_out.episodes=${held_out}"], "held_out.episodes: Interpolation to parent node detected"),
        (["held_out.worlds=${env}"], "held_out.worlds: Interpolation key 'env' not found"),
        (["held_out.episodes=${held_out.episodes}", "held_out.episodes=2"], None),
        (
            ["env.payoffs=[2]", "env.payoffs.AB=1"],
            "env.payoffs.AB=1: expected the number of an entry of the list, got 'AB'",
        ),
        (["held_out.worlds=${nothing}", "held_out.worlds.x.team_sizes=[3]"], None),
        (["env.payoffs=${nothing}", "env.payoffs={}"], None),
        (["env.payoffs=${env.payoffs}", "env.payoffs={}"], None),
        (["env.payoffs=${payoffs}"], "env cannot be resolved: "),
        (["env.payoffs=${nothing:1}"], "env cannot be resolved: payoffs: Unsupported interpolation type nothing"),
        (["env.device='???'"], "env cannot be resolved: device: Missing mandatory value"),
        (["seed=${held_out.worlds}", "held_out.worlds={a: {}}"], "seed must be an integer or null, got {'a': {}}"),
        (["seed=${seed}"], "the overrides cannot be resolved: seed: Recursive interpolation"),
        (["seed=${oc.decode:'['}"], "the overrides cannot be resolved: seed"),
        (["output_dir=${oc.env:NOTHING}"], "the overrides cannot be resolved: output_dir: "),
        (["output_dir=/tmp/é"], "a letter such as é needs two pairs of quotes: KEY=\"'VALUE'\""),
        (
            ["output_dir=/tmp/é"],
            "cannot read the overrides: unexpected letter or open quote in output_dir=/tmp/é;",
        ),
        (["held_out={nothing: 1}"], "unknown key held_out.nothing"),
        (
            ["held_out.worlds.x.team_compositions=${nothing}"],
            "the overrides cannot be resolved: held_out.worlds.x.team",
        ),
        (["held_out.worlds=[1]"], "held_out.worlds must be"),
    ],
)
def test_what_does_not_fit_or_resolve_is_said(
    overrides: list[str], message: str | None, config: dict[str, Any]
) -> None:
    if message is None:
        make_plan(config, overrides)
        return
    with pytest.raises(UserError) as refused:
        make_plan(config, overrides)
    assert message in str(refused.value)
    assert not any(words in str(refused.value) for words in ("DictConfig", "ListConfig", "object_type"))


def test_an_interpolation_refers_to_other_overrides_or_to_the_environment(config: dict[str, Any]) -> None:
    plan = make_plan(config, ["seed=3", "held_out.episodes=${seed}", "env.payoffs.AB=${payoffs.BB}"])
    assert plan.held_out["episodes"] == 3
    assert plan.env["payoffs"]["AB"] == config["env"]["payoffs"]["BB"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["held_out.team_sizes=[8]", "env.team_sizes=[6]"], "env.team_sizes and held_out.team_sizes both name"),
        (["env.team_sizes=[6,6]"], "env.team_sizes names a size twice: [6, 6]"),
        (["env.team_sizes=[0]"], "env.team_sizes must be at least 1, got 0"),
        (["held_out.team_sizes=[6,6]"], "held_out.team_sizes names a size twice: [6, 6]"),
        (["held_out.team_sizes=null", "env.team_sizes=[6]"], None),
    ],
)
def test_the_teams_to_play_are_named_once_and_by_the_key_that_was_typed(
    overrides: list[str], message: str | None
) -> None:
    told = refusal(resolve(compose(["env=marines"])), overrides)
    assert (told is None) if message is None else (told or "").startswith(message)


@pytest.mark.parametrize("seed", range(4))
def test_any_overrides_make_a_plan_or_are_refused(seed: int, config: dict[str, Any]) -> None:
    draw = random.Random(seed)
    environment = {f"env.{key}": content for key, content in config["env"].items()}
    for _ in range(CASES):
        words = []
        for _ in range(draw.choice((1, 2, 2, 3, 4))):
            key = draw.choice([*EVAL_KEYS, *environment])
            words.append(f"{draw.choice(('', '', '+', '++'))}{key}={value(draw, key, environment)}")
        message = refusal(config, words)
        assert message is None or 10 < len(message) < 4000
