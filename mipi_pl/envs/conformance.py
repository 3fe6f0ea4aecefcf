"""Checks of a world against the contract of `EntityEnv`, for `mipi check-env`, by playing it at random.

`mipi_pl.envs.trace` plays and records; the functions here judge what was recorded. Each of them returns what is wrong.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import torch

from mipi_pl import spec as keys
from mipi_pl.envs.base import MakeEnv
from mipi_pl.envs.faults import reason_of
from mipi_pl.envs.trace import Trace, difference, draws, global_generators_kept, play, play_on
from mipi_pl.utils.errors import UnavailableActionError

_RESUMED_STEPS = 200
"""Steps that are played at most to compare a restored environment."""


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Attributes:
        name: what was checked.
        passed: whether the world passed; None if it could not be checked.
        detail: what was seen, or what is wrong.
        advice: what to do; empty if nothing needs to be done.
    """

    name: str
    passed: bool | None
    detail: str
    advice: str = ""


_ADVICE = {
    "contract": "mipi_pl/spec.py has the shapes; a method must write every field of the given frame",
    "masks": "give each agent at least one action that the world accepts; an agent that does not act has action 0 only "
    "and sees nothing, and no agent sees an empty slot",
    "self-visibility": "set visible[i, i] for each agent i that acts, from the first observation on",
    "compositions": "fill as many agent slots as the composition (env.compositions) of the episode has agents, and "
    "change it only in begin or reset",
    "NaN": "return finite numbers; this is a fault of the world, not of learning",
    "episode limit": "end each episode as truncated after spec.max_steps steps, unless it terminates; truncated before "
    "that means a fault of the world. If the world has a shorter limit of its own, max_steps is that limit",
    "determinism": "draw all random numbers from generators that seed_rows (or reset) seeds, and none from the global "
    "ones; keep no state beyond an episode; avoid sets, whose order differs between processes",
    "resume": "save all state that later steps depend on in memory, and restore it in remember; a SteppedEnv plays the "
    "actions again, so its games must be deterministic",
}
"""What to do, by check, in the order of the checks."""


@global_generators_kept()
def examine(make_env: MakeEnv, seed: int = 0, seconds: float = 2.0, steps: int = 2_000) -> list[Check]:
    """Check a world. The global generators of random numbers are as before, also if the world draws from them.

    Args:
        make_env: factory of the environment.
        seed: seed of the environment and of the actions.
        seconds: time for which it is played at most; two checks play it again.
        steps: number of steps for which it is played at most.

    Raises:
        UserError: if the world cannot be created.
    """
    trace = play(make_env, seed, seconds, steps)
    judged = {
        "contract": _contract(trace),
        "masks": _masks(trace),
        "self-visibility": _self_visibility(trace),
        "compositions": _compositions(trace),
        "NaN": _nan(trace),
        "episode limit": _episode_limit(trace),
    }
    findings = [_found(name, wrong, _seen(name, trace), bool(trace.steps)) for name, wrong in judged.items()]
    for name, repeat in (("determinism", _determinism), ("resume", _resume)):
        if trace.error is not None or not trace.steps:
            findings.append(Check(name, None, "not checked, because the world could not be played"))
        else:
            findings.append(_found(name, repeat(make_env, trace, seed), _seen(name, trace)))
    return findings


def _found(name: str, wrong: str | None, seen: str, played: bool = True) -> Check:
    if wrong is not None:
        return Check(name, False, wrong, _ADVICE[name])
    return Check(name, True, seen) if played else Check(name, None, "not checked, because no step could be played")


def _seen(name: str, trace: Trace) -> str:
    spec, episodes = trace.spec, len(trace.lengths)
    reached = sum(length == spec.max_steps for length in trace.lengths)
    sizes = f"A={spec.n_agents}, E={spec.n_entities}, F={spec.n_features}, U={spec.n_actions}, T={spec.max_steps}"
    resumed = "a restored environment goes on bit for bit"
    return {
        "contract": f"{len(trace.steps)} steps of {trace.num_envs} environments; {sizes}",
        "masks": "each agent has an action; agents that do not act have the first one only",
        "self-visibility": "each agent that is present sees itself and acts",
        "compositions": f"teams of {', '.join(map(str, sorted({c.size for c in trace.compositions})))}",
        "NaN": "all features and rewards are finite",
        "episode limit": f"{episodes} episodes, {reached} of them ended by the limit of {spec.max_steps} steps",
        "determinism": "equal seeds and actions give equal episodes, bit for bit",
        "resume": resumed if trace.resumable else "the world cannot resume; running episodes end as truncated",
    }[name]


# ---------------------------------------------------------------------- checks of what was recorded


def _contract(trace: Trace) -> str | None:
    if trace.error is not None and not isinstance(trace.error, UnavailableActionError):
        return f"{trace.where_it_failed()}: {reason_of(trace.error, trace.failed_in)}"
    for where, td in trace.observations():
        if (bad := (td[keys.ENTITIES].ne(0).any(dim=-1) & ~td[keys.PRESENT]).nonzero()).numel():
            return f"{where(bad)}: entities[{int(bad[0, 1])}] must be 0 in a slot that is not present"
    return None


