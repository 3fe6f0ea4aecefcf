"""Movement and collision.

Everybody's step is worked out from the positions at the start of the loop, then all move at once and are pushed apart
pair by pair, again all at once: the order of the slots, and with it the side, makes no difference.
"""

from __future__ import annotations

import numpy as np

from mipi_pl.envs.kernels.compiled import rule
from mipi_pl.envs.kernels.records import Record, Records

_TOUCH = 0.02  # overlap that is left alone, in map units
_SWEEPS = 6  # rounds of pushing apart in a loop
_NEAR = 0.5  # farther apart than this at the end of a loop, two units cannot have touched in it
_SETTLE_ROUNDS = 40  # far more than any army of 32 needs to come apart
_TURN_MEMORY = 11  # loops (half a second) for which the way round an obstacle is kept
_HALF = float(np.sqrt(0.5))
# Ways out for a unit whose path is blocked, as (cosine, sine) of the turn. The chosen side comes first, even where it
# leads back: with the other side tried in between, a unit rocks to and fro in the notch between two that stand.
_DETOURS = ((_HALF, _HALF), (0.0, 1.0), (-_HALF, _HALF), (_HALF, -_HALF), (0.0, -1.0), (-_HALF, -_HALF))


@rule
def list_living(units: Records) -> int:
    """Write the slots of the living into the field `living` of the first places; how many there are."""
    n = 0
    for i in range(units.size):
        if units[i].alive:
            units[n].living = i
            n += 1
    return n


@rule
def walk_towards(unit: Record, x: float, y: float, stop_at: float) -> None:
    """Want a step towards (x, y), up to `stop_at` before it."""
    dx, dy = x - unit.x, y - unit.y
    distance = np.sqrt(dx * dx + dy * dy)
    step = min(unit.speed, distance - stop_at)
    if step <= 1e-9:
        return
    unit.walks = 1
    unit.step_x = dx * step / distance
    unit.step_y = dy * step / distance


@rule
def move(units: Records, n: int, pairs: np.ndarray, rules: Record) -> None:
    """Play the wanted steps of the n living units."""
    walkers, standers = 0, n
    for a in range(n):
        i = units[a].living
        unit = units[i]
        unit.blocked = 0
        unit.obstacle_side = 0.0
        unit.next_x, unit.next_y = unit.x, unit.y
        if unit.walks:
            unit.next_x += unit.step_x
            unit.next_y += unit.step_y
            units[walkers].queue = i
            walkers += 1
        else:
            standers -= 1
            units[standers].queue = i
    if walkers == 0:
        return
    n_pairs = _find_pairs(units, walkers, n, pairs)
    _find_obstacles(units, pairs, n_pairs)
    for a in range(n):
        i = units[a].living
        unit = units[i]
        if unit.blocked:
            _detour(units, pairs, n_pairs, i, rules)
        elif unit.turn != 0:
            unit.turn -= 1 if unit.turn > 0 else -1
    for a in range(n):
        unit = units[units[a].living]
        if unit.walks:
            unit.x += unit.step_x
            unit.y += unit.step_y
        _keep_inside(unit, rules)
    _separate(units, n, pairs, n_pairs, rules)


@rule
def settle(units: Records, n: int, pairs: np.ndarray, rules: Record) -> None:
    """Push the n living apart, however much they overlap, when nobody walks."""
    for _ in range(_SETTLE_ROUNDS):
        for a in range(n):
            unit = units[units[a].living]
            unit.walks = 0
            unit.next_x, unit.next_y = unit.x, unit.y
            units[a].queue = units[a].living
            _keep_inside(unit, rules)
        if not _separate(units, n, pairs, _find_pairs(units, n, n, pairs), rules):
            return


@rule
def _find_pairs(units: Records, walkers: int, n: int, pairs: np.ndarray) -> int:
    """Write the slots of all pairs of the same plane that may touch in this loop; how many there are.

    Of the n units in the field `queue` the first so many walk; two that stand cannot run into each other.
    """
    found = 0
    for a in range(walkers):
        i = units[a].queue
        one = units[i]
        x, y, reach, flies = one.next_x, one.next_y, one.radius + _NEAR, one.flies
        for c in range(a + 1, n):
            j = units[c].queue
            two = units[j]
            dx, dy, limit = two.next_x - x, two.next_y - y, two.radius + reach
            pairs[found, 0], pairs[found, 1] = i, j  # always written, seldom kept: faster than a branch
            found += int((dx * dx + dy * dy < limit * limit) & (two.flies == flies))
    return found


