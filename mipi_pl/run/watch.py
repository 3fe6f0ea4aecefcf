"""`mipi watch`: episodes of a checkpoint, alone or side by side with another policy, as an HTML page and videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mipi_pl.algorithms.base import EntityAlgorithm
from mipi_pl.envs.base import EntityEnv
from mipi_pl.evaluation.inspection import InspectedPolicy
from mipi_pl.evaluation.page import write_page
from mipi_pl.evaluation.recording import Recording
from mipi_pl.evaluation.recording import record as record_episodes
from mipi_pl.evaluation.rollout import Policy
from mipi_pl.evaluation.video import beside_each_other, can_write_mp4, write_gif, write_mp4
from mipi_pl.evaluation.worlds import TRAINING, MakePolicy, World, WorldError, Worlds, seed_of, workload_note
from mipi_pl.run.build import one_environment
from mipi_pl.run.loaded_run import LoadedRun, check_worlds, open_checkpoint, open_opponent
from mipi_pl.run.result_folder import not_writable, result_folder
from mipi_pl.storage import provenance, run_folder, shipped
from mipi_pl.utils.errors import DivergedError, UserError
from mipi_pl.utils.extras import how_to_install
from mipi_pl.utils.memory import require_memory

_SCENE_BYTES = 500
"""Memory of one entity in one recorded scene."""

Player = tuple[str, MakePolicy]
"""Name and policy factory of a player."""


def watch_checkpoint(
    path: Path,
    overrides: Sequence[str],
    episodes: int,
    against: str | None,
    formats: Sequence[str],
    say: Callable[[str], None] = print,
) -> Path:
    """Play greedy episodes of a checkpoint and write them as a page and as videos.

    Args:
        path: checkpoint written by `mipi train`, a file of its weights, or the name of a shipped policy.
        overrides: command-line overrides: env.<argument>, seed, output_dir, threads.
        episodes: episodes per team size.
        against: second player: another checkpoint or the name of a scripted policy; None for no second player.
        formats: any of ``html``, ``gif`` and ``mp4``.
        say: function that prints messages to the user.

    Returns:
        The folder of the results.

    Raises:
        UserError: if the checkpoint cannot be used, an override is invalid, the package for MP4 is missing, or the
            folder cannot be written to.
    """
    for override in overrides:
        if override.lstrip("+~").startswith("held_out"):
            raise UserError(f"mipi watch plays --episodes N on env.team_sizes=[...]; {override} is for mipi eval")
    if "mp4" in formats and not can_write_mp4():
        raise UserError(f"--format mp4 needs the package imageio-ffmpeg: {how_to_install('video')}, or use gif")
    path = shipped.located(path)
    loaded = _opened(path, overrides)
    plan = loaded.plan
    _refuse_many(loaded, episodes, 1 if against is None else 2)
    if note := workload_note(len(plan.worlds), episodes, loaded.spec.max_steps):
        say(note)
    players = [_learned(loaded), *([] if against is None else [_opponent(against, loaded)])]
    shown: dict[str, tuple[Recording, ...]] = {}
    stems = []
    with (
        result_folder(path, "watch", plan.output_dir) as folder,
        Worlds(loaded.make_env, plan.worlds, episodes, plan.held_out["seed"]) as worlds,
    ):
        for world in worlds.worlds:
            recordings = [_play(player, worlds, world) for player in players]
            for number, plays in enumerate(zip(*recordings, strict=True), start=1):
                shown[f"{len(shown) + 1}: {plays[0].composition}"] = plays
                stems.append(f"{world.name}_{number}")
                say(f"{world.name:<9} {number:>3}   {_summary(plays)}")
        try:
            _write(folder, loaded, shown, stems, formats, say)
        except OSError as error:
            raise not_writable(folder, error) from error
    return folder


def _opened(path: Path, overrides: Sequence[str]) -> LoadedRun:
    """Load a checkpoint whose plan has only the worlds to watch: the sizes that were named, or the training teams."""
    loaded = open_checkpoint(path, overrides)
    worlds = loaded.plan.worlds
    if worlds[0].name == TRAINING:
        loaded = replace(loaded, plan=replace(loaded.plan, worlds=worlds[:1]))
    check_worlds(loaded)
    return loaded


def _refuse_many(loaded: LoadedRun, episodes: int, players: int) -> None:
    """Check that the recordings fit into the memory of this machine.

    Raises:
        UserError: if they do not.
    """
    recordings = episodes * len(loaded.plan.worlds) * players
    size = _SCENE_BYTES * recordings * loaded.spec.max_steps * loaded.spec.n_entities
    try:
        require_memory(f"{recordings:,} recordings of up to {loaded.spec.max_steps:,} steps", size, "lower --episodes")
    except ValueError as error:
        raise UserError(str(error)) from error


def _learned(loaded: LoadedRun) -> Player:
    def make(_: EntityEnv, seed: int) -> Policy:
        return inspected(loaded.algorithm, seed)

    return loaded.name, make


def inspected(algorithm: EntityAlgorithm, seed: int) -> InspectedPolicy:
    """Return the greedy policy of an algorithm, with its marginal policy and utilities if it has them."""
    return InspectedPolicy(algorithm.actor(True, seed), algorithm.trained_marginal, algorithm.trains_utilities)


def _opponent(against: str, loaded: LoadedRun) -> Player:
    path = shipped.located(Path(against))
    if path.is_file():
        return _learned(open_opponent(path, loaded.plan))
    with one_environment(loaded.make_env) as env:
        known = env.scripted
    if against not in known:
        names = ", ".join(known) or "this world has none"
        raise UserError(f"--against must be a checkpoint file or a scripted policy ({names}), got {against!r}")
    return against, lambda env, seed: env.scripted_policy(against, seed)


def _play(player: Player, worlds: Worlds, world: World) -> list[Recording]:
    name, make_policy = player
    try:
        with worlds.environment(world) as env:
            return record_episodes(env, make_policy(env, seed_of(world.name, worlds.seed)), name, worlds.episodes)
    except WorldError as error:
        raise UserError(str(error)) from error
    except (NotImplementedError, DivergedError) as error:
        raise UserError(f"nothing to watch: {error}") from error


def _summary(plays: Sequence[Recording]) -> str:
    results = [
        f"{'' if play.won is None else 'won, ' if play.won else 'not won, '}return {sum(play.rewards):.2f} "
        f"in {len(play.rewards)} steps"
        for play in plays
    ]
    return f"{plays[0].composition}: {' | '.join(results)}"


def _write(
    folder: Path,
    loaded: LoadedRun,
    shown: dict[str, tuple[Recording, ...]],
    stems: Sequence[str],
    formats: Sequence[str],
    say: Callable[[str], None],
) -> None:
    if "html" in formats:
        others = {play.policy for plays in shown.values() for play in plays} - {loaded.name}
        title = " and ".join([loaded.name, *sorted(others)])
        note = f"Greedy episodes, seed {loaded.plan.held_out['seed']}. Made by: {provenance.command()}"
        write_page(folder / "watch.html", title, note, shown)
        say(f"page       {run_folder.shown(folder / 'watch.html')}")
    for kind, write in (("gif", write_gif), ("mp4", write_mp4)):
        if kind in formats:
            for stem, plays in zip(stems, shown.values(), strict=True):
                path = folder / f"{stem}.{kind}"
                write(path, beside_each_other(plays))
                say(f"video      {run_folder.shown(path)}")
