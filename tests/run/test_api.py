"""The Python interface of `mipi_pl`."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from tensordict import TensorDict

import mipi_pl
from mipi_pl.envs.matrix import MatrixGame
from mipi_pl.evaluation.rollout import play
from mipi_pl.run.compose import compose
from mipi_pl.run.overrides import as_words
from mipi_pl.utils.errors import UserError

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = {"experiment": "matrix_game", "debug": "tiny"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[mipi_pl.TrainedRun, str]:
    """A run, and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        root = tmp_path_factory.mktemp("runs")
        run = mipi_pl.train(TINY, {"callbacks": {"progress": {"every_s": 1e-9}}}, output_dir=root, seed=3)
    return run, printed.getvalue()


def test_a_run_is_trained_evaluated_and_its_policy_plays(trained: tuple[mipi_pl.TrainedRun, str]) -> None:
    run, _ = trained
    assert Path(run) == run.folder
    assert json.loads((run.folder / "results.json").read_text())["seed"] == 3
    assert {row["policy"] for row in run.results} >= {"trained", "untrained"}
    assert run.metrics[-1]["step"] > 0
    table = run.evaluate({"held_out": {"episodes": 4}}, output_dir=run.folder / "eval")
    assert json.loads((table.folder / "results.json").read_text())["training"]["episodes"] == 4
    assert table.score("training") == table.rows[0]["win_rate"]
    env = MatrixGame({"AB": [[1.0, 0.0], [0.0, 0.0]]}, ["AB"], num_envs=3)
    assert len(play(env, run.policy.actor)) == 3
    assert mipi_pl.TrainedRun(run.folder).checkpoint == run.policy.path


def test_nothing_but_plain_lines_is_printed_without_a_terminal(trained: tuple[mipi_pl.TrainedRun, str]) -> None:
    _, printed = trained
    assert "frames (" in printed
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", printed)


