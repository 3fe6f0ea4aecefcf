"""Movement and collision.

All steps are computed from the positions at the start of the loop and applied at once. Overlapping pairs are then
pushed apart, also all at once. The order of the slots, and therefore the side, makes no difference.
"""

from __future__ import annotations

import numpy as np

from mipi_pl.envs.kernels.compiled import rule
from mipi_pl.envs.kernels.records import Record, Records

_TOUCH = 0.02  # overlap that is tolerated, in map units
_SWEEPS = 6  # maximum number of separation rounds per loop
_NEAR = 0.5  # units with a larger gap at the end of a loop cannot have touched in it
_SETTLE_ROUNDS = 40  # far more than an army of 32 needs to separate
_TURN_MEMORY = 11  # loops (half a second) for which a unit keeps the side on which it passes an obstacle
_HALF = float(np.sqrt(0.5))
# Detours for a blocked unit as (cosine, sine) of the turn. All turns to the chosen side come first, even those that
# lead backwards. If the sides alternated, a unit would oscillate in the notch between two standing units.
_DETOURS = ((_HALF, _HALF), (0.0, 1.0), (-_HALF, _HALF), (_HALF, -_HALF), (0.0, -1.0), (-_HALF, -_HALF))


@rule
def list_living(units: Records) -> int:
    """Write the slots of the living units into the field `living` of the first records; return their number."""
    n = 0
    for i in range(units.size):
        if units[i].alive:
            units[n].living = i
            n += 1
    return n


@rule
def walk_towards(unit: Record, x: float, y: float, stop_at: float) -> None:
    """Set the unit's step towards (x, y); it stops at distance `stop_at` from the point."""
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
    """Apply the steps of the n living units, with detours around obstacles and separation of overlaps."""
    walkers, first_stander = 0, n
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
            first_stander -= 1
            units[first_stander].queue = i
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
    """Push the n living units apart until none overlap (at most `_SETTLE_ROUNDS` rounds). No unit walks."""
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
    """Write the slots of all pairs in the same plane that may touch in this loop; return the number of pairs.

    The first `walkers` of the n units in the field `queue` walk. Pairs of standing units cannot collide; they are
    skipped.
    """
    n_pairs = 0
    for a in range(walkers):
        i = units[a].queue
        one = units[i]
        x, y, reach, flies = one.next_x, one.next_y, one.radius + _NEAR, one.flies
        for c in range(a + 1, n):
            j = units[c].queue
            two = units[j]
            dx, dy, limit = two.next_x - x, two.next_y - y, two.radius + reach
            pairs[n_pairs, 0], pairs[n_pairs, 1] = i, j  # writing always and keeping rarely is faster than a branch
            n_pairs += int((dx * dx + dy * dy < limit * limit) & (two.flies == flies))
    return n_pairs


@rule
def _find_obstacles(units: Records, pairs: np.ndarray, n_pairs: int) -> None:
    """Mark walkers that would collide with a unit ahead of them."""
    for p in range(n_pairs):
        one, two = units[pairs[p, 0]], units[pairs[p, 1]]
        nx, ny = two.next_x - one.next_x, two.next_y - one.next_y
        contact = one.radius + two.radius - _TOUCH
        squared_after = nx * nx + ny * ny
        if squared_after >= contact * contact:
            continue
        dx, dy = two.x - one.x, two.y - one.y
        if squared_after < dx * dx + dy * dy:  # otherwise they move apart
            _mark_if_ahead(one, dx, dy)
            _mark_if_ahead(two, -dx, -dy)


@rule
def _mark_if_ahead(unit: Record, dx: float, dy: float) -> None:
    """Mark a walker as blocked if the obstacle at offset (dx, dy) is within 60 degrees of its direction."""
    if not unit.walks:
        return
    sx, sy = unit.step_x, unit.step_y
    along = sx * dx + sy * dy
    if along > 0.0 and along * along > 0.25 * (sx * sx + sy * sy) * (dx * dx + dy * dy):
        unit.blocked = 1
        unit.obstacle_side += sx * dy - sy * dx


