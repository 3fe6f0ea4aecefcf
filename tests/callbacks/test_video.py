"""Videos are recorded on schedule, are never overwritten, and do not affect training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mipi_pl.actor import Actor
from mipi_pl.callbacks.video import MAX_PICTURES, EpisodeVideo, _thinned
from mipi_pl.cli import main
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.matrix import MatrixGame
from mipi_pl.envs.resource.env import ResourceCollection
from mipi_pl.models.agent import EntityAgent


def make_env(*, num_envs: int, seed: int, **changes: Any) -> ResourceCollection:
    options = {"team_sizes": [2], "capacity": 4, "episode_limit": 3, **changes}
    return ResourceCollection(num_envs=num_envs, seed=seed, **options)


class Learner:
    """As much of an algorithm as the callback needs."""

    training = True

    def __init__(self) -> None:
        spec = make_env(num_envs=1, seed=0).entity_spec
        self.agent = EntityAgent(spec.n_features, spec.n_kinds, width=8, heads=2, hidden=4)

    def actor(self, greedy: bool, seed: int) -> Actor:
        assert not self.training
        return Actor(self.agent, greedy, seed)

    def eval(self) -> None:
        self.training = False

    def train(self, mode: bool) -> None:
        self.training = mode


def trainer_in(folder: Path, **more: Any) -> Any:
    defaults = {"is_global_zero": True, "loggers": [], "global_step": 5, "print": print}
    return SimpleNamespace(default_root_dir=folder, datamodule=SimpleNamespace(frames=0), **{**defaults, **more})


def train_to(frames: int, callback: EpisodeVideo, trainer: Any, learner: Learner) -> None:
    trainer.datamodule.frames = frames
    callback.on_train_batch_end(trainer, learner)  # type: ignore[arg-type]


def test_videos_come_at_their_times_one_for_each_team_size(tmp_path: Path) -> None:
    callback, trainer, learner = EpisodeVideo(make_env, 10, [2, 3]), trainer_in(tmp_path), Learner()
    for frames in (7, 14, 19, 35):
        train_to(frames, callback, trainer, learner)
    names = sorted(path.name for path in (tmp_path / "videos").iterdir())
    assert names == ["14_2.gif", "14_3.gif", "35_2.gif", "35_3.gif"]
    with Image.open(tmp_path / "videos" / "14_2.gif") as image:
        assert image.n_frames == 4
    assert learner.training


def test_a_video_is_never_overwritten(tmp_path: Path) -> None:
    trainer, learner = trainer_in(tmp_path), Learner()
    for _ in range(2):  # as a run does that was killed and goes on
        train_to(10, EpisodeVideo(make_env, 10), trainer, learner)
    assert sorted(path.name for path in (tmp_path / "videos").iterdir()) == ["10_training-2.gif", "10_training.gif"]


def test_loggers_that_take_videos_get_them(tmp_path: Path) -> None:
    told: list[tuple[Path, int]] = []
    loggers = [SimpleNamespace(), SimpleNamespace(log_video=lambda path, step: told.append((path, step)))]
    train_to(10, EpisodeVideo(make_env, 10), trainer_in(tmp_path, loggers=loggers), Learner())
    assert told == [(tmp_path / "videos" / "10_training.gif", 5)]
    assert told[0][0].exists()


def test_one_process_films_and_all_keep_the_schedule(tmp_path: Path) -> None:
    callback = EpisodeVideo(make_env, 10)
    train_to(12, callback, trainer_in(tmp_path, is_global_zero=False), Learner())
    assert not (tmp_path / "videos").exists()
    assert callback.state_dict() == {"next": 20}
    later = EpisodeVideo(make_env, 10)
    later.load_state_dict(callback.state_dict())
    train_to(19, later, trainer_in(tmp_path), Learner())
    assert not (tmp_path / "videos").exists()


def test_videos_leave_the_global_random_state_alone(tmp_path: Path) -> None:
    learner = Learner()
    before = torch.get_rng_state()
    train_to(10, EpisodeVideo(make_env, 10), trainer_in(tmp_path), learner)
    assert torch.equal(before, torch.get_rng_state())


def test_a_full_disk_does_not_end_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "videos").touch()  # nothing can be written below a file
    train_to(10, EpisodeVideo(make_env, 10), trainer_in(tmp_path), Learner())
    assert "video 10_training.gif not written" in capsys.readouterr().out


def test_without_times_nothing_is_made(tmp_path: Path) -> None:
    def never(**_: Any) -> EntityEnv:
        raise AssertionError("an environment was made")

    train_to(10, EpisodeVideo(never, None), trainer_in(tmp_path), Learner())
    assert not (tmp_path / "videos").exists()


def test_at_evaluations_a_video_is_made_of_each(tmp_path: Path) -> None:
    evaluation = SimpleNamespace(evaluated_at=None)
    callback, trainer = EpisodeVideo(make_env, "evaluation"), trainer_in(tmp_path, callbacks=[evaluation])
    for frames in (7, 14, 14, 14, 21):  # replay makes several batches of one collection
        evaluation.evaluated_at = 14 if frames >= 14 else None
        train_to(frames, callback, trainer, Learner())
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["14_training.gif"]


@pytest.mark.parametrize(("length", "shown"), [(1, 1), (2, 2), (61, 61), (100, 100), (101, 51), (199, 100), (500, 85)])
def test_a_video_is_short_and_ends_with_the_episode(length: int, shown: int) -> None:
    pictures = [np.full(1, number) for number in range(length)]
    thinned = _thinned(pictures)
    assert len(thinned) == shown <= MAX_PICTURES
    assert (thinned[0], thinned[-1]) == (0, length - 1)


def test_what_cannot_be_filmed_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="every_frames must be at least 1, got 0"):
        EpisodeVideo(make_env, 0)
    with pytest.raises(ValueError, match=r"evaluation '9'.*must not exceed capacity, got 9"):
        EpisodeVideo(make_env, 10, [9])
    with pytest.raises(ValueError, match=r"team_sizes must have at least one size, .*, got \[\]"):
        EpisodeVideo(make_env, 10, [])
    monkeypatch.delattr(ResourceCollection, "scene")
    monkeypatch.setattr("mipi_pl.envs.plain_scene.POSITIONS", ())
    with pytest.raises(ValueError, match="no videos: ResourceCollection has no pictures"):
        EpisodeVideo(make_env, 10)


def test_a_run_with_videos_learns_what_one_without_learns(finished_run: Path, tmp_path: Path) -> None:
    filmed = ["callbacks.video.every_frames=8", f"output_dir={tmp_path}"]
    assert main(["train", "experiment=matrix_game", "debug=tiny", *filmed]) == 0
    assert list((tmp_path / "latest" / "videos").glob("*_training.gif"))
    weights = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (finished_run, tmp_path / "latest")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert MatrixGame.scene is not EntityEnv.scene