def test_a_table_is_shown_as_text_and_in_a_notebook(
    trained: tuple[mipi_pl.TrainedRun, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = trained[0].results
    header, _, first, *_ = str(table).splitlines()
    assert header.split()[:3] == ["teams", "trained", "untrained"]
    assert re.match(r"2 \(as trained\) +[01]\.\d\d \[", first)
    html = trained[0]._repr_html_()
    assert html.startswith("<table>")
    assert html.count("<tr>") == 1 + len({row["evaluation"] for row in table})
    monkeypatch.setitem(sys.modules, "pandas", type("pandas", (), {"DataFrame": staticmethod(len)}))
    assert table.to_pandas() == len(table)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        table.to_pandas()
    with pytest.raises(KeyError, match="known: BB of trained"):
        table.score("9")


@pytest.mark.parametrize(
    ("value", "read"),
    [
        *(
            (value, value)
            for value in (1, -2.5, True, None, "sz", "a b", "it's", "c:\\x\\", "1", "null", "", "a,b=[c]")
        ),
        *((value, value) for value in (1e-05, [3, 4], [[1.0, "x y"], {"marine": 3}], {})),
        (Path("/tmp/runs"), "/tmp/runs"),
        ((3, 4), [3, 4]),
    ],
    ids=repr,
)
def test_values_reach_the_config_as_they_are(value: Any, read: Any) -> None:
    (word,) = as_words([{"key": value}])
    (override,) = OverridesParser.create().parse_overrides([word])
    found = override.value()
    assert found == read
    assert type(found) is type(read) or isinstance(read, str)


def test_dictionaries_may_be_nested_dotted_and_mixed_with_words(tmp_path: Path) -> None:
    assert as_words(["a=1", ["b=2", "c=3"], {"env": {"draw": "sizes", "x": {"y": 1}}}], {"env.split": None}) == [
        *("a=1", "b=2", "c=3", "++env.draw=sizes", "++env.x.y=1", "++env.split=null")
    ]
    assert as_words([{"mixer@algorithm.mixer": "sum", "team_sizes": [8]}], within="env") == [
        "env.mixer@algorithm.mixer=sum",
        "++env.team_sizes=[8]",
    ]
    with pytest.raises(UserError, match=r"unknown key algorithm\.alhpa; did you mean algorithm\.alpha"):
        mipi_pl.train(TINY, {"algorithm.alhpa": 1}, output_dir=tmp_path)
    with pytest.raises(UserError, match="key must be a number, a text"):
        as_words([{"key": object()}])
    with pytest.raises(UserError, match="overrides are texts"):
        as_words([3])  # type: ignore[list-item]


def test_an_environment_is_made_by_name() -> None:
    env = mipi_pl.make_env("sz", team_sizes=[8], num_envs=2)
    assert (env.num_envs, {c.size for c in env.compositions}) == (2, {8})
    assert str(mipi_pl.make_env("matrix_game", device="cpu").device) == "cpu"
    assert mipi_pl.make_env("sz", team_size=np.int64(3)).entity_spec.n_agents == 3
    fixed = mipi_pl.make_env("sz", {"enemy_delta": 1}, composition={"stalker": 2, "zealot": 1})
    assert {c.label for c in fixed.compositions} == {"2 stalker + 1 zealot"}
    assert (fixed.entity_spec.n_agents, fixed.entity_spec.n_entities) == (3, 7)
    refused: list[tuple[Callable[[], Any], str]] = [
        (lambda: mipi_pl.make_env("nowhere"), "env can be"),
        (lambda: mipi_pl.make_env("sz", team_sizse=[8]), r"did you mean env\.team_sizes"),
        (lambda: mipi_pl.make_env("sz", team_sizes=[99]), "capacity"),
        (lambda: mipi_pl.make_env("sz", team_size=3, composition={"zealot": 3}), "give either team_size"),
        (lambda: mipi_pl.make_env("sz", "seed=3"), r"seed is an argument of this function: write seed=\.\.\."),
        (lambda: mipi_pl.make_env("sz", num_envs=0), "num_envs must be a whole number from 1, got 0"),
        (lambda: mipi_pl.make_env("sz", {"seed": 3}), r"env\.seed cannot be chosen here"),
        (lambda: mipi_pl.make_env("sz", device="nowhere"), "device must be one that PyTorch can use here, got nowhere"),
    ]
    for make, told in refused:
        with pytest.raises(UserError, match=told):
            make()


def test_the_hydra_of_the_program_that_calls_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("size: 3\n", encoding="utf-8")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
        mipi_pl.make_env("matrix_game")
        with pytest.raises(UserError, match="env can be"):
            mipi_pl.make_env("nowhere")
        assert hydra.compose("own").size == 3


# ---------------------------------------------------------------------- policies


def observations(td: TensorDict) -> list[Any]:
    """The same observation in every form that is accepted."""
    parts = {"entities": td["entities"], **{key: td["agents", key] for key in ("visible", "action_mask")}}
    nested = {"entities": parts["entities"], "agents": {key: parts[key] for key in ("visible", "action_mask")}}
    return [td, parts, nested, {key: tensor.numpy() for key, tensor in parts.items()}]


def test_a_policy_acts_in_a_loop_as_in_an_evaluation() -> None:
    env = mipi_pl.make_env("sz", num_envs=3, episode_limit=12)
    actor, policies = mipi_pl.load_policy("quickstart").actor, [mipi_pl.load_policy("quickstart") for _ in range(4)]
    single = mipi_pl.load_policy("quickstart")
    td = env.reset()
    for _ in range(12):
        forms = observations(td)
        actions = [policy(form) for policy, form in zip(policies, forms, strict=True)]
        alone = single({key: tensor[1] for key, tensor in forms[1].items()})
        td = actor(td)
        assert all(torch.equal(action, td["agents", "action"]) for action in actions)
        assert torch.equal(alone, td["agents", "action"][1])
        td = env.step(td)["next"]


def test_a_reset_forgets_and_a_part_of_the_environments_can_begin_anew() -> None:
    policy = mipi_pl.load_policy("quickstart")
    td = mipi_pl.make_env("sz", num_envs=2).reset()
    _, plain, *_ = observations(td)
    policy.reset(2)

    def state(**more: Any) -> torch.Tensor:
        policy({**plain, **more})
        kept = policy.actor.memory()["state"]
        assert kept is not None
        return kept

    first, second = state(), state()
    assert not torch.equal(first, second)
    partly = state(is_init=[True, False])
    assert torch.equal(partly[0], first[0])
    assert not torch.equal(partly[1], first[1])
    policy.reset()
    assert torch.equal(state(), first)
    assert "is_init" not in plain


def test_observations_that_do_not_fit_are_refused() -> None:
    policy = mipi_pl.load_policy("quickstart")
    _, plain, *_ = observations(mipi_pl.make_env("sz", num_envs=2).reset())
    policy(plain)
    changes: list[tuple[Callable[[], Any], str]] = [
        (lambda: policy({"entities": plain["entities"]}), "missing: visible, action_mask"),
        (lambda: policy({**plain, "entities": plain["entities"][..., 1:]}), r"entities \[2, 16, \d+\]"),
        (lambda: policy({**plain, "visible": plain["visible"][:, 0]}), r"visible \[2, 16\]"),
        (lambda: policy({key: tensor[:1] for key, tensor in plain.items()}), r"call policy.reset\(1\)"),
        (lambda: policy({**plain, "is_init": [True] * 3}), r"expected is_init of 2 environments, got the shape \[3\]"),
        (
            lambda: policy({**plain, "entities": [[1.0], [1.0, 2.0]]}),
            "expected entities as a tensor, an array or nested",
        ),
        (lambda: policy({"entities": plain["entities"], "agents": None}), "missing: visible, action_mask"),
        (lambda: policy.reset(0), "at least 1 environment, got 0"),
    ]
    for act, told in changes:
        with pytest.raises(UserError, match=told):
            act()


def test_slots_that_change_within_an_episode_are_refused() -> None:
    policy = mipi_pl.load_policy("quickstart")
    worlds = [mipi_pl.make_env("sz", team_sizes=[3], capacity=n) for n in (3, 4)]
    fewer, more = (observations(env.reset())[1] for env in worlds)
    policy(fewer)
    with pytest.raises(UserError, match=r"expected 3 agent slots, as since the last reset, got 4: keep the slots"):
        policy(more)
    policy({**more, "is_init": [True]})
    policy.reset()
    policy(fewer)


def test_a_policy_that_is_not_greedy_draws() -> None:
    def played(seed: int) -> list[torch.Tensor]:
        env, policy = mipi_pl.make_env("sz", num_envs=4), mipi_pl.load_policy("sz", greedy=False, seed=seed)
        td, actions = env.reset(), []
        for _ in range(5):
            td["agents", "action"] = policy(td)
            actions.append(td["agents", "action"].clone())
            td = env.step(td)["next"]
        return actions

    one, again, other = torch.stack(played(1)), torch.stack(played(1)), torch.stack(played(2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert "sampling" in repr(mipi_pl.load_policy("sz", greedy=False))


def test_an_agent_without_an_available_action_has_action_0_also_where_actions_are_drawn() -> None:
    policy = mipi_pl.load_policy("sz", greedy=False)
    td = mipi_pl.make_env("sz", num_envs=16).reset()
    td["agents", "action_mask"][:, 1] = False
    assert not any(policy(td)[:, 1].any() for _ in range(3))


def test_a_run_with_modules_of_its_own_is_resumed_evaluated_and_loaded_with_their_folder(
    trained: tuple[mipi_pl.TrainedRun, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained[0].folder
    named: list[Any] = []
    monkeypatch.setattr("mipi_pl.run.api.resume_run", lambda run, **given: named.append(given["config_dir"]) or run)
    monkeypatch.setattr(sys, "path", [*sys.path])
    run = mipi_pl.TrainedRun(folder, config_dir=tmp_path)
    assert run.resume().config_dir == tmp_path
    mipi_pl.resume(folder, config_dir=str(tmp_path))
    mipi_pl.resume(folder)
    assert named == [tmp_path, tmp_path, None]
    assert str(tmp_path) not in sys.path
    run.policy  # noqa: B018
    assert str(tmp_path) in sys.path
    sys.path.remove(str(tmp_path))
    run.evaluate({"held_out.episodes": 4}, output_dir=tmp_path / "eval")
    assert str(tmp_path) in sys.path
    with pytest.raises(UserError, match="must be an existing folder with your own configs"):
        mipi_pl.resume(folder, config_dir="nowhere")


def test_zero_is_no_budget_for_a_longer_run(trained: tuple[mipi_pl.TrainedRun, str]) -> None:
    with pytest.raises(UserError, match=r"total_frames must be above \d+, .*, got 0"):
        trained[0].resume(0)


def test_a_run_that_is_not_finished_is_shown_without_a_table(tmp_path: Path) -> None:
    folder = tmp_path / "a<b>"
    folder.mkdir()
    (folder / "config.yaml").write_text("", encoding="utf-8")
    html = mipi_pl.TrainedRun(folder)._repr_html_()
    assert "a&lt;b&gt;" in html
    assert html.endswith("not finished")


def test_mistakes_are_refused_as_on_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint at nowhere"):
        mipi_pl.load_policy("nowhere")
    with pytest.raises(UserError, match="no checkpoint at aaa"):  # too long for a name of a file
        mipi_pl.load_policy("a" * 300)
    with pytest.raises(UserError, match="expected a file, a run or the name of a policy, got 3"):
        mipi_pl.load_policy(3)  # type: ignore[arg-type]
    for seed in ("x", True, -1, 2**70, 0.5):
        with pytest.raises(UserError, match=rf"seed must be an integer between 0 and \d+, got {seed!r}"):
            mipi_pl.load_policy("quickstart", seed=seed)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="env can be"):
        mipi_pl.train("env=nowhere")
    with pytest.raises(UserError, match="is not a run folder"):
        mipi_pl.TrainedRun(tmp_path)


# ---------------------------------------------------------------------- documents


def cells() -> list[str]:
    notebook = json.loads((ROOT / "examples" / "notebook.ipynb").read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def blocks() -> list[str]:
    found = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    return [block for block in found if "policy.pt2" not in block]  # tests/run/test_deployment.py runs it


@pytest.mark.parametrize("codes", [cells, blocks], ids=["notebook", "docs/python.md"])
def test_the_code_of_the_documents_runs(
    codes: Callable[[], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order and shortened: a tiny run for each training, few episodes for each evaluation."""
    train, evaluate = mipi_pl.train, mipi_pl.evaluate

    def tiny(*overrides: Any, **keywords: Any) -> mipi_pl.TrainedRun:
        short = {"debug": "tiny", "env.episode_limit": 8, "held_out.baselines": [], "held_out.episodes": 2}
        return train(*overrides, keywords, short, total_frames=24)

    def few(*arguments: Any, **keywords: Any) -> mipi_pl.Table:
        return evaluate(*arguments, keywords, {"held_out.episodes": 2, "held_out.baselines": []})

    class Trial:
        def suggest_float(self, *_: Any, **__: Any) -> float:
            return 0.02

        def suggest_categorical(self, _: str, choices: list[Any]) -> Any:
            return choices[0]

    class Study:
        best_params: dict[str, Any] = {}  # noqa: RUF012

        def optimize(self, objective: Callable[[Trial], float], n_trials: int) -> None:
            assert isinstance(objective(Trial()), float)

    optuna = type("optuna", (), {"create_study": staticmethod(lambda **_: Study())})
    monkeypatch.setitem(sys.modules, "optuna", optuna)
    monkeypatch.setattr(mipi_pl, "train", tiny, raising=False)
    monkeypatch.setattr(mipi_pl, "evaluate", few, raising=False)
    monkeypatch.setattr("mipi_pl.run.api.evaluate", few)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for code in codes():
        exec(compile(code, "document", "exec"), names)
    assert {"run", "table"} <= set(names)


def test_importing_the_package_does_not_import_torch() -> None:
    program = "import sys, mipi_pl; assert mipi_pl.__version__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert set(mipi_pl.__all__) - {"__version__"} == {name for name in dir(mipi_pl) if hasattr(mipi_pl, name)} - {
        "__version__"
    }
    assert issubclass(mipi_pl.MIPI, torch.nn.Module)
    with pytest.raises(AttributeError, match="no attribute 'nobody'"):
        mipi_pl.nobody  # noqa: B018


def test_a_run_that_lost_its_files_says_which(trained: tuple[mipi_pl.TrainedRun, str], tmp_path: Path) -> None:
    copy = mipi_pl.TrainedRun(shutil.copytree(trained[0].folder, tmp_path / "copy"))
    for name in ("metrics.csv", "results.csv"):
        (copy.folder / name).unlink()
    for read, name in ((lambda: copy.metrics, "metrics.csv"), (lambda: copy.results, "results.csv")):
        with pytest.raises(UserError, match=rf"cannot read .*{name} \(No such file"):
            read()


def test_training_leaves_the_generators_of_the_program_alone(tmp_path: Path) -> None:
    def draws() -> list[float]:
        return [random.random(), float(np.random.uniform()), float(torch.rand(()))]  # noqa: NPY002  # a user's program

    def seed() -> None:
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002
        torch.manual_seed(5)

    seed()
    expected = [draws(), draws()]
    seed()
    found = [draws()]
    run = mipi_pl.train(TINY, output_dir=tmp_path)
    found.append(draws())
    assert found == expected
    before = repr(run.policy)
    assert run.resume(total_frames=200).folder == run.folder
    assert repr(run.policy) == repr(mipi_pl.load_policy(run)) != before


def test_a_worker_that_imports_the_script_does_not_train_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    for call in (lambda: mipi_pl.train(TINY, output_dir=tmp_path), lambda: mipi_pl.resume(tmp_path)):
        with pytest.raises(UserError, match='put the call under if __name__ == "__main__":'):
            call()
    assert list(tmp_path.iterdir()) == []


def test_modules_of_one_name_in_two_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    for folder in ("A", "B", "C"):
        (tmp_path / folder / "env").mkdir(parents=True)
        (tmp_path / folder / "__init__.py").touch()
        (tmp_path / folder / ("other.py" if folder == "C" else "ring_of_two.py")).touch()
    mipi_pl.make_env("sz", f"config_dir={tmp_path / 'A'}")
    mipi_pl.make_env("sz", f"config_dir={tmp_path / 'C'}")
    with pytest.raises(UserError, match=r"A and .*B both have a module ring_of_two, and a process can import only one"):
        mipi_pl.make_env("sz", f"config_dir={tmp_path / 'B'}")


def test_a_folder_in_the_home_folder_may_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    run = mipi_pl.train(TINY, output_dir="~/runs")
    assert run.folder.is_relative_to(tmp_path / "runs")
    assert run.evaluate(output_dir="~/results").folder.is_relative_to(tmp_path / "results")
    again = mipi_pl.train(TINY, {"algorithm.init_from": f"~/{run.checkpoint.relative_to(tmp_path)}"}, output_dir="~/b")
    assert (again.folder / "initial.ckpt").is_file()
    assert compose(["env=sz", "output_dir=~/c"]).output_dir == compose(["output_dir='~/c'"]).output_dir
    assert compose(["env=sz", "output_dir=~/c"]).output_dir == str(tmp_path / "c")
