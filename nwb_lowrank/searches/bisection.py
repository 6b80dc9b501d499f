"""The boxes of one search: which to examine next, on how many cores, and when to stop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np

from . import boxes as looks
from .base import EPS, Box, Dynamics
from .curves import Curves
from .pieces import Pieces

JOBS, QUOTA = 64, 500  # boxes that start a round, and boxes examined below each of them
SMALL_UNITS, SMALL_BOXES = 64, 2000  # NumPy alone is quick enough for so few units and boxes: nothing to compile
MOST_WAITING = 1_000_000  # above it the smallest boxes go first, so that no more are made
# Boxes this narrow, and so many, cover a set of points that is not finite: cutting them further makes only more.
DUST, DUST_WIDTH = 10_000, 1e-4


def compiled() -> bool:
    """Numba is there."""
    return find_spec("numba") is not None


def field_of(dynamics: Dynamics, low: np.ndarray, high: np.ndarray) -> Pieces | Curves:
    """Lines near φ for boxes inside (low, high)."""
    return (Pieces if dynamics.nonlinearity.piecewise_linear else Curves).of(dynamics, low, high)


@dataclass(frozen=True)
class Looked:
    """How far a search is, for a progress bar.

    boxes : examined; waiting : not yet; found : points so far; left : share of the region's volume that is undecided.
    """

    boxes: int
    waiting: int
    found: int
    left: float


@dataclass(eq=False)
class Bisection:
    """Boxes waiting (W, 2, R), and lists of those that were proved, solved, continua or stuck."""

    dynamics: Dynamics
    region: Box
    tolerance: float
    compile: bool = True
    boxes: int = 0
    ended: list[list[np.ndarray]] = field(default_factory=lambda: [[], [], [], []])

    def __post_init__(self):
        low, high = self.region
        self.field = field_of(self.dynamics, low, high)
        # A coordinate counts as much as it moves the currents.
        self.weight = np.linalg.norm(self.dynamics.m, axis=0)
        self.widest = float(((high - low) * self.weight).max())
        self.smallest = self.tolerance * self.widest
        self.margin = self.field.error + 4 * EPS * np.abs(self.region).max(0)
        self.waiting = np.stack([low, high])[None]
        self.compile = self.compile and isinstance(self.field, Pieces)
        self.table = self.field.table() if self.compile else None
        self.stopped, self.until = "", np.inf

    def boxes_of(self, kind: int) -> np.ndarray:
        """(K, 2, R) that ended as one of boxes.PROVED ... STUCK."""
        return np.concatenate([np.empty((0, 2, len(self.weight))), *self.ended[kind]])

    def run(
        self, max_boxes: int, budget: float | None = None, on_round: Callable[[Looked], None] | None = None, first: bool = False
    ) -> None:
        """Rounds until nothing waits, or the boxes or the seconds are used up (`first`: or anything ended)."""
        self.until = np.inf if budget is None else time.monotonic() + budget
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) as pool:
            while len(self.waiting) and not (first and any(map(len, (self.boxes_of(kind) for kind in range(4))))):
                if self.boxes >= max_boxes:
                    self.stopped = f"after {self.boxes} boxes"
                elif time.monotonic() >= self.until:
                    self.stopped = f"after {budget:g} seconds"
                else:
                    self._round(pool, max_boxes - self.boxes)
                    self._sweep()
                    if on_round:
                        on_round(self.progress())
                    continue
                break

    def save(self, path: str) -> None:
        """Everything that `load` needs to go on, as arrays."""
        ended = {f"ended{kind}": self.boxes_of(kind) for kind in range(len(self.ended))}
        with open(path, "wb") as file:
            np.savez(file, search=self._identity(), waiting=self.waiting, boxes=self.boxes, **ended)

    def load(self, path: str) -> None:
        """Go on where a search that wrote `path` stopped. No such file: start."""
        if not os.path.exists(path):
            return
        with np.load(path, allow_pickle=False) as saved:
            if "search" not in saved or not np.array_equal(saved["search"], self._identity()):
                raise ValueError(
                    f"Certified: expected in '{path}' what a search of the same dynamics, input, region and tolerance left; "
                    "got another one's. Name another file as state."
                )
            self.waiting, self.boxes = saved["waiting"], int(saved["boxes"])
            self.ended = [[saved[f"ended{kind}"]] for kind in range(len(self.ended))]

    def _identity(self) -> np.ndarray:
        dynamics, h = self.dynamics, self.dynamics.nonlinearity.h.detach().numpy()
        parts = [dynamics.decay, self.tolerance], *self.region, dynamics.m, dynamics.n, dynamics.drive, h
        return np.concatenate([np.ravel(part) for part in parts])

    def progress(self) -> Looked:
        sides = self.region[1] - self.region[0]
        sides = np.where(sides > 0, sides, 1.0)
        volume = np.prod((self.waiting[:, 1] - self.waiting[:, 0]) / sides, axis=1).sum()
        points = sum(len(part) for kind in (looks.PROVED, looks.SOLVED) for part in self.ended[kind])
        return Looked(self.boxes, len(self.waiting), points, float(volume))

    def width(self, boxes: np.ndarray) -> np.ndarray:
        """Widths (W,) as the currents feel them."""
        return ((boxes[:, 1] - boxes[:, 0]) * self.weight).max(1)

    def _sweep(self) -> None:
        """Set dust aside. Where much of a continuum is known already, its edges need less."""
        eased = 10 if sum(map(len, self.ended[looks.CONTINUUM])) > 500 else 1
        if len(self.waiting) > DUST / eased:
            dust = self.width(self.waiting) < DUST_WIDTH * eased * self.widest
            if dust.sum() > DUST / eased:
                self.ended[looks.STUCK].append(self.waiting[dust])
                self.waiting = self.waiting[~dust]

    def _round(self, pool: ThreadPoolExecutor, most: int) -> None:
        """The widest boxes first: what a time limit leaves is then spread evenly, and as small as can be."""
        width = self.width(self.waiting)
        order = np.argsort(-width if len(width) < MOST_WAITING else width, kind="stable")
        jobs = min(JOBS if self.compile else 16 * JOBS, most)
        chosen, rest = self.waiting[order[:jobs]], self.waiting[order[jobs:]]
        small = not self.compile or (len(self.dynamics.m) <= SMALL_UNITS and self.boxes < SMALL_BOXES)
        if small:
            limits = min(JOBS * QUOTA if not self.compile else SMALL_BOXES, most), self.width(chosen).max() / 16, self.smallest
            examined, kinds, boxes = looks.subtree(self.field, chosen, limits, self.weight)
        else:
            examined, kinds, boxes = self._compiled(pool, chosen, most)
        self.boxes += examined
        for kind, into in enumerate(self.ended):
            into.append(boxes[kinds == kind])
        self.waiting = np.concatenate([rest, boxes[kinds == looks.WAITING]])

    def _compiled(self, pool: ThreadPoolExecutor, chosen: np.ndarray, most: int):
        # The first box alone would keep one core busy: it is soon handed back in parts.
        quota = 30 if len(chosen) < 4 else QUOTA
        limits = max(1, min(quota, most // len(chosen))), self.width(chosen).max() / 16, self.smallest
        began = time.monotonic()
        self._job(chosen[:1], (0, *limits[1:]))  # compiles, in one thread, when nothing has yet: that is not searching
        self.until += time.monotonic() - began
        parts = list(pool.map(self._job, np.array_split(chosen, min(len(chosen), 16)), [limits] * min(len(chosen), 16)))
        examined, kinds, boxes = sum(part[0] for part in parts), *(np.concatenate([part[i] for part in parts]) for i in (1, 2))
        # Without a bend and singular: the pseudo-inverse knows whether there is a continuum.
        singular = kinds == looks.CONTINUUM
        if singular.any():
            more, again, over = looks.subtree(self.field, boxes[singular], (4 * int(singular.sum()), *limits[1:]), self.weight)
            examined, kinds, boxes = examined + more, np.concatenate([kinds[~singular], again]), np.concatenate([boxes[~singular], over])
        return examined, kinds, boxes

    def _job(self, chosen: np.ndarray, limits: tuple[int, float, float]):
        """One thread's share of a round."""
        from . import kernel  # where numba is

        dims, kinks = (0.0,) * len(self.weight), (0.0,) * len(self.field.kinks)
        tables, space = kernel.tables(self.table), np.empty((limits[0] + 2 * kernel.DEPTH + 16, 2, len(self.weight)))
        matrices = self.field.linear, self.field.constant, self.field.error, self.field.blur, self.weight
        total, kinds, boxes = 0, [np.empty(0, int)], [space[:0].copy()]
        for box in chosen:
            examined, *counts = kernel.search(dims, kinks, tables, matrices, box, limits, space)
            total += examined
            kinds.append(np.repeat(np.arange(5), counts))
            boxes.append(space[: sum(counts)].copy())
        return total, np.concatenate(kinds), np.concatenate(boxes)