@rule
def _find_obstacles(units: Records, pairs: np.ndarray, n_pairs: int) -> None:
    """Mark the walkers that would run into somebody ahead of them."""
    for p in range(n_pairs):
        one, two = units[pairs[p, 0]], units[pairs[p, 1]]
        nx, ny = two.next_x - one.next_x, two.next_y - one.next_y
        contact = one.radius + two.radius - _TOUCH
        then = nx * nx + ny * ny
        if then >= contact * contact:
            continue
        dx, dy = two.x - one.x, two.y - one.y
        if then < dx * dx + dy * dy:  # otherwise they are parting
            _mark_if_ahead(one, dx, dy)
            _mark_if_ahead(two, -dx, -dy)


@rule
def _mark_if_ahead(unit: Record, dx: float, dy: float) -> None:
    """A walker is blocked by what lies at (dx, dy) from it when that is within 60 degrees of its way."""
    if not unit.walks:
        return
    sx, sy = unit.step_x, unit.step_y
    along = sx * dx + sy * dy
    if along > 0.0 and along * along > 0.25 * (sx * sx + sy * sy) * (dx * dx + dy * dy):
        unit.blocked = 1
        unit.obstacle_side += sx * dy - sy * dx


@rule
def _list_neighbours(units: Records, pairs: np.ndarray, n_pairs: int, i: int) -> int:
    """Write the slots of those that are near unit i into the field `queue` of the first places; how many there are.

    Nobody else can be in its way, wherever it turns: two steps are less than `_NEAR` (`units.FASTEST_PER_S`).
    """
    found = 0
    for p in range(n_pairs):
        one, two = pairs[p, 0], pairs[p, 1]
        units[found].queue = one + two - i  # always written, seldom kept
        found += int((one == i) | (two == i))
    return found


@rule
def _detour(units: Records, pairs: np.ndarray, n_pairs: int, i: int, rules: Record) -> None:
    """Turn the step of a blocked unit to the first free way; without one it waits."""
    unit, near = units[i], _list_neighbours(units, pairs, n_pairs, i)
    side = 1.0 if unit.turn > 0 else -1.0
    if unit.turn == 0:
        side = -1.0 if unit.obstacle_side > 0.0 else 1.0
    for cosine, sine in _DETOURS:
        turn = side * sine
        dx = cosine * unit.step_x - turn * unit.step_y
        dy = turn * unit.step_x + cosine * unit.step_y
        if _is_free(units, near, unit, unit.x + dx, unit.y + dy, rules):
            unit.step_x, unit.step_y = dx, dy
            unit.turn = _TURN_MEMORY if turn > 0.0 else -_TURN_MEMORY
            return
    unit.walks = 0
    unit.turn = 0


@rule
def _is_free(units: Records, near: int, unit: Record, x: float, y: float, rules: Record) -> bool:
    """Whether the unit could stand at (x, y) without coming closer to one of its neighbours that it touches there."""
    if min(x, y) < unit.radius or max(x, y) > rules.map_size - unit.radius:
        return False
    for a in range(near):
        other = units[units[a].queue]
        nx, ny = other.next_x - x, other.next_y - y
        contact = unit.radius + other.radius - _TOUCH
        then = nx * nx + ny * ny
        if then < contact * contact:
            dx, dy = other.x - unit.x, other.y - unit.y
            if then < dx * dx + dy * dy:
                return False
    return True


@rule
def _separate(units: Records, n: int, pairs: np.ndarray, n_pairs: int, rules: Record) -> bool:
    """Push overlapping pairs of the n living apart, within the map; whether some still may overlap."""
    for _ in range(_SWEEPS):
        found = False
        for p in range(n_pairs):
            one, two = units[pairs[p, 0]], units[pairs[p, 1]]
            dx, dy = two.x - one.x, two.y - one.y
            free = one.radius + two.radius - _TOUCH
            if dx * dx + dy * dy < free * free:
                found = True
                _push_pair(one, two, dx, dy)
        if not found:
            return False
        for a in range(n):
            unit = units[units[a].living]
            unit.x += unit.push_x
            unit.y += unit.push_y
            _keep_inside(unit, rules)
    return True


@rule
def _keep_inside(unit: Record, rules: Record) -> None:
    """Put it back onto the map; nobody has pushed it yet."""
    unit.x = min(max(unit.x, unit.radius), rules.map_size - unit.radius)
    unit.y = min(max(unit.y, unit.radius), rules.map_size - unit.radius)
    unit.push_x, unit.push_y = 0.0, 0.0


@rule
def _push_pair(one: Record, two: Record, dx: float, dy: float) -> None:
    """Share the way apart: a walker gives way to one that stands, equals share."""
    distance = np.sqrt(dx * dx + dy * dy)
    apart = one.radius + two.radius - distance
    if distance < 1e-6:  # one exactly upon the other: any direction will do
        dx, dy, distance = 1.0, 0.0, 1.0
    share = 0.5
    if one.walks != two.walks:
        share = 1.0 if one.walks else 0.0
    px, py = apart * dx / distance, apart * dy / distance
    one.push_x -= share * px
    one.push_y -= share * py
    two.push_x += (1.0 - share) * px
    two.push_y += (1.0 - share) * py
