"""The data sent to Weights & Biases, read from the files of offline runs."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pytest
import wandb
from crash import Crash, KilledError
from PIL import Image

from mipi_pl.cli import main
from mipi_pl.logging.wandb import RUN_ID, ResumableWandbLogger, _by_composition, _short
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve
from mipi_pl.run.naming import changes_of
from mipi_pl.storage import weights
from mipi_pl.storage.checkpoint_file import RECORD, read_checkpoint
from mipi_pl.storage.provenance import commit
from mipi_pl.utils.errors import UserError

TRAIN = [
    "experiment=matrix_game",
    "debug=tiny",
    "total_frames=120",
    "held_out.baselines=[]",
    "logger=wandb",
    "trainer.log_every_n_steps=2",
    "datamodule.updates_per_episode=0.25",
    "callbacks.checkpointing.every_frames=16",
    "callbacks.generalization.every_frames=40",
    "callbacks.video.every_frames=evaluation",
    "algorithm.alpha=0.5",
    "+callbacks.collection.every_updates=2",
    "+callbacks.crash._target_=crash.Crash",
]


class Logged(NamedTuple):
    """A run that was killed after 12 updates and resumed."""

    folder: Path
    said: str
    parts: list[list[dict[str, Any]]]

    def records(self, kind: str) -> list[dict[str, Any]]:
        return [record[kind] for part in self.parts for record in part if record["type"] == kind]

    def history(self, part: int) -> dict[int, dict[str, Any]]:
        rows = [record["history"]["item"] for record in self.parts[part] if record["type"] == "history"]
        return {row["_step"]: row for row in rows}


def read(folder: Path) -> list[list[dict[str, Any]]]:
    """The records of each offline run below a run folder, in the order of their time."""
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json"]
    files = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
    found = [subprocess.run([*inspect, str(file)], check=True, capture_output=True, text=True).stdout for file in files]
    return [[json.loads(line) for line in text.splitlines()] for text in found]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    root = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
        for name in ("WANDB_MODE", "WANDB_API_KEY"):
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(root))  # no key there
        patch.setattr(Crash, "at", [12])
        with suppress(KilledError):
            main(["train", *TRAIN, f"output_dir={root}"])
        (folder,) = root.glob("*__*/*")
        assert main(["resume", str(folder)]) == 0
    return Logged(folder, said.getvalue(), read(folder))


def test_an_offline_run_says_so_in_one_line_and_how_it_is_sent(logged: Logged) -> None:
    told = [line for line in logged.said.splitlines() if "wandb" in line]
    assert len(told) == 2, "once by train and once by resume"
    assert all(line.startswith("wandb: no key") and line.endswith("/wandb/offline-run-*") for line in told)


def test_a_resumed_run_is_the_same_run(logged: Logged) -> None:
    runs = logged.records("run")
    assert len(runs) == 2
    assert {(run["run_id"], run["resume"]) for run in runs} == {(runs[0]["run_id"], True)}
    assert [record["exit_code"] for record in logged.records("exit")] == [1, 0]


def test_the_run_is_described(logged: Logged) -> None:
    run, *_ = logged.records("run")
    described = (run["display_name"], run["run_group"], run["job_type"], run["tags"])
    changes = changes_of(TRAIN)
    assert "alpha=0.5" in changes
    name, group = (_short(f"matrix_game__mipi{end} {changes}") for end in ("__0", " matrix_game"))
    assert described == (name, group, "train", ["matrix_game", "mipi"])
    config: dict[str, Any] = {}
    for record in logged.records("config"):
        config |= record["update"]
    assert (config["seed"], config["algorithm"]["_target_"]) == (0, "mipi_pl.algorithms.mipi.MIPI")
    assert config["commit"] == commit()
    assert (config["commit"] or "").startswith(run.get("git", {}).get("commit", ""))


def test_curves_are_drawn_against_frames_and_go_on_after_resuming(logged: Logged) -> None:
    (every, *_) = [metric for metric in logged.records("metric") if metric.get("glob_name") == "*"]
    assert every["step_metric"] == "frames"
    before, after = logged.history(0), logged.history(1)
    again = before.keys() & after.keys()
    assert again, "updates after the last checkpoint are made twice"
    for step in again:  # and equally, so that it does not matter which of the two is kept
        same = {key for key in before[step] if not key.startswith(("_", "speed/", "evaluations", "by_composition"))}
        assert {key: before[step][key] for key in same} == {key: after[step][key] for key in same}
    joined = {**before, **after}
    assert sorted(joined) == list(joined), "no step is lower than the one before"
    frames = [row["frames"] for row in joined.values()]
    assert frames == sorted(frames)
    with (logged.folder / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["eval/score_BB"]]
    expected = {float(row["frames"]): float(row["eval/score_BB"]) for row in rows}
    assert {row["frames"]: row["eval/score_BB"] for row in joined.values() if "eval/score_BB" in row} == expected


def test_the_summary_of_a_win_rate_is_its_maximum(logged: Logged) -> None:
    defined = {metric["name"]: metric for metric in logged.records("metric") if "name" in metric}
    for name in ("eval/win_rate_training", "eval/win_rate_BB", "by_size/win_rate_2"):
        assert defined[name]["summary"]["max"], defined[name]
        assert defined[name]["step_metric"] == "frames"
    assert not any(name.endswith(("_low", "_high")) for name in defined)


def test_each_evaluation_has_a_video(logged: Logged) -> None:
    rows = [row for part in (0, 1) for row in logged.history(part).values()]
    evaluated = {row["frames"] for row in rows if "eval/score_BB" in row}
    assert {row["frames"] for row in rows if "video/training._type" in row} == evaluated != set()


def test_tables_and_charts_hold_the_evaluations_by_size_and_composition(logged: Logged) -> None:
    last = max((row for row in logged.history(1).values() if "evaluations._type" in row), key=lambda row: row["_step"])
    assert last["by_size/win_rate_2"] in (0, 0.5, 1)
    assert last["held_out/score"] == last["eval/score_BB"]
    (folder,) = (logged.folder / "wandb").glob(f"offline-run-*/files/{last['evaluations.path']}")
    table = json.loads(folder.read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    with (logged.folder / "evaluations.csv").open(newline="") as file:
        written = [row for row in csv.DictReader(file) if float(row["frames"]) == last["frames"]][: len(rows)]
    names = ("evaluation", "level", "size", "composition")
    assert [[row[n] for n in names] for row in rows] == [[row[n] for n in names] for row in written]
    assert [row["win_rate"] for row in rows] == [float(row["win_rate"]) for row in written]


def test_a_composition_that_several_evaluations_play_is_a_bar_of_each() -> None:
    played = (("6", "6 marine"), ("hard", "6 marine"), ("hard", "7 marine"))
    rows = [{"evaluation": name, "level": "composition", "composition": label} for name, label in played]
    names = [name for name, _ in _by_composition([{"evaluation": "6", "level": "all", "composition": ""}, *rows])]
    assert names == ["6 marine (6)", "6 marine (hard)", "7 marine"]


def models(logged: Logged) -> list[dict[str, Any]]:
    return [artifact for artifact in logged.records("artifact") if artifact["type"] == "model"]


def test_policies_are_artifacts_with_checkpoint_and_safetensors(logged: Logged) -> None:
    found = {alias: artifact for artifact in models(logged) for alias in artifact["aliases"] if alias != "latest"}
    assert set(found) == {"last", "best-training", "best-heldout"}
    files = {entry["path"]: Path(entry["local_path"]) for entry in found["last"]["manifest"]["contents"]}
    assert set(files) == {"policy.ckpt", "policy.safetensors"}
    assert files["policy.ckpt"].samefile(logged.folder / "checkpoints" / "last.ckpt")
    state, about = weights.read(files["policy.safetensors"])
    content, _ = read_checkpoint(files["policy.ckpt"])
    assert about["frames"] == content[RECORD]["frames"]
    weights_there = {name: tensor for name, tensor in content["state_dict"].items() if not name.startswith("target_")}
    assert state.keys() == weights_there.keys()
    assert all(tensor.equal(state[name]) for name, tensor in weights_there.items())
    assert len({artifact["name"] for artifact in models(logged)}) == 1


def test_each_best_policy_on_held_out_teams_is_stored_when_it_is_found(logged: Logged) -> None:
    stored = [json.loads(model["metadata"]) for model in models(logged) if "best-heldout" in model["aliases"]]
    assert all(about["file"] == "best-heldout.ckpt" for about in stored)
    with (logged.folder / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["held_out/score"]]
    scores = {float(row["frames"]): float(row["held_out/score"]) for row in rows}
    before = {frames: [score for other, score in scores.items() if other < frames] for frames in scores}
    best = {frames for frames, score in scores.items() if score > max(before[frames], default=-1.0)}
    assert {about["frames"] for about in stored} == best
    assert all(about["score"] == scores[about["frames"]] for about in stored if "score" in about)
    assert any("score" in about for about in stored)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("experiment=quickstart env=sz algorithm=mipi seed=3 logger=wandb logger.wandb.project=x output_dir=/y", ""),
        ("seed=1 algorithm.alpha=0.02 network=refil", "alpha=0.02 network=refil"),
        ("network=refil algorithm.alpha=0.01 algorithm.alpha=0.02", "alpha=0.02 network=refil"),
        ("+held_out.worlds.big.team_sizes=[9] ~tuned", "held_out.worlds.big.team_sizes=[9] ~tuned"),
        ("callbacks.video.every_frames=9 optimizer@algorithm.critic_optimizer=adam env.capacity=9",
         "capacity=9 optimizer@algorithm.critic_optimizer=adam"),
        ("algorithm.width=3 env.width=4 env.size=5", "algorithm.width=3 size=5 env.width=4"),
        ("total_frames=${held_out.episodes}", "total_frames={held_out.episodes}"),
    ],
)  # fmt: skip
def test_a_name_shows_what_a_sweep_varied(words: str, changes: str) -> None:
    assert changes_of(words.split()) == changes


def test_runs_that_differ_in_their_seed_have_one_group() -> None:
    swept = ["experiment=matrix_game", "logger=wandb", "algorithm.alpha=0.1"]
    first, second = (resolve(compose([*swept, f"seed={seed}"]))["logger"]["wandb"] for seed in (0, 1))
    assert (first["name"], second["name"]) == ("matrix_game__mipi__0 alpha=0.1", "matrix_game__mipi__1 alpha=0.1")
    assert first["group"] == second["group"] == "matrix_game__mipi matrix_game alpha=0.1"
    other = resolve(compose(["experiment=matrix_game", "logger=wandb"]))["logger"]["wandb"]
    assert other["group"] == "matrix_game__mipi matrix_game"


def test_a_name_too_long_for_the_server_is_cut_and_stays_distinct() -> None:
    names = [_short(f"{'x' * 140}{end}") for end in ("a", "b")]
    assert [len(name) for name in names] == [128, 128]
    assert names[0] != names[1]
    assert _short(" short ") == "short"


def test_videos_of_several_evaluations_reach_the_run(tmp_path: Path) -> None:
    paths = [tmp_path / "70_training.gif", tmp_path / "70_6-2.gif"]
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    for path, order in zip(paths, (frames, frames[::-1]), strict=True):
        order[0].save(path, save_all=True, append_images=order[1:])
    logger = ResumableWandbLogger(str(tmp_path), project="mipi", name="run", mode="offline")
    logger.log_metrics({"frames": 70.0}, step=3)
    for path in paths:
        logger.log_video(path, step=3)
    logger.close(True)
    (records,) = read(tmp_path)
    (row,) = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert (row["_step"], row["frames"]) == (3, 70)
    for path, key in zip(paths, ("video/training", "video/6"), strict=True):
        (copy,) = (tmp_path / "wandb").glob(f"offline-run-*/files/{row[f'{key}.path']}")
        assert copy.read_bytes() == path.read_bytes()


def test_a_run_whose_id_cannot_be_kept_is_logged_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / RUN_ID).mkdir()  # stands for anything that keeps the file from being written
    logger = ResumableWandbLogger(str(tmp_path), project="mipi", name="run", mode="offline")
    logger.log_metrics({"frames": 70.0}, step=3)
    logger.close(True)
    assert f"wandb: {RUN_ID} not written" in capsys.readouterr().out
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1


@pytest.mark.parametrize("error", [wandb.errors.CommError("no answer\nat all"), OSError()])
def test_a_run_that_cannot_begin_online_is_logged_offline(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = wandb.init

    def refuse(*arguments: Any, mode: str, **options: Any) -> Any:
        if mode == "online":
            raise error
        return begin(*arguments, mode=mode, **options)

    monkeypatch.setattr("mipi_pl.logging.wandb.why_offline", lambda: None)
    monkeypatch.setattr("mipi_pl.logging.wandb.rejected_key", lambda: None)
    monkeypatch.setattr("mipi_pl.logging.wandb.wandb.init", refuse)
    logger = ResumableWandbLogger(str(tmp_path), project="mipi", name="run")
    logger.log_metrics({"frames": 70.0}, step=3)
    logger.close(True)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"wandb: {str(error).splitlines()[0] if str(error) else 'OSError'}, so this run is logged")
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1


def test_online_with_a_wandb_mode_that_sends_nothing_is_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    modes: list[str] = []

    def begin(*_: Any, mode: str, **__: Any) -> Any:
        modes.append(mode)
        raise OSError("begun")

    monkeypatch.setattr("mipi_pl.logging.wandb.wandb.init", begin)
    for mode in ("offline", "dryrun", "disabled"):
        monkeypatch.setenv("WANDB_MODE", mode)
        logger = ResumableWandbLogger(str(tmp_path), project="mipi", name="run", mode="online")
        with pytest.raises(UserError, match="begun"):
            logger._begin()
    assert modes == ["offline", "offline", "disabled"]
    assert capsys.readouterr().out.count("so this run is logged offline") == 2


@pytest.fixture
def strict_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that rejects the key that is set."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(401)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}")
        Thread(target=server.serve_forever, daemon=True).start()
        wandb.teardown()  # it has read the environment
        yield
        wandb.teardown()
        server.shutdown()


@pytest.mark.usefixtures("strict_server")
def test_a_key_that_is_rejected_is_found_before_anything_is_played(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *TRAIN, "logger.wandb.mode=online", f"output_dir={tmp_path / 'outputs'}"]) == 2
    said = capsys.readouterr()
    assert "mipi: logger.wandb: the W&B key cannot be used (" in said.err
    assert said.out == ""
    assert not (tmp_path / "outputs").exists()
    ResumableWandbLogger(str(tmp_path), project="mipi", name="run")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("wandb: the W&B key cannot be used (")
    assert "so this run is logged offline" in line


def test_online_without_a_key_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["train", *TRAIN, "logger.wandb.mode=online", f"output_dir={tmp_path / 'outputs'}"]) == 2
    assert "logger.wandb: mode=online needs a key" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()
