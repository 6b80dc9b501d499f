"""Spike times of a units table, and their vectorised binning."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from . import _nwb_file as file
from ._windows import ROUND, Windows, bin_of, covered, merge, query, within

NOT_QUERIED = ("spike_times", "obs_intervals", "waveform_mean", "waveform_sd", "waveforms")


@dataclass(frozen=True)
class Spikes:
    """Spikes of N units on the session clock.

    frame : N rows, indexed by unit id;  times : one sorted array of finite spike times a unit, seconds;
    observed : one (K, 2) array of observation intervals a unit, or None where the file does not say;
    extent : first and last moment of the recording, seconds;  not_finite : spike times left out (NaN, infinity).
    """

    frame: pd.DataFrame
    times: tuple[np.ndarray, ...]
    observed: tuple[np.ndarray, ...] | None
    extent: tuple[float, float]
    not_finite: int

    kind = "spikes"
    frame_interval = None  # spikes have no sampling of their own

    def select(self, text: str | None) -> Spikes:
        """The units for which a query on the units table holds."""
        rows = np.flatnonzero(query(self.frame, text, "units"))
        if not len(rows):
            raise ValueError(f"read_nwb: no unit of {len(self.frame)} satisfies {text!r}. Loosen units=.")
        if not any(len(self.times[row]) for row in rows):
            raise ValueError(f"read_nwb: the {len(rows)} units chosen have zero spikes. Pass other units= or file.")
        observed = None if self.observed is None else tuple(self.observed[row] for row in rows)
        return replace(self, frame=self.frame.iloc[rows], times=tuple(self.times[row] for row in rows), observed=observed)

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
        cells = len(windows.starts) * windows.bins
        counts = np.empty((len(self.times), cells), np.float32)
        for row, times in enumerate(self.times):
            trial, spike = within(times, windows)
            bins = bin_of(times[spike], windows.starts[trial], windows.width)
            fits = (bins >= 0) & (bins < windows.lengths[trial])
            counts[row] = np.bincount(trial[fits] * windows.bins + bins[fits], minlength=cells)
        return np.ascontiguousarray(counts.T).reshape(len(windows.starts), windows.bins, len(self.times))

    def _mask(self, windows: Windows) -> np.ndarray:
        tolerance = 10.0**-ROUND * windows.width
        if self.observed is None:
            return covered(windows, self._rounded_extent(windows.width), tolerance)[..., None]
        masks = {key: covered(windows, intervals, tolerance) for key, intervals in
                 {interval.tobytes(): interval for interval in self.observed}.items()}  # fmt: skip
        if len(masks) == 1:
            return next(iter(masks.values()))[..., None]
        return np.stack([masks[interval.tobytes()] for interval in self.observed], axis=-1)

    def facts(self, counts: np.ndarray, mask: np.ndarray) -> dict:
        """How many spikes were counted, of how many; windows that overlap count a spike twice."""
        return dict(
            spikes_counted=int(np.where(mask, counts, 0).sum(dtype=float)),
            spikes_of_units=int(sum(map(len, self.times))),
            spikes_not_finite=self.not_finite,
        )


def read_spikes(nwb) -> Spikes | None:
    """The units table, read once; None when the file has no unit with spike times."""
    units = nwb.units
    if units is None or "spike_times" not in units.colnames or len(units) == 0:
        return None
    column = units["spike_times"]
    flat, ends = file.read(column.target.data).astype(float), file.read(column.data).astype(np.int64)
    finite = np.isfinite(flat)
    times = tuple(_sorted_finite(part) for part in np.split(flat, ends[:-1]))
    frame, observed = units_frame(nwb), _observed(units)
    extent = _extent(flat[finite], nwb) if observed is None else _union(observed)
    frame = frame.assign(n_spikes=[len(part) for part in times], rate=_rates(times, observed, extent))
    return Spikes(frame, times, observed, extent, int((~finite).sum()))


def _sorted_finite(times: np.ndarray) -> np.ndarray:
    times = times[np.isfinite(times)]
    return times if (times[1:] >= times[:-1]).all() else np.sort(times)


def units_frame(nwb) -> pd.DataFrame:
    """Columns of the units table with the electrodes' `location`, indexed by unit id."""
    frame = file.frame(nwb.units, NOT_QUERIED)
    if "electrodes" in frame and "location" not in frame:
        column = nwb.units["electrodes"]
        electrodes = getattr(column, "target", column).table
        if "location" in electrodes.colnames:
            names = file.frame(electrodes)["location"].to_numpy()
            frame["location"] = [", ".join(dict.fromkeys(names[np.atleast_1d(rows)])) for rows in
                                 (np.asarray(cell, int) for cell in frame["electrodes"])]  # fmt: skip
    return frame


def _observed(units) -> tuple[np.ndarray, ...] | None:
    """Observation intervals a unit; None when the column is absent or empty, which says nothing."""
    if "obs_intervals" not in units.colnames:
        return None
    column = units["obs_intervals"]
    flat, ends = file.read(column.target.data).astype(float).reshape(-1, 2), file.read(column.data).astype(np.int64)
    return tuple(np.split(flat, ends[:-1])) if (flat[:, 1] > flat[:, 0]).any() else None


def _union(observed: tuple[np.ndarray, ...]) -> tuple[float, float]:
    union = merge(np.concatenate(observed), 0.0)
    return (float(union[0, 0]), float(union[-1, 1])) if len(union) else (0.0, 0.0)


def _extent(spikes: np.ndarray, nwb) -> tuple[float, float]:
    """The recording as far as spikes and interval tables tell: other series may carry any clock.

    It starts at 0, or earlier when something happens earlier, or with the first event when that is
    later than the events last (a clock that counts from elsewhere).
    """
    if not len(spikes):
        return 0.0, 0.0
    first, last = spikes.min(), spikes.max()
    reach = last - first  # an edge further from the spikes than they last is on another clock
    for table in file.interval_tables(nwb).values():
        edges = np.concatenate([file.read(table[edge].data).astype(float) for edge in ("start_time", "stop_time")])
        edges = edges[(edges >= spikes.min() - reach) & (edges <= spikes.max() + reach)]
        first, last = min([first, *edges]), max([last, *edges])
    return float(first if first < 0 or first > last - first else 0.0), float(last)


def _rates(times, observed, extent) -> np.ndarray:
    """Hz over the time each unit was observed; 0 for a unit never observed."""
    if observed is None:
        seconds = np.full(len(times), extent[1] - extent[0])
        spikes = np.array([len(part) for part in times], float)
    else:
        merged = [merge(part, 0.0) for part in observed]
        seconds = np.array([np.diff(part, axis=1).sum() for part in merged])
        spikes = np.array([_number_within(part, intervals) for part, intervals in zip(times, merged)], float)
    return np.divide(spikes, seconds, out=np.zeros(len(times)), where=seconds > 0)


def _number_within(times: np.ndarray, intervals: np.ndarray) -> int:
    return int((np.searchsorted(times, intervals[:, 1], "right") - np.searchsorted(times, intervals[:, 0])).sum())