@rule
def _list_neighbours(units: Records, pairs: np.ndarray, n_pairs: int, i: int) -> int:
    """Write the slots of the units near unit i into the field `queue` of the first records; return their number.

    No other unit can be in its way in any direction, because two steps are shorter than `_NEAR` (see
    `units.FASTEST_PER_S`).
    """
    n_neighbours = 0
    for p in range(n_pairs):
        one, two = pairs[p, 0], pairs[p, 1]
        units[n_neighbours].queue = one + two - i  # the other unit of the pair; kept only if i is in it
        n_neighbours += int((one == i) | (two == i))
    return n_neighbours


@rule
def _detour(units: Records, pairs: np.ndarray, n_pairs: int, i: int, rules: Record) -> None:
    """Turn the step of a blocked unit to the first free detour; if none is free, the unit waits."""
    unit, n_neighbours = units[i], _list_neighbours(units, pairs, n_pairs, i)
    side = 1.0 if unit.turn > 0 else -1.0
    if unit.turn == 0:
        side = -1.0 if unit.obstacle_side > 0.0 else 1.0
    for cosine, sine in _DETOURS:
        turn = side * sine
        dx = cosine * unit.step_x - turn * unit.step_y
        dy = turn * unit.step_x + cosine * unit.step_y
        if _is_free(units, n_neighbours, unit, unit.x + dx, unit.y + dy, rules):
            unit.step_x, unit.step_y = dx, dy
            unit.turn = _TURN_MEMORY if turn > 0.0 else -_TURN_MEMORY
            return
    unit.walks = 0
    unit.turn = 0


@rule
def _is_free(units: Records, n_neighbours: int, unit: Record, x: float, y: float, rules: Record) -> bool:
    """Whether the unit may move to (x, y): within the map and not closer to a neighbour that it would touch there."""
    if min(x, y) < unit.radius or max(x, y) > rules.map_size - unit.radius:
        return False
    for a in range(n_neighbours):
        other = units[units[a].queue]
        nx, ny = other.next_x - x, other.next_y - y
        contact = unit.radius + other.radius - _TOUCH
        squared_after = nx * nx + ny * ny
        if squared_after < contact * contact:
            dx, dy = other.x - unit.x, other.y - unit.y
            if squared_after < dx * dx + dy * dy:
                return False
    return True


@rule
def _separate(units: Records, n: int, pairs: np.ndarray, n_pairs: int, rules: Record) -> bool:
    """Push overlapping pairs of the n living units apart within the map; return whether some may still overlap."""
    for _ in range(_SWEEPS):
        overlapping = False
        for p in range(n_pairs):
            one, two = units[pairs[p, 0]], units[pairs[p, 1]]
            dx, dy = two.x - one.x, two.y - one.y
            free = one.radius + two.radius - _TOUCH
            if dx * dx + dy * dy < free * free:
                overlapping = True
                _push_pair(one, two, dx, dy)
        if not overlapping:
            return False
        for a in range(n):
            unit = units[units[a].living]
            unit.x += unit.push_x
            unit.y += unit.push_y
            _keep_inside(unit, rules)
    return True


@rule
def _keep_inside(unit: Record, rules: Record) -> None:
    """Clip the unit's position to the map and reset its push."""
    unit.x = min(max(unit.x, unit.radius), rules.map_size - unit.radius)
    unit.y = min(max(unit.y, unit.radius), rules.map_size - unit.radius)
    unit.push_x, unit.push_y = 0.0, 0.0


@rule
def _push_pair(one: Record, two: Record, dx: float, dy: float) -> None:
    """Add the push that separates two units. A walker yields to a standing unit; otherwise both move by half."""
    distance = np.sqrt(dx * dx + dy * dy)
    apart = one.radius + two.radius - distance
    if distance < 1e-6:  # the centres coincide, so any direction will do
        dx, dy, distance = 1.0, 0.0, 1.0
    share = 0.5
    if one.walks != two.walks:
        share = 1.0 if one.walks else 0.0
    px, py = apart * dx / distance, apart * dy / distance
    one.push_x -= share * px
    one.push_y -= share * py
    two.push_x += (1.0 - share) * px
    two.push_y += (1.0 - share) * py
