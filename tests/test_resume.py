"""A killed and resumed run equals an uninterrupted one bit for bit; a run that cannot be resumed gives a message."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from crash import Crash, KilledError, resume_to_the_end
from run_content import content, differences

from mipi_pl.cli import main
from mipi_pl.run.processes import connect
from mipi_pl.run.resume import resume
from mipi_pl.storage.checkpoints import CheckpointFolder
from mipi_pl.storage.files import sha256_of
from mipi_pl.storage.lock import lock
from mipi_pl.utils.errors import UserError

MIPI = [sys.executable, "-c", "import sys; from mipi_pl.cli import main; sys.exit(main())"]
RATIO = "datamodule.updates_per_episode=0.25"
GAME = ["experiment=matrix_game", "debug=tiny", "total_frames=140", "datamodule.capacity=40", RATIO]
BATTLE = [
    *("experiment=quickstart", "algorithm=mipi", "debug=tiny", "total_frames=320", "env.episode_limit=12"),
    *("datamodule.capacity=24", "datamodule.updates_per_episode=1.0"),
    *("callbacks.checkpointing.every_frames=64", "callbacks.generalization.every_frames=120"),
]
FAST = [
    "callbacks.checkpointing.every_frames=16",
    "callbacks.generalization.every_frames=60",
    "callbacks.target_update.every_episodes=10",
    "+callbacks.collection.every_updates=3",
    "+callbacks.crash._target_=crash.Crash",
    "datamodule.updates_per_epoch=8",
    "datamodule.steps_per_collection=2",
    "trainer.log_every_n_steps=2",
    "held_out.baselines=[]",
    "picture._target_=crash.no_picture",
]
SAMPLED = "algorithm.target=sampled"
MATRIX = [*GAME, SAMPLED]


def start(root: Path, *overrides: str) -> Path:
    """Train until the end or the crash; the run folder."""
    with suppress(KilledError):
        assert main(["train", *FAST, *overrides, f"output_dir={root}"]) == 0
    (folder,) = root.glob("*__*/*")
    return folder


pytestmark = [pytest.mark.usefixtures("no_crash_is_left"), pytest.mark.slow]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The matrix game without interruptions."""
    Crash.at = []
    return start(tmp_path_factory.mktemp("whole"), *MATRIX)


# Epochs have 8 updates: in the first, at the end of one, right after one, and several times.
@pytest.mark.parametrize("crashes", [[3], [16], [17], [9, 9, 20, 31]])
def test_a_matrix_game_goes_on_bit_for_bit(crashes: list[int], whole: Path, tmp_path: Path) -> None:
    Crash.at = crashes
    broken = start(tmp_path / "broken", *MATRIX)
    assert not (broken / "results.json").exists()
    resume_to_the_end(broken)
    assert Crash.at == []
    assert differences(content(whole), content(broken)) == []
    resumed_at = json.loads((broken / "results.json").read_text())["resumed_at"]
    assert len(resumed_at) == len(set(crashes))  # twice from one checkpoint is once in the history of the result


def test_a_run_that_dies_before_its_first_update_goes_on_from_its_newest_checkpoint(tmp_path: Path) -> None:
    long_warmup = [*MATRIX, "datamodule.warmup_episodes=40", "total_frames=80"]
    whole = start(tmp_path / "whole", *long_warmup)
    Crash.at = [1]
    broken = start(tmp_path / "broken", *long_warmup)
    (entry,) = CheckpointFolder(broken).entries()
    assert entry.updates == 0
    assert entry.frames >= 32, "checkpoints are due every 16 frames"
    resume_to_the_end(broken)
    assert differences(content(whole), content(broken)) == []


@pytest.mark.parametrize("algorithm", ["refil", "collaq"])
def test_value_based_learners_go_on_bit_for_bit(algorithm: str, tmp_path: Path) -> None:
    chosen = [*GAME, f"algorithm={algorithm}", *(["algorithm.imaginary_weight=0.3"] if algorithm == "refil" else [])]
    whole = start(tmp_path / "whole", *chosen)
    Crash.at = [9, 20]
    broken = start(tmp_path / "broken", *chosen)
    assert not (broken / "results.json").exists()
    resume_to_the_end(broken)
    assert differences(content(whole), content(broken)) == []


def test_a_replay_in_memory_maps_goes_on_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    def chosen(name: str) -> list[str]:
        return [*MATRIX, "datamodule.storage=memmap", f"datamodule.storage_dir={tmp_path / name}"]

    Crash.at = [9, 20]
    broken = start(tmp_path / "broken", *chosen("maps"))
    assert not (broken / "results.json").exists()
    resume_to_the_end(broken)
    assert differences(content(whole), content(broken)) == []
    assert not any((tmp_path / "maps").iterdir())


@pytest.mark.parametrize("overlap", ["false", "true"])
def test_a_battle_goes_on_bit_for_bit_after_its_folder_was_moved(overlap: str, tmp_path: Path) -> None:
    options = [*BATTLE, SAMPLED, f"datamodule.overlap={overlap}"]
    whole = start(tmp_path / "whole", *options)
    Crash.at = [7, 20]
    broken = start(tmp_path / "broken", *options)
    moved = tmp_path / "elsewhere" / "marines" / "run"
    shutil.copytree(broken, moved)
    shutil.rmtree(broken)
    resume_to_the_end(moved)
    assert differences(content(whole), content(moved)) == []


