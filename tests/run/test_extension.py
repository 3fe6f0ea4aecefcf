"""`mipi resume RUN total_frames=N`: a run that is trained longer equals a longer run; what is refused."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from crash import Crash, KilledError
from run_content import content, differences

import mipi_pl
from mipi_pl.cli import main
from mipi_pl.run.extension import begin, following, refuse_own_budgets
from mipi_pl.storage.checksums import write_checked
from mipi_pl.storage.extended import Extension, lengthened, recorded
from mipi_pl.utils.errors import UserError

OPTIONS = [
    *("experiment=matrix_game", "debug=tiny", "algorithm.target=sampled", "held_out.baselines=[]"),
    *("datamodule.updates_per_episode=0.25", "callbacks.target_update.every_episodes=10"),
    *("callbacks.checkpointing.every_frames=16", "+callbacks.crash._target_=crash.Crash"),
]
ROLLOUTS = [*OPTIONS[:2], *OPTIONS[3:4], *OPTIONS[6:], "algorithm=mappo", "datamodule.rollout_steps=1"]
OF_LIGHTNING = ("loops", "epoch")
"""Numbers of epochs: the end of training ends an epoch, which has no effect on the results."""


pytestmark = pytest.mark.usefixtures("no_crash_is_left")


def train(root: Path, *options: str) -> Path:
    assert main(["train", *options, f"output_dir={root}"]) == 0
    return (root / "latest").resolve()


def learned(folder: Path) -> dict[str, Any]:
    found = {key: value for key, value in content(folder).items() if key not in OF_LIGHTNING}
    found["logs"]["metrics"] = [
        {key: value for key, value in row.items() if key != "epoch"} for row in found["logs"]["metrics"]
    ]
    return found


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 60 frames; copy it."""
    return train(tmp_path_factory.mktemp("short"), *OPTIONS, "total_frames=60")


