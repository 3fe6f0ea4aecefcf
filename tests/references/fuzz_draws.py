"""Random command lines of `mipi`: a valid one with one to three random changes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

TRAIN_BASES = (
    ("experiment=matrix_game", "algorithm=mipi"),
    ("experiment=matrix_game", "algorithm=mipi_ppo"),
    ("experiment=matrix_game", "algorithm=collaq"),
    ("env=marines", "algorithm=refil"),
    ("env=marines", "algorithm=mappo"),
    ("experiment=quickstart",),
    ("experiment=quickstart", "algorithm=alpha_infinity"),
    ("experiment=resource_collection", "algorithm=mipi"),
    ("experiment=resource_collection", "algorithm=mipi_ppo"),
)
SMALL = ("debug=tiny", "threads=1", "held_out.episodes=2", "datamodule.num_envs=2")
NUMBERS = ("-1", "0", "1", "3", "1.5", "-0.0", "1e-12", "1e300", "1e400", "nan", "inf", "-inf", "0x10", "4294967296",
           "2147483648", "1000000000000", "-9223372036854775808", "99999999999999999999999")  # fmt: skip
INTEGERS = ("-1", "0", "1", "2", "3", "7", "64", "1000", "100000", "4294967296", "1000000000000", "9223372036854775807",
            "99999999999999999999999")  # fmt: skip
TEXTS = ("abc", "''", "null", "true", "cpu", "'a b'", "'../x'", "'${'", "ä", "'a/b'", "none", "'1'", "?", "???")
CONTAINERS = ("[]", "[[]]", "{}", "[1,2,3]", "[-3,abc]", "{a: 1}", "{7: {a: 1}}", "[null]", "[{a: 1}]", "{a: [1]}")
TARGETS = ("os.getcwd", "builtins.dict", "builtins.int", "builtins.print", "builtins.input", "collections.OrderedDict",
           "typing.Any", "typing.List", "sys.exit", "math.sqrt", "math.pi", "functools.partial", "torch.nn.Linear",
           "torch.zeros", "torch.optim.Adam", "lightning.Callback", "lightning.Trainer",
           "mipi_pl.callbacks.progress.Progress", "mipi_pl.models.mixers.SumMixer", "mipi_pl.envs.matrix.MatrixGame",
           "mipi_pl.envs.base.EntityEnv", "nothing.at.all", "abc", "''", "3", "null", "..", "this.s", "mipi_pl",
           "numpy.random", "enum.Enum")  # fmt: skip
INTERPOLATIONS = ("${seed}", "${run}", "${env}", "${nothing}", "${run.name}", "${oc.env:NOTHING}", "${oc.env:HOME}",
                  "${now:}", "${hydra:job.name}", "${nope:1}", "${oc.decode:'['}", "${total_frames}", "${.x}", "${..}",
                  "${oc.select:nothing,3}", "${oc.create:{a: 1}}", "${held_out.worlds}", "${seed}x")  # fmt: skip
FLAGS = ("-m", "--multirun", "--cfg job", "--cfg hydra", "--cfg all", "--cfg nope", "--cfg", "--resolve",
         "--cfg job --resolve", "--cfg job -p env", "--cfg job -p nothing", "-cn x", "--config-name=eval", "-cp /tmp",
         "--config-path=x", "--config-dir", "--config-dir nowhere", "-cd=.", "--info", "--info all", "--info nope",
         "--run", "-r", "--help", "-h", "--hydra-help", "--version", "--shell-completion install=bash", "-sc x",
         "--experimental-rerun x", "-p env", "--bogus", "-x", "--", "-")  # fmt: skip
HYDRA_KEYS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.job.name", "hydra.job.chdir",
              "hydra.output_subdir", "hydra.searchpath", "hydra.launcher", "hydra.sweeper", "hydra.verbose",
              "hydra.mode", "hydra", "hydra.callbacks", "hydra/launcher", "hydra/job_logging", "hydra.job.num",
              "hydra.sweeper.params", "hydra.help.template", "hydra.runtime.choices", "hydra.job.env_set")  # fmt: skip
Keys = Mapping[str, Any]
"""Dotted keys with their present values."""
COMMANDS = {"train": 60, "eval": 12, "watch": 8, "compositions": 5, "report": 3, "runs": 1, "export": 3, "resume": 2,
            "reproduce": 4, "check-env": 3, "theory": 1, "dashboard": 1, "doctor": 1, "completion": 1}  # fmt: skip
EVAL_KEYS = ("seed", "output_dir", "threads", "held_out", "env", "held_out.team_sizes", "held_out.worlds",
             "held_out.episodes", "held_out.baselines", "held_out.worlds.x", "held_out.worlds.x.team_sizes",
             "held_out.seed")  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """Folders and files that the command lines refer to.

    Attributes:
        checkpoints: checkpoints and policies that `eval`, `watch` and `export` can open, with the keys of their
            environments.
        run: folder of a finished run.
        keys: dotted keys of the composed config with their values, for each of `TRAIN_BASES`.
    """

    checkpoints: Mapping[str, Keys]
    run: Path
    keys: Mapping[Sequence[str], Keys] = field(repr=False)


def keys_of(node: Any, path: str = "") -> dict[str, Any]:
    """Return the dotted keys below `node`, inner ones and leaves, with their values."""
    below = {path: node} if path else {}
    for name, child in node.items() if isinstance(node, Mapping) else ():
        below.update(keys_of(child, f"{path}.{name}" if path else str(name)))
    return below


def choices() -> dict[str, list[str]]:
    """Return the choices of each config group, with those in subfolders."""
    groups: dict[str, list[str]] = {}
    for group in files("mipi_pl.configs").iterdir():
        if group.is_dir() and not group.name.startswith("_"):
            root = Path(str(group))
            groups[group.name] = sorted(
                path.relative_to(root).as_posix().removesuffix(".yaml") for path in root.rglob("*.yaml")
            )
    return groups


_CHOICES = choices()


def value(draw: random.Random, key: str, keys: Keys) -> str:
    """Return a random value in Hydra's grammar, half of the time of the same type as the present value."""
    kind, present = draw.random(), keys.get(key)
    if key.endswith("_target_") and kind < 0.8:
        return draw.choice(TARGETS)
    if draw.random() < 0.5 and isinstance(present, (int, float, list)):
        return _of_type(draw, present)
    if kind < 0.35:
        return draw.choice(NUMBERS)
    if kind < 0.55:
        return draw.choice(TEXTS)
    if kind < 0.75:
        return draw.choice(CONTAINERS)
    if kind < 0.85:
        return f"{{_target_: {draw.choice(TARGETS)}}}"
    if kind < 0.95 or not keys:
        return draw.choice(INTERPOLATIONS)
    return f"${{{draw.choice(list(keys))}}}"


