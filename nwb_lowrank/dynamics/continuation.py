"""Fixed points as functions of an input or a parameter: pseudo-arclength continuation with folds, flips, Neimark–Sacker points
and border collisions located (Keller 1977; Kuznetsov 2004)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from ..model import LowRankRNN
from ..searches.base import Search, refine
from ._branch import ASIDE, Curve
from .base import Branches
from .events import BORDER, BRANCH, FOLD, border, genuine, tests
from .parameters import along, model_at
from .points import points_of

LARGEST, SMALLEST = 0.03, 1e-7  # arclength of a step, in shares of the size of latent space and of the parameter's range
FAR = 30.0  # sizes of latent space beyond which a branch is left
MOST = 4000  # points of half a branch


def continue_fixed_points(
    model: LowRankRNN, parameter: str, low: float, high: float, *, u=None, searches: int = 5, search: Search | None = None
) -> Branches:
    """Every branch of fixed points that passes through the fixed points found at some values of the parameter.

    Parameters
    ----------
    model : LowRankRNN
    parameter : str
        'input 0', 'decay', 'gain' (n times this number), 'h 3', 'm 3 0', 'n 0 3'.
    low, high : float
    u : array (D,) or None
        The other inputs; None is zero.
    searches : int
        Values between low and high, both included, at which all fixed points are searched: branches start from them, and later
        ones check that no branch is missing.
    search : Search or None
        None: a proof where it is cheap, else Newton().

    Returns
    -------
    Branches

    Raises
    ------
    ValueError
        No such parameter, or low ≥ high.
    """
    if not low < high or searches < 1:
        raise ValueError(f"continue_fixed_points: expected low < high and searches >= 1; got {low}, {high}, {searches}. Pass the range.")
    family = along(model, parameter, u)
    values = np.linspace(low, high, searches) if searches > 1 else np.array([(low + high) / 2])
    found = []
    for value in values:
        changed, at = model_at(model, parameter, float(value), u)
        found.append(points_of(changed, at, search))
    together = np.concatenate([each.points for each in found])
    size = float(np.abs(together).max(initial=0)) or 1.0
    curve = Curve(family, low, high, size)
    branches: list[_Branch] = []
    checks = dict(
        values=values.tolist(), found=[len(each.points) for each in found], complete=[each.complete for each in found], on_branches=[]
    )
    for value, each in zip(values, found):
        known = _at_value(curve, branches, value)
        for point in each.points:
            x = curve.join(point, value)
            if not any(np.linalg.norm(point - other) < 1e-6 * size for other in known) and not any(_on(branch, x) for branch in branches):
                branches += _through(curve, x, low, high)
                known = _at_value(curve, branches, value)
    checks["on_branches"] = [len(_at_value(curve, branches, value)) for value in values]
    return _packed(parameter, curve, branches, checks)


class _Branch:
    """Points x (Q, R + 1), eigenvalues (Q, R) and events (Q,) in order."""

    def __init__(self, x: list, values: list, events: list):
        self.x, self.values, self.events = np.array(x), np.array(values), list(events)

    def reversed(self) -> _Branch:
        return _Branch(self.x[::-1], self.values[::-1], self.events[::-1])


def _through(curve: Curve, start: np.ndarray, low: float, high: float) -> list[_Branch]:
    """The branch through `start`, and those that leave it at corners where three or more lines meet."""
    t = curve.tangent(start)
    one = _Walk(curve, start, t, low, high)
    halves, waiting = [one.half], one.other_ways
    if one.events[-1] != "closed":
        other = _Walk(curve, start, -t, low, high)
        back, waiting = other.half.reversed(), waiting + other.other_ways
        joined = _Branch([*back.x[:-1], *one.points], [*back.values[:-1], *one.values], [*back.events[:-1], *one.events])
        halves = [joined]
    while waiting and len(halves) < 20:
        corner, way = waiting.pop()
        if not any(_on(branch, corner + 1e-3 * way) for branch in halves):
            more = _Walk(curve, corner, way, low, high)
            halves.append(more.half)
            waiting += more.other_ways
    return halves


class _Walk:
    """From `start` along t to the end of the range, to far away, or around: half a branch."""

    def __init__(self, curve: Curve, start: np.ndarray, t: np.ndarray, low: float, high: float):
        self.curve, self.start, self.x, self.t, self.step = curve, start, start, t, LARGEST / 4
        self.low, self.high = low / curve.range, high / curve.range
        self.points, self.values, self.events = [start], [curve.values(start + ASIDE * t)], [""]
        self.other_ways: list[tuple[np.ndarray, np.ndarray]] = []
        while len(self.points) < MOST and self._go():
            pass

    @property
    def half(self) -> _Branch:
        return _Branch(self.points, self.values, self.events)

    def _keep(self, place: np.ndarray, spectrum: np.ndarray, event: str = "") -> None:
        self.points.append(place)
        self.values.append(spectrum)
        self.events.append(event)

    def _go(self) -> bool:
        """One step; False at the end."""
        after, kink = _advance(self.curve, self.x, self.t, self.step)
        if after is not None and self.step > 100 * SMALLEST and self.curve.tangent(after - ASIDE * LARGEST * self.t, self.t) @ self.t < 0.9:
            after = None  # it bends too much for its direction to be sure
        if after is None:
            self.step /= 2
            if self.step < SMALLEST:
                self.events[-1] = self.events[-1] or "end: the corrector did not converge"
            return self.step >= SMALLEST
        if not self.low <= after[-1] <= self.high:
            self._finish(after)
            return False
        for place, spectrum, event in _between(self.curve, self.x, self.t, after):
            self._keep(place, spectrum, event)
        going = self._pass(after) if kink is None else self._turn(after)
        if np.abs(after[:-1]).max() > FAR:
            self.events[-1] = self.events[-1] or "end: far away"
            return False
        if len(self.points) > 5 and np.linalg.norm(self.x - self.start) < 0.5 * self.step and self.t @ (self.points[1] - self.start) > 0:
            self._keep(self.start, self.values[0], "closed")
            return False
        return going

    def _finish(self, after: np.ndarray) -> None:
        """The point at the edge of the range, if the branch crosses it on the way to `after`."""
        edge, d = self.high if after[-1] > self.high else self.low, after - self.x
        last = self.curve.correct(self.x + d * np.clip((edge - self.x[-1]) / d[-1], 0, 1), np.eye(len(d))[-1])
        if last is not None and np.abs(last - self.x).max() < 4 * LARGEST:
            self._keep(last, self.curve.values(last - ASIDE * (last - self.x)), "end")

    def _pass(self, after: np.ndarray) -> bool:
        new = self.curve.tangent(after, self.t)
        self.step = min(self.step * (1.5 if new @ self.t > 0.98 else 0.8), LARGEST)
        self._keep(after, self.curve.values(after))
        self.x, self.t = after, new
        return True

    def _turn(self, corner: np.ndarray) -> bool:
        """A kink: which way the branch goes on, and what that is called."""
        aside = ASIDE * LARGEST
        came = self.curve.tangent(corner - aside * self.t, self.t)
        ways = self.curve.ways_on(corner, came, LARGEST)
        before = self.curve.values(corner - aside * came)
        if not ways:
            self._keep(corner, before, BORDER + "end")
            return False
        new = max(ways, key=came.__matmul__)
        others = [way for way in ways if way is not new]
        self.other_ways += [(corner, way) for way in others]
        after = self.curve.values(corner + aside * new)
        straight = len(ways) == 1 and new is came
        name = "" if straight else border(before, after, bool(came[-1] * new[-1] < 0)) + (", branch point" if others else "")
        self._keep(corner, before, name)
        self.x, self.t = corner, new
        return True


def _advance(curve: Curve, x: np.ndarray, t: np.ndarray, step: float) -> tuple[np.ndarray | None, tuple | None]:
    """The next point within `step`: an ordinary one, or the first corner. None: try a smaller step."""
    if not curve.bent:
        return curve.correct(x + step * t, t), None
    meeting = curve.next_kink(x, t, step)
    if meeting is None:
        after = curve.correct(x + step * t, t)
        if after is not None and (curve.region(after) != curve.region(x + ASIDE * step * t)).any():
            after = None
        return after, None
    distance, kink = meeting
    back = x + 0.5 * distance * t if distance > ASIDE * step else x + ASIDE * step * t
    return curve.to_kink(x + distance * t, back, kink), kink


def _between(curve: Curve, x: np.ndarray, t: np.ndarray, after: np.ndarray):
    """Events strictly between two neighbouring points, in order: (place, eigenvalues, name)."""
    length = float(t @ (after - x))
    # Beside a corner the other side's derivative would be taken.
    first, last = (max(1e-3 * length, 1e-7), length - max(1e-3 * length, 1e-7)) if curve.bent else (0.0, length)
    cache: dict[float, dict] = {}
    middle = curve.region((x + after) / 2) if curve.bent else None

    def look(s: float) -> dict:
        if s not in cache:
            place = curve.correct(x + s * t, t)
            if place is None or (curve.bent and (curve.region(place) != middle).any()):  # not another arm of a sharp corner
                place = x + s * (after - x) / length
            new, spectrum = curve.tangent(place, t), curve.values(place)
            augmented = np.linalg.det(np.vstack([curve.derivative(place), new]))
            cache[s] = dict(place=place, values=spectrum, **tests(spectrum, new, augmented))
        return cache[s]

    if last <= first:
        return []
    found = []
    for event in tests(np.ones(1, complex), t, 1.0):
        if look(first)[event] * look(last)[event] < 0:
            where = brentq(lambda s: look(float(s))[event], first, last, xtol=1e-12, rtol=1e-12)
            at = look(float(where))
            if genuine(event, at["values"]):
                found.append((where, at["place"], at["values"], event))
    if {FOLD, BRANCH} <= {event for *_, event in found}:
        # A branch that turns where another one crosses it (pitchfork): the fold is located well, the determinant is flat there.
        found = [(*row[:-1], BRANCH) if row[-1] == FOLD else row for row in found if row[-1] != BRANCH]
    return [(place, spectrum, event) for _, place, spectrum, event in sorted(found, key=lambda row: row[0])]


def _at_value(curve: Curve, branches: list[_Branch], value: float) -> list[np.ndarray]:
    """The fixed points (R,) that branches have at a value of the parameter, each once."""
    p, found = value / curve.range, []
    for branch in branches:
        q = branch.x[:, -1] - p
        # A fold at this very value touches it and does not cross.
        for i in np.flatnonzero((q[:-1] * q[1:] <= 0) | (np.abs(q[:-1]) < 1e-9)):
            share = np.clip(q[i] / (q[i] - q[i + 1]), 0, 1) if q[i] != q[i + 1] else 0.0
            guess = (branch.x[i] + share * (branch.x[i + 1] - branch.x[i]))[:-1] * curve.size
            points, arrived = refine(curve.family.at(value), guess[None])
            near = np.linalg.norm(points[0] - guess) < 0.05 * curve.size
            if arrived[0] and near and not any(np.linalg.norm(points[0] - z) < 1e-6 * curve.size for z in found):
                found.append(points[0])
    return found


def _on(branch: _Branch, x: np.ndarray) -> bool:
    """Whether x lies on the broken line of a branch, to a tenth of a millistep."""
    a, b = branch.x[:-1], branch.x[1:]
    d = b - a
    share = np.clip(((x - a) * d).sum(1) / np.maximum((d * d).sum(1), 1e-300), 0, 1)
    return bool(np.linalg.norm(x - a - share[:, None] * d, axis=1).min(initial=np.inf) < 1e-4)


def _packed(parameter: str, curve: Curve, branches: list[_Branch], checks: dict) -> Branches:
    R = curve.family.at(curve.family.now).m.shape[1]
    x = np.concatenate([np.empty((0, R + 1)), *(branch.x for branch in branches)])
    values = np.concatenate([np.empty((0, R), complex), *(branch.values for branch in branches)])
    events = [event for branch in branches for event in branch.events]
    index = np.concatenate([np.empty(0, int), *(np.full(len(branch.x), i) for i, branch in enumerate(branches))])
    return Branches(parameter, x[:, -1] * curve.range, x[:, :-1] * curve.size, index, values, np.array(events, dtype=str), checks)
