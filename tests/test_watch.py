"""`mipi watch` as a command: files, messages, and the page in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Chromium, find_chromium

from mipi_pl.cli import main
from mipi_pl.envs.base import EntityEnv
from mipi_pl.evaluation.video import can_write_mp4
from mipi_pl.run import watch


def data_of(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    content: dict[str, Any] = json.loads(found)
    return content


@pytest.fixture(scope="module")
def collecting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run in Resource Collection, with a mutual-information policy."""
    root = tmp_path_factory.mktemp("collecting")
    small = ["debug=tiny", "env.episode_limit=12", "algorithm.agent.width=8", "algorithm.mixer.width=8"]
    small += ["held_out.baselines=[]", "held_out.team_sizes=[]", f"output_dir={root}"]
    assert main(["train", "experiment=resource_collection", *small]) == 0
    return root / "latest" / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def page(collecting: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with two episodes, beside a scripted policy."""
    folder = tmp_path_factory.mktemp("page")
    wanted = ["--episodes", "2", "--against", "expert", "--format", "html", "env.team_sizes=[3]"]
    assert main(["watch", str(collecting), *wanted, f"output_dir={folder}"]) == 0
    (found,) = folder.glob("*/watch.html")
    return found


def test_both_policies_play_the_same_teams_in_the_same_places(page: Path) -> None:
    episodes = data_of(page)["episodes"]
    assert len(episodes) == 2
    for episode in episodes:
        mine, other = episode["plays"]
        assert mine["composition"] == other["composition"] == "3 agent"
        assert mine["steps"][0] == other["steps"][0]
        assert mine["steps"][-1] != other["steps"][-1]
        assert set(mine["agents"]) == {"0", "1", "2"}
        assert {"policy", "marginal", "utility", "attention", "kl"} <= mine["agents"]["0"].keys()
        assert not {"policy", "marginal", "utility", "attention", "kl"} & other["agents"]["0"].keys()
    assert episodes[0]["plays"][0]["steps"][0] != episodes[1]["plays"][0]["steps"][0]


def assert_evaluated_alike(page: Path, checkpoint: Path, folder: Path) -> None:
    """The episodes of a page, beside the expert, are those of an evaluation, which writes to `folder`."""
    returns = [[sum(play["rewards"]) for play in episode["plays"]] for episode in data_of(page)["episodes"]]
    wanted = ["env.team_sizes=[3]", f"held_out.episodes={len(returns)}", "held_out.baselines=[expert]"]
    assert main(["eval", str(checkpoint), *wanted, f"output_dir={folder}"]) == 0
    (written,) = folder.glob("*/results.json")
    results = json.loads(written.read_text(encoding="utf-8"))
    for number, scores in enumerate((results["held_out"]["3"], results["scripted"]["expert"]["held_out"]["3"])):
        assert sum(pair[number] for pair in returns) / len(returns) == pytest.approx(scores["return"], abs=1e-3)


def test_what_is_watched_is_what_is_evaluated(collecting: Path, page: Path, tmp_path: Path) -> None:
    assert_evaluated_alike(page, collecting, tmp_path)


def test_no_more_episodes_are_played_at_once_than_in_an_evaluation(
    collecting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[EntityEnv] = []
    monkeypatch.setattr(EntityEnv, "max_evaluation_envs", 2)
    construct = EntityEnv.__init__

    def counted(env: EntityEnv, *arguments: Any, **options: Any) -> None:
        construct(env, *arguments, **options)
        made.append(env)

    monkeypatch.setattr(EntityEnv, "__init__", counted)
    wanted = ["--episodes", "5", "--against", "expert", "--format", "html", "env.team_sizes=[3]"]
    assert main(["watch", str(collecting), *wanted, f"output_dir={tmp_path / 'watch'}"]) == 0
    assert max(env.num_envs for env in made) == 2
    (page,) = tmp_path.glob("watch/*/watch.html")
    assert len(data_of(page)["episodes"]) == 5
    assert_evaluated_alike(page, collecting, tmp_path / "eval")


def test_the_page_names_nothing_outside_itself(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.findall(r"(?:src|href)=\"(?!data:)|url\(|@import|https?://", text)
    assert not re.findall(r"<!--\w+-->", text), "every part of the page is filled in"


def test_a_matrix_game_can_be_watched_and_no_folder_is_used_twice(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(finished_run / "checkpoints" / "last.ckpt")
    for _ in range(2):
        assert main(["watch", checkpoint, "--episodes", "1", f"output_dir={tmp_path}"]) == 0
    assert "return" in capsys.readouterr().out
    folders = list(tmp_path.iterdir())
    assert len(folders) == 2
    assert all({path.name for path in folder.iterdir()} == {"watch.html", "training_1.gif"} for folder in folders)


def test_two_checkpoints_play_side_by_side(finished_run: Path, tmp_path: Path) -> None:
    assert main(["train", "experiment=matrix_game", "algorithm=refil", "debug=tiny", f"output_dir={tmp_path}"]) == 0
    other = str(tmp_path / "latest" / "checkpoints" / "last.ckpt")
    wanted = ["--against", other, "--format", "html", f"output_dir={tmp_path / 'watch'}"]
    assert main(["watch", str(finished_run / "checkpoints" / "last.ckpt"), *wanted]) == 0
    (found,) = (tmp_path / "watch").glob("*/watch.html")
    mine, refil = data_of(found)["episodes"][0]["plays"]
    assert (mine["policy"].split()[0], refil["policy"].split()[0]) == ("matrix_game__mipi__0", "matrix_game__refil__0")
    assert "kl" in mine["agents"]["0"]
    assert not {"policy", "marginal", "kl"} & refil["agents"]["0"].keys()
    assert {"utility", "attention"} <= refil["agents"]["0"].keys()


@pytest.mark.parametrize(("change", "sizes"), [("env.mixes=[{stalker: 3}]", {3}), ("env.capacity=5", {3, 4, 5})])
def test_a_change_is_checked_only_in_the_teams_that_are_watched(change: str, sizes: set[int], tmp_path: Path) -> None:
    few = ["--episodes", "1", "--format", "html", "env.episode_limit=3", f"output_dir={tmp_path}"]
    assert main(["watch", "quickstart", *few, change]) == 0
    (page,) = tmp_path.glob("*/watch.html")
    (episode,) = data_of(page)["episodes"]
    assert len(episode["plays"][0]["agents"]) in sizes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: CHECKPOINT"),
        (["nowhere.ckpt"], "no checkpoint at nowhere.ckpt"),
        (["seed=1"], "the first argument must be a checkpoint file, got seed=1"),
        (["CHECKPOINT", "--episodes", "0"], "--episodes must be at least 1, got 0"),
        (["CHECKPOINT", "--episodes", "x"], "must be a whole number, got 'x'"),
        (["CHECKPOINT", "--format", "png"], "invalid choice: 'png'"),
        (["CHECKPOINT", "--against", "focus_fire"], "a checkpoint file or a scripted policy (this world has none)"),
        (["CHECKPOINT", "held_out.episodes=3"], "mipi watch plays --episodes N on env.team_sizes=[...]"),
        (["CHECKPOINT", "env.bogus=3"], "unknown key env.bogus"),
        (["CHECKPOINT", "output_dir=CHECKPOINT"], "cannot write to"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(
    arguments: list[str], message: str, finished_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(finished_run / "checkpoints" / "last.ckpt")
    assert main(["watch", *(word.replace("CHECKPOINT", checkpoint) for word in arguments)]) == 2
    told = capfd.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1


def test_the_memory_of_all_recordings_is_counted(
    collecting: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    sizes: list[float] = []

    def refused(what: str, size: float, advice: str) -> None:
        sizes.append(size)
        raise ValueError(f"{what} do not fit; {advice}")

    monkeypatch.setattr(watch, "require_memory", refused)
    for more in (["env.team_sizes=[2]"], ["env.team_sizes=[2,3]", "--against", "expert"]):
        assert main(["watch", str(collecting), "--episodes", "2", *more]) == 2
    assert sizes[1] == 4 * sizes[0]
    assert "8 recordings of up to 12 steps do not fit; lower --episodes" in capfd.readouterr().err


def test_a_checkpoint_of_another_world_is_refused(
    finished_run: Path, collecting: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(finished_run / "checkpoints" / "last.ckpt")
    assert main(["watch", checkpoint, "--against", str(collecting)]) == 2
    assert "was trained in mipi_pl.envs.resource.env.ResourceCollection" in capfd.readouterr().err


def test_an_opponent_of_other_battles_is_refused_by_its_name(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "quickstart", "env.team_sizes=[3]", "--against", "csz"]) == 2
    told = capfd.readouterr().err
    assert re.search(r"csz\S*: the policy was trained with n_features=16 and this environment has 15", told)
    assert "(they differ in env.groups); name a policy" in told
    assert "cannot be changed after training" not in told


def test_mp4_needs_its_package(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch, "can_write_mp4", lambda: False)
    assert main(["watch", str(finished_run / "checkpoints" / "last.ckpt"), "--format", "mp4"]) == 2
    assert "needs the package imageio-ffmpeg: pip install 'mipi-pl[video]'" in capfd.readouterr().err


@pytest.mark.skipif(not can_write_mp4(), reason="imageio-ffmpeg is not installed")
def test_mp4_is_written_where_it_can_be(finished_run: Path, tmp_path: Path) -> None:
    wanted = ["--format", "mp4", "--episodes", "1", f"output_dir={tmp_path}"]
    assert main(["watch", str(finished_run / "checkpoints" / "last.ckpt"), *wanted]) == 0
    (video,) = tmp_path.glob("*/*.mp4")
    assert video.read_bytes()[4:8] == b"ftyp"


# ---------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with Chromium(program, tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture
def opened(browser: Chromium, page: Path) -> Iterator[Chromium]:
    """The page as it opens; afterwards it must not have complained, nor loaded anything but itself."""
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(page)
    yield browser
    assert browser.run("1") == 1
    assert browser.complaints == []
    assert [address for address in browser.requests if not address.startswith("data:")] == [page.as_uri()]


def step_of(browser: Chromium) -> int:
    shown = int(browser.run("document.querySelector('#step').textContent.match(/step (\\d+) of 12/)[1]"))
    assert shown == int(browser.run("document.querySelector('#time').value"))
    return shown


def test_steps_and_slider_move_the_time(opened: Chromium) -> None:
    assert step_of(opened) == 0
    for button, expected in (("#forward", 1), ("#forward", 2), ("#back", 1), ("#first", 0), ("#back", 0)):
        opened.click(button)
        assert step_of(opened) == expected
    before = opened.run("document.querySelector('.map').toDataURL()")
    opened.click("#time", x=0.5)
    assert step_of(opened) == 6
    assert opened.run("document.querySelector('.map').toDataURL()") != before, "the picture moved on as well"
    opened.click(".curve", x=0.99)
    assert step_of(opened) == 12
    assert "over" in opened.run("document.querySelector('.status').textContent")
    opened.click("#forward")  # which keeps the focus
    opened.press("ArrowLeft", 37)
    assert step_of(opened) == 11
    opened.click("#show-sight")
    opened.press("ArrowLeft", 37)
    assert step_of(opened) == 10


def test_play_plays_to_the_end_and_pause_pauses(opened: Chromium) -> None:
    opened.run("document.querySelector('#speed').value = '4'; document.querySelector('#speed').onchange()")
    opened.click("#play")
    assert opened.run("document.querySelector('#play').textContent") == "Pause"
    opened.wait("Number(document.querySelector('#time').value) >= 2")
    opened.click("#play")
    paused = step_of(opened)
    assert opened.run("document.querySelector('#play').textContent") == "Play"
    assert opened.run("new Promise((done) => setTimeout(() => done(state.step), 200))") == paused
    opened.click("#play")
    opened.wait("Number(document.querySelector('#time').value) === 12")
    assert opened.run("document.querySelector('#play').textContent") == "Play"
    opened.click("#play")
    opened.wait("document.querySelector('#play').textContent === 'Pause' && state.step < 12")


def test_speed_changes_the_pace(opened: Chromium) -> None:
    # The page asks for a timer; how punctual the machine is does not matter.
    opened.run(
        "window.pace = []; const real = setInterval; window.setInterval = (f, ms) => (pace.push(ms), real(f, ms))"
    )
    opened.click("#play")
    opened.run("document.querySelector('#speed').value = '2'; document.querySelector('#speed').onchange()")
    first, second = opened.run("pace")
    assert first == 2 * second


def test_an_agent_is_selected_by_button_and_on_the_map(opened: Chromium) -> None:
    pressed = "[...document.querySelectorAll('.agents [aria-pressed=true]')].map((b) => b.textContent)"
    assert opened.run(pressed) == ["agent 0", "agent 0"]
    opened.click(".agents button:nth-child(3)")
    assert opened.run(pressed) == ["agent 2", "agent 2"], "in both plays"
    # Where agent 1 stands on the map, as shares of its width and height.
    x, y = opened.run("(() => { const m = document.querySelector('.map').getBoundingClientRect();"
                      "const p = projection(state.view, m.width).at(plays()[0].steps[0][1]);"
                      "return [p[0] / m.width, p[1] / m.height]; })()")  # fmt: skip
    opened.click(".map", x, y)
    assert opened.run(pressed) == ["agent 1", "agent 1"]
    assert opened.run("document.querySelector('.status').textContent").startswith("agent 1")


def test_the_tables_show_the_numbers_of_the_data(opened: Chromium, page: Path) -> None:
    agent = data_of(page)["episodes"][0]["plays"][0]["agents"]["1"]
    opened.click(".agents button:nth-child(2)")
    opened.click("#forward")
    opened.run("window.rows = [...document.querySelectorAll('.play:first-child table.actions tbody tr')]; 1")
    shown = opened.run("rows.map((r) => [...r.querySelectorAll('.number')].map((c) => Number(c.textContent)))")
    expected = [[agent[name][1][i] for name in ("policy", "marginal", "utility")] for i in range(5)]
    assert shown == [pytest.approx(row, abs=6e-3) for row in expected]
    assert opened.run("document.querySelectorAll('.play:first-child table.attention tbody tr').length") == 3 + 1 + 6 + 1
    assert opened.run("document.querySelectorAll('.play:last-child table.attention').length") == 0, "a script has none"
    taken = opened.run("document.querySelector('.play:first-child tr.taken td').textContent")
    assert taken == ["stay", "north", "south", "east", "west"][agent["action"][1]]


def test_a_scale_has_the_digits_of_its_numbers(opened: Chromium) -> None:
    shown = opened.run("[145.3, -2145.3, 17.62, 0.0212, 0].map(scaleText)")
    assert shown == ["145", "-2145", "17.6", "0.0212", "0"]


def test_another_episode_can_be_chosen_and_a_narrow_screen_scrolls_one_way(opened: Chromium) -> None:
    first = opened.run("document.querySelector('.map').toDataURL()")
    opened.run("document.querySelector('#episode').value = '1'; document.querySelector('#episode').onchange()")
    assert opened.run("document.querySelector('.map').toDataURL()") != first
    for width in (1280, 760, 390):
        opened.resize(width, 800)
        assert opened.run("document.documentElement.scrollWidth <= window.innerWidth"), width
    opened.resize(1280, 800)