def _of_type(draw: random.Random, present: object) -> str:
    if isinstance(present, bool):
        return str(not present).lower()
    if isinstance(present, list):
        entry = draw.choice(NUMBERS) if all(isinstance(entry, int) for entry in present) else draw.choice(CONTAINERS)
        return f"[{entry}]"
    wanted = INTEGERS if isinstance(present, int) else NUMBERS
    return draw.choice(wanted)


def change(draw: random.Random, keys: Keys) -> list[str]:
    """Return the words of one random change of a training config."""
    key, kind = draw.choice(list(keys)), draw.random()
    top = key.split(".")[0]
    if kind < 0.52:
        return [f"{key}={value(draw, key, keys)}"]
    if kind < 0.60:
        return [f"~{key}"]
    if kind < 0.68:
        name = draw.choice(("x", "_target_", "_partial_", "_convert_", "_args_", "make_env", "seed", "0"))
        return [f"{draw.choice(('+', '++'))}{key}.{name}={value(draw, name, keys)}"]
    if kind < 0.73:
        return [f"{draw.choice(('+', '++'))}{draw.choice((key, 'x', 'x.y'))}={value(draw, key, keys)}"]
    if kind < 0.85:
        group = draw.choice(list(_CHOICES))
        other = draw.choice((group, group, group, draw.choice(list(_CHOICES))))
        chosen = draw.choice(_CHOICES[other] or ["x"])
        sign, package = draw.choice(("", "", "", "+", "++", "~")), draw.choice(("", "", "", f"@{top}", f"@{key}"))
        return [f"{sign}{group}{package}" + ("" if sign == "~" else f"={chosen}")]
    if kind < 0.89:  # a cycle of two interpolations
        other = draw.choice(list(keys))
        return [f"{key}=${{{other}}}", f"{other}=${{{key}}}"]
    if kind < 0.95:
        return draw.choice(FLAGS).split(" ")
    hydra_key = draw.choice(HYDRA_KEYS)
    return [f"{draw.choice(('', '', '+', '++'))}{hydra_key}={value(draw, hydra_key, keys)}"]


