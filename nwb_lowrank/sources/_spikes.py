"""Spikes of N units on one clock: which units, when they were observed, and their vectorised binning."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ._windows import ROUND, Grid, Windows, bin_of, covered, merge, query

DERIVED = ("n_spikes", "rate", "isi_violation", "presence")  # columns that spikes tell
AT_ONCE, PAGE = 16, 1024  # units whose counts get their memory together; numbers in a page of memory
REFRACTORY = 0.0015  # seconds: closer spikes of one unit are a violation
PRESENCE_BINS = 100  # equal parts of the time a unit was observed


@dataclass(frozen=True)
class Spikes:
    """Spikes of N units on the session clock.

    frame : N rows, indexed by unit id;  times : one sorted array of finite spike times a unit, seconds;
    observed : one (K, 2) array of observation intervals a unit, or None where the source does not say;
    extent : first and last moment of the recording, seconds;  not_finite : spike times left out (NaN, infinity).
    """

    frame: pd.DataFrame
    times: tuple[np.ndarray, ...]
    observed: tuple[np.ndarray, ...] | None
    extent: tuple[float, float]
    not_finite: int = 0

    kind = "spikes"
    frame_interval = None  # spikes have no sampling of their own

    def select(self, text: str | None) -> Spikes:
        """The units for which a query on the units table and the derived columns holds."""
        rows = np.arange(len(self.frame)) if text is None else np.flatnonzero(query(self.described(text), text, "units", DERIVED))
        if not len(rows):
            raise ValueError(f"read_nwb: no unit of {len(self.frame)} satisfies {text!r}. Loosen units=.")
        if not any(len(self.times[row]) for row in rows):
            raise ValueError(f"read_nwb: the {len(rows)} units chosen have zero spikes. Pass other units= or file.")
        observed = None if self.observed is None else tuple(self.observed[row] for row in rows)
        return replace(self, frame=self.frame.iloc[rows], times=tuple(self.times[row] for row in rows), observed=observed)

    def described(self, text: str | None = None) -> pd.DataFrame:
        """The units with the columns that spikes tell (those a query names, or all): n_spikes, rate, isi_violation, presence.

        A column of the file that is called the same is kept as `<name>_in_file`.
        """
        makers = dict(n_spikes=self._numbers, rate=self._rates, isi_violation=self._isi_violations, presence=self._presence)
        wanted = {name: maker() for name, maker in makers.items() if text is None or name in text or name in ("n_spikes", "rate")}
        return self.frame.rename(columns={name: f"{name}_in_file" for name in wanted}).assign(**wanted)

    @property
    def held_out(self) -> np.ndarray:
        """(N,) the column `heldout` of the benchmark's files; nobody when there is none."""
        column = self.frame.get("heldout")
        return np.zeros(len(self.frame), bool) if column is None else column.to_numpy().astype(bool)

    def segments(self, width: float) -> np.ndarray:
        """(S, 2) stretches of the recording: the union of all observation intervals, or the extent in whole bins."""
        if self.observed is not None:
            return merge(np.concatenate(self.observed), 10.0**-ROUND * width)
        return self._rounded_extent(width)

    def _rounded_extent(self, width: float) -> np.ndarray:
        """An extent that only spikes suggest ends somewhere after the last of them: keep that spike's whole bin."""
        first, last = self.extent
        return np.array([[first, first + (bin_of(last, first, width) + 1) * width]])

    def snap(self, windows: Windows) -> Windows:
        """Spikes fall into any window as it is."""
        return windows

    def cut(self, windows: Windows) -> tuple[np.ndarray, np.ndarray, dict]:
        """Counts (B, T, N), 0 where not recorded; the mask (B, T, N) or (B, T, 1) of what was; how many spikes were counted, of how many.

        Ones are added where the spikes fall, one unit after the other: its counts lie together in memory, hence in the processor's
        cache. Windows that overlap count a spike twice.
        """
        mask, grid = self._mask(windows), Grid(windows)
        counts, counted = np.zeros((len(self.times), len(windows.starts), windows.bins), np.float32), 0
        always = mask.all((0, 1))
        with ThreadPoolExecutor(1) as beside:
            ready = [beside.submit(_touch, counts[first : first + AT_ONCE]) for first in range(0, len(counts), AT_ONCE)]
            for first, touched in zip(range(0, len(counts), AT_ONCE), ready):
                found = grid.cells(*self.times[first : first + AT_ONCE])
                touched.result()
                for unit, cells in enumerate(found, start=first):
                    column = unit % mask.shape[-1]
                    cells = cells if always[column] else cells[mask[..., column].reshape(-1)[cells]]
                    np.add.at(counts[unit].reshape(-1), cells, np.float32(1))
                    counted += len(cells)
        facts = dict(spikes_counted=counted, spikes_of_units=int(sum(map(len, self.times))), spikes_not_finite=self.not_finite)
        return counts.transpose(1, 2, 0), mask, facts

    def _mask(self, windows: Windows) -> np.ndarray:
        tolerance = 10.0**-ROUND * windows.width
        if self.observed is None:
            return covered(windows, self._rounded_extent(windows.width), tolerance)[..., None]
        masks = {key: covered(windows, intervals, tolerance) for key, intervals in
                 {interval.tobytes(): interval for interval in self.observed}.items()}  # fmt: skip
        if len(masks) == 1:
            return next(iter(masks.values()))[..., None]
        return np.stack([masks[interval.tobytes()] for interval in self.observed], axis=-1)

    def _numbers(self) -> np.ndarray:
        return np.array([len(times) for times in self.times])

    def _seconds(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """(N,) observed seconds, and the merged observation intervals of every unit."""
        if self.observed is None:
            return np.full(len(self.times), self.extent[1] - self.extent[0]), [np.array([self.extent])] * len(self.times)
        merged = [merge(part, 0.0) for part in self.observed]
        return np.array([np.diff(part, axis=1).sum() for part in merged]), merged

    def _rates(self) -> np.ndarray:
        """Hz over the time each unit was observed; 0 for a unit never observed."""
        seconds, merged = self._seconds()
        spikes = np.array([_number_within(times, part) for times, part in zip(self.times, merged)], float)
        return np.divide(spikes, seconds, out=np.zeros(len(self.times)), where=seconds > 0)

    def _isi_violations(self) -> np.ndarray:
        """Share of the intervals between spikes that are shorter than 1.5 ms; 0 for a unit of one spike or none."""
        return np.array([(np.diff(times) < REFRACTORY).mean() if len(times) > 1 else 0.0 for times in self.times])

    def _presence(self) -> np.ndarray:
        """Share of 100 equal parts of the unit's observed time that hold a spike."""
        return np.array([_presence(times, part) for times, part in zip(self.times, self._seconds()[1])])


def _touch(zeros: np.ndarray) -> None:
    """Make the system find the memory of new zeros now, beside other work, and not when they are first counted up."""
    zeros.reshape(-1)[::PAGE] = 0


def _number_within(times: np.ndarray, intervals: np.ndarray) -> int:
    return int((np.searchsorted(times, intervals[:, 1], "right") - np.searchsorted(times, intervals[:, 0])).sum())


def _presence(times: np.ndarray, intervals: np.ndarray) -> float:
    lasts = np.diff(intervals, axis=1).ravel()
    if not lasts.sum() > 0:
        return 0.0
    row = np.searchsorted(intervals[:, 0], times, "right") - 1
    held = (row >= 0) & (times <= intervals[row, 1])
    since = (np.cumsum(lasts) - lasts)[row[held]] + times[held] - intervals[row[held], 0]  # seconds observed before each spike
    return len(np.unique(np.minimum(since / lasts.sum() * PRESENCE_BINS, PRESENCE_BINS - 1).astype(int))) / PRESENCE_BINS


def split_times(flat: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, ...]:
    """Finite, rising spike times of every unit, from the times of all and where each unit's end."""
    each, firsts = parts(flat, ends), np.r_[0, ends[:-1]]
    rising = flat[1:] >= flat[:-1]  # False beside a NaN
    rising[(ends[:-1] - 1)[(ends[:-1] > 0) & (ends[:-1] < len(flat))]] = True
    spiking = ends > firsts
    edges = flat[np.r_[firsts[spiking], ends[spiking] - 1]]
    if rising.all() and np.isfinite(edges).all():
        return tuple(each)
    return tuple(sorted_finite(part) for part in each)


def parts(flat: np.ndarray, ends: np.ndarray) -> list[np.ndarray]:
    """The rows of every unit (np.split takes a millisecond for 200)."""
    return [flat[first:end] for first, end in zip([0, *ends[:-1].tolist()], ends.tolist())]


def sorted_finite(times: np.ndarray) -> np.ndarray:
    """Spike times without NaN and infinity, rising."""
    finite = np.isfinite(times)
    times = times if finite.all() else times[finite]
    return times if (times[1:] >= times[:-1]).all() else np.sort(times)


def extent_of(times: Sequence[np.ndarray], edges: np.ndarray) -> tuple[float, float]:
    """The recording as far as sorted spikes and the edges of interval tables tell: other series may carry any clock.

    It starts at 0, or earlier when something happens earlier, or with the first event when that is
    later than the events last (a clock that counts from elsewhere).
    """
    times = [part for part in times if len(part)]
    if not times:
        return 0.0, 0.0
    first, last = min(part[0] for part in times), max(part[-1] for part in times)
    reach = last - first  # an edge further from the spikes than they last is on another clock
    edges = edges[(edges >= first - reach) & (edges <= last + reach)]
    first, last = min([first, *edges]), max([last, *edges])
    return float(first if first < 0 or first > last - first else 0.0), float(last)