def test_a_killed_process_leaves_checkpoints_that_are_whole(tmp_path: Path) -> None:
    arguments = ["train", *MATRIX, *(f for f in FAST if "crash" not in f), "total_frames=100000"]
    process = subprocess.Popen([*MIPI, *arguments, f"output_dir={tmp_path}"], stdout=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 120
    while not list(tmp_path.glob("*__*/*/checkpoints/last.ckpt")) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (folder,) = tmp_path.glob("*__*/*")
    said: list[str] = []
    assert CheckpointFolder(folder).newest_whole(said.append) is not None
    assert said == []


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed after some checkpoints."""
    Crash.at = [30]
    return start(tmp_path_factory.mktemp("stopped"), *MATRIX)


@pytest.fixture
def copy(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "root" / "name" / "run"))


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("what", ["checkpoint", "replay"])
def test_a_damaged_file_is_named_and_the_checkpoint_before_is_used(what: str, copy: Path) -> None:
    older, newest = CheckpointFolder(copy).entries()
    only_new = next(iter(newest.needs.keys() - older.needs.keys()))
    name = newest.file if what == "checkpoint" else only_new
    spoil(copy / "checkpoints" / name)
    said: list[str] = []
    found = CheckpointFolder(copy).newest_whole(said.append)
    assert found is not None
    assert found.name == older.file
    (line,) = said
    assert newest.file in line
    assert name in line
    assert "damaged" in line
    assert main(["resume", str(copy)]) == 0
    folder = CheckpointFolder(copy)
    newest = folder.entries()[-1]
    assert folder.newest_whole(said.append) == folder.path / newest.file
    assert (folder.path / "last.ckpt").read_bytes() == (folder.path / newest.file).read_bytes()
    assert len(said) == 1, "the damaged one is gone"


@pytest.mark.parametrize(
    ("update", "left"), [(1, "No checkpoint was written yet"), (20, "Earlier checkpoints are intact; resume with: ")]
)
def test_a_second_ctrl_c_promises_no_checkpoint(
    update: int, left: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    impatient = ["+callbacks.impatient._target_=crash.Impatient", f"+callbacks.impatient.update={update}"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores Ctrl-C
    try:
        words = [*MATRIX, *FAST, "datamodule.warmup_episodes=1", *impatient, f"output_dir={tmp_path}"]
        assert main(["train", *words]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    told = capfd.readouterr().err
    assert "frames without a checkpoint" in told
    assert left in told


def refused(folder: Path | str, capfd: pytest.CaptureFixture[str]) -> str:
    assert main(["resume", str(folder)]) == 2
    said = capfd.readouterr().err
    assert "Traceback" not in said
    return said


def test_a_checkpoint_that_the_disk_cannot_read_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real, said = CheckpointFolder(tmp_path), Path.open, list[str]()
    for name in ("update_000000001.ckpt", "update_000000002.ckpt"):
        folder.add(name, 1, {}, lambda path: path.write_bytes(b"x"), keep=2)

    def failing(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "update_000000002.ckpt":
            raise OSError(errno.EIO, "Input/output error")
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", failing)
    assert folder.newest_whole(said.append) == folder.path / "update_000000001.ckpt"
    (line,) = said
    assert line.endswith("update_000000002.ckpt cannot be read (Input/output error)")


def test_what_cannot_be_resumed_says_why(copy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "there is no run folder" in refused(tmp_path / "nothing", capfd)
    assert "is not a run folder: it has no config.yaml" in refused(tmp_path, capfd)
    (tmp_path / "begun").mkdir()
    shutil.copy(copy / "config.yaml", tmp_path / "begun")
    assert "no checkpoint yet" in refused(tmp_path / "begun", capfd)
    newest = copy / "checkpoints" / "last.ckpt"
    told = refused(newest, capfd)
    assert "is a checkpoint; resume takes the folder of its run: mipi resume " in told
    assert told.strip().endswith(copy.name)
    with lock(copy):
        assert "in use" in refused(copy, capfd)
    for entry in CheckpointFolder(copy).entries():
        spoil(copy / "checkpoints" / entry.file)
    assert "all checkpoints in" in refused(copy, capfd)
    index = copy / "checkpoints" / "index.json"
    index.write_text(index.read_text().replace('"format": 1', '"format": 99'))
    assert "format 99" in refused(copy, capfd)
    index.write_text("{")
    assert "index.json is damaged" in refused(copy, capfd)
    (copy / "results.json").write_text("{}")
    assert "is finished" in refused(copy, capfd)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"])
def test_a_damaged_checkpoint_is_told_by_the_first_process_alone(
    name: str, number: int, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_connected(_: Any) -> None:
        raise UserError("not connected")

    monkeypatch.setattr("mipi_pl.run.resume.connect", not_connected)
    monkeypatch.setenv(name, str(number))
    spoil(copy / "checkpoints" / CheckpointFolder(copy).entries()[-1].file)
    said: list[str] = []
    with pytest.raises(UserError, match="not connected"):
        resume(copy, said.append)
    assert len(said) == (1 if number == 0 else 0)


@pytest.mark.parametrize("what", ["results.json", "checkpoints/index.json"])
def test_a_run_that_another_process_trains_on_meanwhile_is_not_taken_back(
    what: str, copy: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    index, failure = copy / "checkpoints" / "index.json", (copy / "failure.txt").read_text()
    whole = json.loads(index.read_text())
    newer = json.dumps(whole) if "index" in what else "{}"
    if "index" in what:
        index.write_text(json.dumps({**whole, "checkpoints": whole["checkpoints"][:1]}))

    def connect_slowly(node: Any) -> Any:
        (copy / what).write_text(newer)
        return connect(node)

    monkeypatch.setattr("mipi_pl.run.resume.connect", connect_slowly)
    assert "has gone on meanwhile: another process has trained it" in refused(copy, capfd)
    assert (copy / what).read_text() == newer
    assert (copy / "failure.txt").read_text() == failure, "that of the process before"


def test_a_full_disk_costs_a_checkpoint_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original, calls = torch.save, []  # calls 7 to 9: an episode file, a checkpoint, the best checkpoint

    def save(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        if 7 <= len(calls) <= 9:
            raise OSError(28, "No space left on device")
        original(*arguments, **options)

    monkeypatch.setattr(torch, "save", save)
    folder = start(tmp_path, *MATRIX)
    assert "No space left on device" in capsys.readouterr().out
    assert (folder / "results.json").exists()
    assert len(calls) > 8
    assert not list(folder.rglob("*.unfinished"))
    assert CheckpointFolder(folder).newest_whole(print) is not None


# The policy itself, the critic alone, and a learning rate that does it sooner or later.
@pytest.mark.parametrize(
    "cause",
    [
        ["+callbacks.poison._target_=crash.Poison", "+callbacks.poison.parameter=agent.policy_logits.weight"],
        ["+callbacks.poison._target_=crash.Poison", "+callbacks.poison.parameter=agent.utilities.bias"],
        ["algorithm.critic_optimizer.lr=1e37", "algorithm.gradient_clip=1e30"],
    ],
)
def test_a_run_that_diverges_says_so_and_keeps_its_last_good_checkpoint(
    cause: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *MATRIX, *FAST, f"output_dir={tmp_path}", *cause]) == 1
    told = capfd.readouterr().err
    assert "Traceback" not in told
    assert "diverged" in told
    assert "lower learning rate" in told
    assert "mipi resume" not in told, "the run would diverge again"
    (folder,) = tmp_path.glob("*__*/*")
    newest = CheckpointFolder(folder).newest_whole(print)
    assert newest is not None or "poison" not in cause[0]
    if newest is not None:
        saved = torch.load(newest, weights_only=True)
        assert all(tensor.isfinite().all() for tensor in saved["state_dict"].values())


class Malicious:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_no_code_in_a_checkpoint_is_executed(copy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "executed"
    folder = CheckpointFolder(copy)
    for entry in folder.entries():
        torch.save({"state_dict": Malicious(trace), "mipi": {}}, folder.path / entry.file)
    torch.save(Malicious(trace), folder.path / "last.ckpt")
    entries = [{**vars(e), "sha256": sha256_of(folder.path / e.file)} for e in folder.entries()]
    index = {"format": 1, "checkpoints": entries}
    (folder.path / "index.json").write_text(json.dumps(index))
    assert "damaged or not a checkpoint" in refused(copy, capfd)
    assert main(["eval", str(folder.path / "last.ckpt")]) == 2
    assert "Traceback" not in capfd.readouterr().err
    assert not trace.exists()
    torch.load(folder.path / "last.ckpt", weights_only=False)
    assert trace.exists(), "the file was malicious indeed"


def test_a_resume_that_is_refused_changes_no_log(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = (copy / "metrics.csv").read_bytes()
    newest = CheckpointFolder(copy).newest_whole(print)
    assert newest is not None
    saved = torch.load(newest, weights_only=True)
    saved["mipi"]["config"]["datamodule"]["num_envs"] = 3
    torch.save(saved, newest)
    index = copy / "checkpoints" / "index.json"
    content = json.loads(index.read_text())
    content["checkpoints"][-1]["sha256"] = sha256_of(newest)
    index.write_text(json.dumps(content))
    assert "same num_envs" in refused(copy, capfd)
    assert (copy / "metrics.csv").read_bytes() == before


def test_files_of_the_users_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "latest").write_text("mine")
    folder = start(tmp_path, *MATRIX)
    assert (tmp_path / "latest").read_text() == "mine"
    mine = CheckpointFolder(folder).path / "update_mine.ckpt"
    mine.write_text("mine")
    CheckpointFolder(folder).add("update_999999999.ckpt", 1, {}, lambda path: path.write_bytes(b"x"), keep=1)
    assert mine.exists()