def command_line(draw: random.Random, scene: Scene) -> list[str]:
    """Return a random command line of `mipi`."""
    command = draw.choices(list(COMMANDS), list(COMMANDS.values()))[0]
    return [command, *_WORDS[command](draw, scene)]


def _changes(draw: random.Random, keys: Keys) -> list[str]:
    return [word for _ in range(draw.choice((1, 1, 1, 2, 3))) for word in change(draw, keys)]


def _train(draw: random.Random, scene: Scene) -> list[str]:
    base = draw.choice(TRAIN_BASES)
    words = [*base, *SMALL, *_changes(draw, scene.keys[base])]
    if draw.random() < 0.1:
        draw.shuffle(words)
    return words


def _play(draw: random.Random, scene: Scene) -> list[str]:
    path = draw.choice([*scene.checkpoints, *scene.checkpoints, str(scene.run), "nothing.ckpt", "seed=1"])
    environment = scene.checkpoints.get(path, {"env.x": 1})
    keys = [*EVAL_KEYS, *EVAL_KEYS, *environment]
    words = []
    for _ in range(draw.choice((1, 1, 2, 3))):
        key = draw.choice(keys)
        sign = draw.choice(("", "", "", "", "+", "++", "~"))
        words.append(f"{sign}{key}" + ("" if sign == "~" else f"={value(draw, key, environment)}"))
    return [path, *words]


def _eval(draw: random.Random, scene: Scene) -> list[str]:
    path, *words = _play(draw, scene)
    words.insert(0, "held_out.episodes=2")
    if draw.random() < 0.1:  # of a folder, which takes few changes, so that some of them run
        path, words = draw.choice((str(scene.run), path)), ["--absolute", *words[1 : draw.choice((1, 2))]]
    more = draw.choice(FLAGS).split(" ") if draw.random() < 0.05 else []
    return [path, "threads=1", *words, *more]


def _watch(draw: random.Random, scene: Scene) -> list[str]:
    path, *words = _play(draw, scene)
    options = []
    if draw.random() < 0.3:
        options += ["--episodes", draw.choice((*NUMBERS[:3], "2", "abc", "''"))]
    if draw.random() < 0.3:
        options += ["--against", draw.choice((*scene.checkpoints, *TEXTS, "random", "attack_nearest", str(scene.run)))]
    options += ["--format", draw.choice(("html", "gif", "mp4", "abc"))] if draw.random() < 0.5 else ["--format=html"]
    return [path, *words, *options]


def _compositions(draw: random.Random, scene: Scene) -> list[str]:
    base = draw.choice(TRAIN_BASES)
    keys = {key: value for key, value in scene.keys[base].items() if key.startswith(("env", "held_out"))}
    return [*base, *_changes(draw, keys)]


def _folder(draw: random.Random, scene: Scene) -> str:
    return draw.choice((str(scene.run), str(scene.run.parent), "nothing", "/dev/null", "/proc/self", "''", "ä", "/sys"))