def _masks(trace: Trace) -> str | None:
    for where, td in trace.observations():
        mask, visible, present = td[keys.ACTION_MASK], td[keys.VISIBLE], td[keys.PRESENT]
        acting = keys.acting(visible)
        if (bad := (~mask.any(dim=-1)).nonzero()).numel():
            return f"{where(bad)}: agent {int(bad[0, 1])} has no available action"
        idle = mask[..., 1:].any(dim=-1) | ~mask[..., 0]
        if (bad := (idle & ~acting).nonzero()).numel():
            return f"{where(bad)}: agent {int(bad[0, 1])} does not act and must have the first action only"
        if (bad := (visible.any(dim=-1) & ~acting).nonzero()).numel():
            return f"{where(bad)}: agent {int(bad[0, 1])} sees others and not itself"
        if (bad := (visible & ~present.unsqueeze(-2)).nonzero()).numel():
            return f"{where(bad)}: agent {int(bad[0, 1])} sees the empty slot {int(bad[0, 2])}"
    if isinstance(trace.error, UnavailableActionError):
        return f"{trace.where_it_failed()}: the world refused an action that its mask allows: {trace.error}"
    return None


def _self_visibility(trace: Trace) -> str | None:
    for b, tds in trace.episodes():
        present = torch.stack([td[keys.PRESENT][b, : trace.spec.n_agents] for td in tds]).any(dim=0)
        acting = torch.stack([keys.acting(td[keys.VISIBLE])[b] for td in tds])
        if not acting[0].any():
            return f"environment {b}: no agent sees itself in the first observation, so none would ever act or learn"
        if (bad := (present & ~acting.any(dim=0)).nonzero()).numel():
            i = int(bad[0])
            return f"environment {b}: agent {i} is present and never sees itself (visible[{i}, {i}]), so it never acts"
    return None


def _compositions(trace: Trace) -> str | None:
    for b, tds in trace.episodes():
        drawn = [int(td[keys.COMPOSITION][b]) for td in tds]
        if not 0 <= drawn[0] < len(trace.compositions):
            return f"environment {b}: composition {drawn[0]}, but there are {len(trace.compositions)}"
        if len(set(drawn)) > 1:
            return f"environment {b}: the composition changes within an episode: {list(dict.fromkeys(drawn))}"
        team = trace.compositions[drawn[0]]
        present = torch.stack([td[keys.PRESENT][b, : trace.spec.n_agents] for td in tds])
        at_once, ever = int(present.sum(dim=1).max()), int(present.any(dim=0).sum())
        over = bool(tds[-1][keys.TERMINATED][b] | tds[-1][keys.TRUNCATED][b])  # until then, more may appear
        if at_once > team.size or (over and ever < team.size):
            played = at_once if at_once > team.size else ever
            return f"environment {b}: composition {team.label!r} has {team.size} agents, and {played} are present"
    return None


def _nan(trace: Trace) -> str | None:
    for where, td in trace.observations():
        if (bad := (~td[keys.ENTITIES].isfinite()).nonzero()).numel():
            b, slot, feature = bad[0].tolist()
            name = f" ({trace.spec.feature_names[feature]})" if trace.spec.feature_names else ""
            value = float(td[keys.ENTITIES][b, slot, feature])
            return f"{where(bad)}: the world returned entities[{slot}, {feature}]{name} = {value}"
        if keys.REWARD in td.keys() and (bad := (~td[keys.REWARD].isfinite()).nonzero()).numel():  # noqa: SIM118
            return f"{where(bad)}: the world returned the reward {float(td[keys.REWARD][int(bad[0, 0])])}"
    return None


def _episode_limit(trace: Trace) -> str | None:
    limit = trace.spec.max_steps
    for b, length, ended in trace.played():
        if length > limit or (length == limit and ended is None):
            return f"environment {b}: an episode goes on after step {limit}, its limit (spec.max_steps)"
        if ended == keys.TRUNCATED and length < limit:
            return f"environment {b}: an episode is truncated after {length} steps, before its limit of {limit}"
    return None


# ---------------------------------------------------------------------- checks that play again


def _determinism(make_env: MakeEnv, trace: Trace, seed: int) -> str | None:
    if trace.drew_globally:
        return "the world draws from PyTorch's global generator, which learning uses too"
    again = play(make_env, seed, steps=len(trace.steps), disturb=True)
    if again.error is not None:
        return f"played again with the same seed and actions: {again.where_it_failed()}: {again.error}"
    return _first_difference(trace, again)


def _resume(make_env: MakeEnv, trace: Trace, seed: int) -> str | None:
    if not trace.resumable:
        return None
    total = min(len(trace.steps), _RESUMED_STEPS)
    before = total // 3
    try:
        with ExitStack() as stack:
            made = []
            for each in (seed, seed + 1):
                made.append(make_env(num_envs=trace.num_envs, seed=each))
                stack.callback(made[-1].close)
                made[-1].checked = False
            env, other = made
            td = play_on(env, env.reset(), before, draws(seed))[1]
            other.set_extra_state(env.get_extra_state())
            expected, found = (play_on(e, td.clone(), total - before, draws(seed + 1))[0] for e in made)
    except Exception as error:
        return f"after {before} steps: {reason_of(error, 'saving, restoring or going on')}"
    for number, (one, two) in enumerate(zip(expected, found, strict=True), start=1):
        if (wrong := difference(one, two)) is not None:
            return f"saved after {before} steps and restored: {wrong} in step {number} after that"
    return None


def _first_difference(trace: Trace, again: Trace) -> str | None:
    for number, (one, two) in enumerate(zip(trace.steps, again.steps, strict=True), start=1):
        if (wrong := difference(one, two)) is not None:
            return f"played again with the same seed and actions: {wrong} in step {number}"
    return None
