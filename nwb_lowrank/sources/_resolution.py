"""How coarse are spike times? Some files were made from counts, and finer bins would show only how they were made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CANDIDATES = (1, 0.5, 0.25, 0.2, 0.1, 0.05, 0.04, 1 / 30, 0.025, 0.02, 0.01, 0.005, 0.004, 0.002, 0.001)
TOLERANCE = 1e-3  # of a bin: chance puts 1 spike in 500 so near a given place
SHARE = 0.99
ENOUGH, SAMPLE = 100, 50_000  # spikes


@dataclass(frozen=True)
class Resolution:
    """Spike times mean nothing below `width` seconds; `layout` says how they lie."""

    width: float
    layout: str

    def __str__(self) -> str:
        return f"{self.width * 1e3:g} ms ({self.layout}): finer bins mean nothing"


def data_resolution(times, clocks, hints=()) -> Resolution | None:
    """The coarsest bin width that explains where the spikes of every unit lie; None for spikes finer than 1 ms.

    Parameters
    ----------
    times : sequence of sorted arrays
        One a unit, seconds.
    clocks : sequence of sorted arrays
        Places where bins may start counting: 0, or the starts of trials.
    hints : sequence of float
        Further widths to try, such as a behaviour's sampling interval, seconds.
    """
    ends = np.cumsum([len(part) for part in times])
    few = times[: int(np.searchsorted(ends, SAMPLE)) + 1]
    unit = np.repeat(np.arange(len(few)), [len(part) for part in few])
    flat = np.concatenate([*few, np.zeros(0)])
    if len(flat) < ENOUGH:
        return None
    runs = [(clock, (np.searchsorted(clock, flat, "right") - 1).clip(0)) for clock in clocks if len(clock)]
    for width in sorted({*CANDIDATES, *(hint for hint in hints if hint >= min(CANDIDATES))}, reverse=True):
        for clock, run in runs:
            since = flat - clock[run]
            if np.mean(np.abs(since / width - np.round(since / width)) < TOLERANCE) > SHARE:
                return Resolution(round(float(width), 9), "spikes lie on its grid")
            if np.mean(_evenly_spread(unit * len(clock) + run, since, width)) > SHARE:
                return Resolution(round(float(width), 9), "spikes are spread evenly inside its bins")
    return None


def _evenly_spread(group: np.ndarray, since: np.ndarray, width: float) -> np.ndarray:
    """True for spikes that sit at (j + 1/2) / n of their bin, as n counted spikes do when their times were made up.

    group : (S,) which unit and run of the clock a spike belongs to;  since : (S,) seconds on that clock.
    """
    position = np.round(since / width, 6)
    cell = np.floor(position)
    order = np.lexsort((position, cell, group))
    position, cell, group = position[order], cell[order], group[order]
    new = np.r_[True, (np.diff(cell) != 0) | (np.diff(group) != 0)]
    first = np.flatnonzero(new)
    number = np.diff(np.r_[first, len(cell)])
    rank = np.arange(len(cell)) - np.repeat(first, number)
    return np.abs(position - cell - (rank + 0.5) / np.repeat(number, number)) < TOLERANCE