def _report(draw: random.Random, scene: Scene) -> list[str]:
    words = [_folder(draw, scene) for _ in range(draw.choice((0, 1, 1, 2)))]
    which = draw.choice(("mipi", "seed=0", "env=*", "finished", "failed", "=", *TEXTS))
    more = (
        [],
        ["--title", draw.choice(TEXTS)],
        ["--output-dir", "/dev/null/x"],
        ["--label", draw.choice((f"{which}={draw.choice(TEXTS)}", which, "=x"))],
        ["--exclude", which],
        ["--marl-eval", draw.choice(("a.json", "x/a.json", "/dev/null/x", "''"))],
        ["--x", "3"],
    )
    return [*words, *draw.choice(more)]


def _runs(draw: random.Random, scene: Scene) -> list[str]:
    return [_folder(draw, scene)]


def _export(draw: random.Random, scene: Scene) -> list[str]:
    path = draw.choice((*scene.checkpoints, str(scene.run), "nothing", "/dev/null", "a=1"))
    output = ["--output", draw.choice(("a.safetensors", "a.pt2", "a.onnx", "a", "/dev/null", "''", "x/y"))]
    form = ["--format", draw.choice(("safetensors", "pt2", "onnx", "abc"))]
    key = draw.choice(EVAL_KEYS)
    change = [f"{key}={value(draw, key, {})}"]
    return [path, *draw.choice(([], output, form, [*form, *output], [*form, *change]))]


def _reproduce(draw: random.Random, scene: Scene) -> list[str]:
    target = draw.choice(("table1", "table2", "figure2", "figure4", "ablations", "ablations_ppo", "abc"))
    keys = scene.keys[TRAIN_BASES[0]]
    words = [word for _ in range(draw.choice((0, 1, 2))) for word in change(draw, keys)]
    options = ("--scale", draw.choice(("smoke", "cpu", "paper", "x"))), ("--seeds", draw.choice(NUMBERS)), (
        "--tasks", draw.choice(("SZ", "x"))), ("--jobs", draw.choice(NUMBERS)), ("--launcher", "joblib")  # fmt: skip
    return [target, "--dry-run", *words, *draw.choice(options)]


def _theory(draw: random.Random, scene: Scene) -> list[str]:
    return ["--instances", draw.choice(("-1", "0", "abc", "1.5", "1")), "--seed", draw.choice(NUMBERS)]


def _dashboard(draw: random.Random, scene: Scene) -> list[str]:
    options = ("--held-out", draw.choice(NUMBERS)), ("--measure", draw.choice(TEXTS)), ("--name", draw.choice(TEXTS))
    return list(draw.choice(options))


def _doctor(draw: random.Random, scene: Scene) -> list[str]:
    return list(draw.choice(((), ("--x",), ("seed=1",), ("abc",))))


def _resume(draw: random.Random, scene: Scene) -> list[str]:
    longer = [f"{draw.choice(('', '', '+', '~'))}total_frames={draw.choice((*INTEGERS, '22', 'abc', '1.5'))}"]
    return [_folder(draw, scene), *draw.choice(([], longer, longer, ["seed=1"], ["--x"]))]


def _completion(draw: random.Random, scene: Scene) -> list[str]:
    shell = draw.choice(("bash", "zsh", "fish", "abc"))
    words = draw.choice(([], _train(draw, scene), _eval(draw, scene), _compositions(draw, scene), ["ä", "'"]))
    line = " ".join(["mipi", draw.choice(("", *COMMANDS)), *words])
    return [shell, *draw.choice(([], ["--line", line[: draw.randrange(len(line) + 1)]], ["--line"]))]


_WORDS = {
    "train": _train,
    "eval": _eval,
    "watch": _watch,
    "compositions": _compositions,
    "check-env": _compositions,
    "report": _report,
    "runs": _runs,
    "export": _export,
    "resume": _resume,
    "reproduce": _reproduce,
    "theory": _theory,
    "dashboard": _dashboard,
    "doctor": _doctor,
    "completion": _completion,
}
