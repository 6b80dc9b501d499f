"""Spikes of N units on one clock: which units, when they were observed, and their vectorised binning."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ._windows import ROUND, Windows, bin_of, covered, merge, query, within

EXACT = 2**24  # whole numbers up to here are exact in float32, and so are all partial sums
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
        rows = np.arange(len(self.frame)) if text is None else np.flatnonzero(query(self.described(text), text, "units"))
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

    def cut(self, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
        """Counts (B, T, N) and the mask (B, T, N) or (B, T, 1) of what was recorded."""
        return self._counts(windows), self._mask(windows)

    def _counts(self, windows: Windows) -> np.ndarray:
        """Ones added where the spikes fall: of all ways tried the fastest, and none needs less memory."""
        cells, units = len(windows.starts) * windows.bins, len(self.times)
        counts = np.zeros(cells * units, np.float32)
        for unit, times in enumerate(self.times):
            np.add.at(counts, _cells(times, windows) * units + unit, np.float32(1))
        return counts.reshape(len(windows.starts), windows.bins, units)

    def _mask(self, windows: Windows) -> np.ndarray:
        tolerance = 10.0**-ROUND * windows.width
        if self.observed is None:
            return covered(windows, self._rounded_extent(windows.width), tolerance)[..., None]
        masks = {key: covered(windows, intervals, tolerance) for key, intervals in
                 {interval.tobytes(): interval for interval in self.observed}.items()}  # fmt: skip
        if len(masks) == 1:
            return next(iter(masks.values()))[..., None]
        return np.stack([masks[interval.tobytes()] for interval in self.observed], axis=-1)

    def facts(self, counts: np.ndarray) -> dict:
        """How many spikes were counted, of how many; windows that overlap count a spike twice."""
        total = counts.sum()
        return dict(
            spikes_counted=int(total if total < EXACT else counts.sum(dtype=float)),
            spikes_of_units=int(sum(map(len, self.times))),
            spikes_not_finite=self.not_finite,
        )

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


def _cells(times: np.ndarray, windows: Windows) -> np.ndarray:
    """Trial * bins + bin of every spike inside a window."""
    trial, spike = within(times, windows)
    bins = bin_of(times[spike], windows.starts[trial], windows.width)
    fits = (bins >= 0) & (bins < windows.lengths[trial])
    cells = trial * windows.bins + bins
    return cells if fits.all() else cells[fits]


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


def sorted_finite(times: np.ndarray) -> np.ndarray:
    """Spike times without NaN and infinity, rising."""
    finite = np.isfinite(times)
    times = times if finite.all() else times[finite]
    return times if (times[1:] >= times[:-1]).all() else np.sort(times)


def extent_of(spikes: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    """The recording as far as spikes and the edges of interval tables tell: other series may carry any clock.

    It starts at 0, or earlier when something happens earlier, or with the first event when that is
    later than the events last (a clock that counts from elsewhere).
    """
    if not len(spikes):
        return 0.0, 0.0
    first, last = spikes.min(), spikes.max()
    reach = last - first  # an edge further from the spikes than they last is on another clock
    edges = edges[(edges >= first - reach) & (edges <= last + reach)]
    first, last = min([first, *edges]), max([last, *edges])
    return float(first if first < 0 or first > last - first else 0.0), float(last)