@pytest.fixture
def copy(short: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(short, tmp_path / "root" / "name" / "run"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return learned(train(tmp_path_factory.mktemp("whole"), *OPTIONS, "total_frames=140"))


def test_a_finished_run_that_is_trained_longer_equals_a_longer_run(copy: Path, whole: dict[str, Any]) -> None:
    results = (copy / "results.json").read_text()
    assert main(["resume", str(copy), "total_frames=140"]) == 0
    assert differences(whole, learned(copy)) == []
    config = yaml.safe_load((copy / "config.yaml").read_text())
    assert config["total_frames"] == config["callbacks"]["frame_budget"]["total_frames"] == 140
    (earlier,) = (copy / "earlier").iterdir()
    kept = {"results.json", "results.csv", "results.png", "last.ckpt", "best.ckpt", "best-heldout.ckpt"}
    assert {path.name for path in earlier.iterdir()} == kept
    assert mipi_pl.load_policy(earlier / "last.ckpt").frames == json.loads(results)["frames"]
    assert recorded(copy) == Extension(140, (60,))
    assert main(["runs", str(copy)]) == 0


def test_an_extension_that_is_killed_continues_to_its_own_end(copy: Path, whole: dict[str, Any]) -> None:
    Crash.at = [1]  # in the first update, so that no checkpoint knows of the new total
    with suppress(KilledError):
        main(["resume", str(copy), "total_frames=140"])
    assert not (copy / "results.json").exists()
    assert main(["resume", str(copy)]) == 0
    assert differences(whole, learned(copy)) == []


def test_an_on_policy_run_is_trained_longer(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", *ROLLOUTS, "total_frames=40")
    part = train(tmp_path / "part", *ROLLOUTS, "total_frames=20")
    run = mipi_pl.resume(part, total_frames=40)
    assert differences(learned(whole), learned(run.folder)) == []


def test_schedules_by_the_total_follow_it_and_others_stay() -> None:
    config = {
        "total_frames": 100,
        "callbacks": {"rate": {"total_frames": 100}, "own": {"total_frames": 50}, "other": {"every_frames": 100}},
    }
    longer = lengthened(config, 300)
    assert longer["callbacks"] == {
        "rate": {"total_frames": 300},
        "own": {"total_frames": 50},
        "other": {"every_frames": 100},
    }
    assert (longer["total_frames"], config["total_frames"]) == (300, 100)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "is finished: .* mipi resume .* total_frames="),
        (["total_frames=60"], "must be above 6[0-9], the frames that"),
        (["total_frames=1e3"], "whole number of environment steps, got total_frames=1e3"),
        (["total_frames=100,200"], "whole number of environment steps"),
        (["algorithm.alpha=0.1"], "only total_frames can be raised, got algorithm.alpha=0.1; .*init_from"),
        (["total_frames"], "cannot read the overrides"),
    ],
)
def test_what_cannot_be_extended_says_why(
    words: list[str], told: str, short: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["resume", str(short), *words]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert re.search(told, line), line
    assert (short / "results.json").exists()


def test_results_that_are_set_aside_never_replace_others(tmp_path: Path) -> None:
    """Also where a run goes on from an older checkpoint than that of its results."""
    for frames, resumed_at in ((1000, 1000), (2000, 1000), (2000, 2000)):
        (tmp_path / "results.json").write_text(json.dumps({"frames": frames}))
        (tmp_path / "results.csv").write_text(f"{frames} frames")
        begin(tmp_path, Extension(5000), resumed_at)
    earlier = {path.parent.name: path.read_text() for path in (tmp_path / "earlier").glob("*/results.csv")}
    assert earlier == {
        "1000_frames": "1000 frames",
        "2000_frames": "2000 frames",
        "2000_frames-2": "2000 frames",
    }


def test_an_extension_that_a_budget_of_its_own_would_end_at_once_is_refused(
    copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = copy.parent / "own"
    assert main(["train", *OPTIONS, "total_frames=100", "callbacks.frame_budget.total_frames=60", *to(own)]) == 0
    run = (own / "latest").resolve()
    assert main(["resume", str(run), "total_frames=200"]) == 2
    assert "callbacks.frame_budget.total_frames=60 is a budget of its own and would end" in capfd.readouterr().err
    assert (run / "results.json").exists()
    assert not (run / "earlier").exists()
    # Earlier versions recorded it. Such a run that has come to its end, but not to its results, is finished.
    (run / "results.json").unlink()
    write_checked(run / "extended.json", {"total_frames": 200})
    assert main(["resume", str(run)]) == 0
    assert (run / "results.json").exists()


def test_a_callback_of_ones_own_may_call_anything_total_frames() -> None:
    callbacks = {"mine": {"_target_": "crash.Crash", "total_frames": "many"}, "none": None}
    refuse_own_budgets({"total_frames": 100, "callbacks": callbacks, "trainer": {"max_epochs": -1}})


@pytest.mark.parametrize("limit", [{"max_steps": 5}, {"max_epochs": 1}, {"max_time": "00:01:00:00"}])
def test_an_extension_that_a_limit_of_the_trainer_can_end_is_refused(limit: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"trainer.max_\w+=\S+ can end the run before 100 frames"):
        refuse_own_budgets({"total_frames": 100, "callbacks": {}, "trainer": limit})


def test_all_former_budgets_of_a_run_are_known(tmp_path: Path) -> None:
    first = following(tmp_path, 20, 10)
    begin(tmp_path, first, 10)
    assert following(tmp_path, 20, 10) == first == Extension(20, (10,))  # given again after an interruption
    assert following(tmp_path, 30, 20) == Extension(30, (10, 20))
    begin(tmp_path, Extension(15, (10, 20)), 10)
    assert following(tmp_path, 20, 15) == Extension(20, (10, 15))
    (tmp_path / "extended.json").write_text("{}")
    assert following(tmp_path, 30, 20) == Extension(30, (20,))


def to(root: Path) -> list[str]:
    return [f"output_dir={root}"]


def test_a_damaged_record_of_an_extension_is_refused(copy: Path) -> None:
    (copy / "results.json").unlink()
    (copy / "extended.json").write_text('{"total_frames": 999, "sha256": "0"}')
    with pytest.raises(UserError, match=r"extended.json is damaged: .*; name the budget of the run again"):
        mipi_pl.resume(copy)
