"""A sampled signal of N regions of interest (or channels, or neurons): frames into bins, and its fluorescence corrections."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ._cut import SAME
from ._windows import Windows, bin_of, covered, query, within

GAP = 1.5  # frames further apart than this many frame intervals have a gap between them
KNOTS = 8  # places a baseline window at which the running percentile is computed; linear in between


@dataclass(frozen=True)
class Signal:
    """A sampled signal of N regions of interest.

    frame : N rows of the ROI table, indexed by ROI id;  times : (F,) sorted, seconds;  values : (F, N), NaN where missing;
    frame_interval : mean interval between frames that follow one another without a gap, seconds;  path, unit : in the file;
    dropped : {"roi", "reason"} for every one left out because it carries no signal.
    """

    frame: pd.DataFrame
    times: np.ndarray
    values: np.ndarray
    frame_interval: float
    path: str
    unit: str = "a.u."
    dropped: tuple[dict, ...] = ()

    kind = "signal"

    @property
    def held_out(self) -> np.ndarray:
        """(N,) nobody."""
        return np.zeros(len(self.frame), bool)

    def select(self, text: str | None) -> Signal:
        """The ROIs for which a query on the ROI table holds, without those that carry no signal."""
        chosen = self._columns(query(self.frame, text, "ROI"))
        if not len(chosen.frame):
            raise ValueError(f"read_nwb: no ROI of {len(self.frame)} satisfies {text!r}. Loosen units=.")
        return chosen.without(chosen._lifeless())

    def _columns(self, columns: np.ndarray) -> Signal:
        return self if columns.all() else replace(self, frame=self.frame.iloc[columns], values=self.values[:, columns])

    def _lifeless(self) -> list[str | None]:
        """A reason for each column that never changes or is never known."""
        values, known = self.values, np.isfinite(self.values)
        low = np.where(known, values, np.inf).min(0)
        high = np.where(known, values, -np.inf).max(0)
        return ["never finite" if low[c] > high[c] else "constant" if low[c] == high[c] else None for c in range(values.shape[1])]

    def without(self, reasons: list[str | None]) -> Signal:
        """Without the columns that have a reason to go."""
        ids = self.frame.index.to_numpy()
        lost = tuple({"roi": int(ids[c]), "reason": reason} for c, reason in enumerate(reasons) if reason)
        if len(lost) == len(reasons):
            raise ValueError(f"read_nwb: no ROI of '{self.path}' carries a signal (the first is {lost[0]['reason']}). "
                             "Pass another signal= or units=.")  # fmt: skip
        kept = self._columns(np.array([not reason for reason in reasons]))
        return replace(kept, dropped=self.dropped + lost)

    def segments(self, width: float) -> np.ndarray:
        """(S, 2) runs of frames without a gap, half a frame interval added at both ends."""
        return sampled_runs(self.times, self.frame_interval)

    def at_frame_rate(self, width: float) -> bool:
        """One frame a bin?"""
        return abs(width / self.frame_interval - 1) < SAME

    def snap(self, windows: Windows) -> Windows:
        """At frame rate bins are centred on frames, so that each holds exactly one: starts move by at most half a frame."""
        if not self.at_frame_rate(windows.width):
            return windows
        centers = windows.starts + 0.5 * windows.width
        nearest = self.times[self._nearest(centers)]
        close = np.abs(nearest - centers) <= 0.5 * self.frame_interval
        return replace(windows, starts=np.where(close, nearest, centers) - 0.5 * windows.width)

    def _nearest(self, times: np.ndarray) -> np.ndarray:
        after = np.searchsorted(self.times, times).clip(1, len(self.times) - 1)
        return after - (times - self.times[after - 1] <= self.times[after] - times)

    def cut(self, windows: Windows) -> tuple[np.ndarray, np.ndarray, dict]:
        """Values (B, T, N), 0 where missing; the mask (B, T, N); what the signal is, how often sampled, and which ROIs carry none."""
        values = self._one_frame_a_bin(windows) if self.at_frame_rate(windows.width) else self._means(windows)
        mask = np.isfinite(values)
        facts = dict(signal=self.path, signal_unit=self.unit, frame_interval=self.frame_interval, dropped_rois=list(self.dropped))
        return np.where(mask, values, 0).astype(np.float32), mask, facts

    def _one_frame_a_bin(self, windows: Windows) -> np.ndarray:
        frames = self._nearest(windows.centers)
        held = np.abs(self.times[frames] - windows.centers) <= 0.5 * self.frame_interval
        return np.where((held & windows.inside)[..., None], self.values[frames], np.nan)

    def _means(self, windows: Windows) -> np.ndarray:
        """Means over the finite frames of each bin; NaN where a bin touches a gap or holds no finite frame."""
        # frames jitter: a bin may reach a quarter of a frame beyond the frames' own extent
        whole = covered(windows, self.segments(windows.width), 0.25 * self.frame_interval)
        return np.where(whole[..., None], bin_means(self.times, self.values, windows)[0], np.nan)


def bin_means(times: np.ndarray, values: np.ndarray, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Means (B, T, C) over the finite samples (F, C) of each bin, NaN where there is none; and (B, T) True for bins with a sample."""
    trial, sample = within(times, windows)
    bins = bin_of(times[sample], windows.starts[trial], windows.width)
    fits = (bins >= 0) & (bins < windows.lengths[trial])
    values = values[sample[fits]]
    cells, firsts = np.unique((trial * windows.bins + bins)[fits], return_index=True)  # already in order
    out = np.full((len(windows.starts) * windows.bins, values.shape[1]), np.nan)
    held = np.zeros(len(out), bool)
    if len(cells):
        finite = np.isfinite(values)
        number = np.add.reduceat(finite, firsts, axis=0, dtype=float)
        number[number == 0] = np.nan
        out[cells] = np.add.reduceat(np.where(finite, values, 0), firsts, axis=0) / number
        held[cells] = True
    shape = (len(windows.starts), windows.bins)
    return out.reshape(*shape, -1), held.reshape(shape)


def over_baseline(signal: Signal, seconds: float, percentile: float) -> Signal:
    """dF/F = (F - F0) / F0, where F0 is the running percentile of each trace; those with a baseline of 0 or less are dropped."""
    baseline = running_percentile(signal.times, signal.values, seconds, percentile)
    positive = (np.where(np.isnan(baseline), np.inf, baseline) > 0).all(0)
    if not positive.any():
        raise ValueError(
            f"read_nwb: dF/F needs a positive baseline; that of '{signal.path}' falls to {np.nanmin(baseline):.3g} in every ROI. "
            "It may be dF/F already: leave dff= out."
        )
    kept = signal.without([None if good else "baseline not positive" for good in positive])
    baseline = baseline[:, positive]
    return replace(kept, values=(kept.values - baseline) / baseline, unit="n.a.")


def running_percentile(times: np.ndarray, values: np.ndarray, seconds: float, percentile: float) -> np.ndarray:
    """Percentile (F, N) of the finite values within `seconds` / 2 of each time.

    Exact at knots `seconds` / 8 apart, and linear between them: a baseline varies slowly over its own window.
    """
    knots = np.arange(times[0], times[-1] + seconds / KNOTS, seconds / KNOTS)
    first = np.searchsorted(times, knots - 0.5 * seconds * (1 + 1e-9))
    last = np.searchsorted(times, knots + 0.5 * seconds * (1 + 1e-9), "right")
    held = last > first  # none in a long gap
    at = np.array([_percentile(values[a:b], percentile) for a, b in zip(first[held], last[held])])
    return np.column_stack([_interpolated(times, knots[held], column) for column in at.T])


def _percentile(values: np.ndarray, percentile: float) -> np.ndarray:
    missing = np.isnan(values)
    if not missing.any():
        return np.percentile(values, percentile, axis=0)
    return np.array([np.percentile(column[~gone], percentile) if not gone.all() else np.nan for column, gone in zip(values.T, missing.T)])


def _interpolated(at: np.ndarray, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    return np.interp(at, times[known], values[known]) if known.any() else np.full(len(at), np.nan)


def frame_interval(times: np.ndarray) -> float:
    """Mean interval between samples that follow one another without a gap, seconds."""
    steps = np.diff(times)
    steps = steps[steps > 0]
    return float(steps[steps <= GAP * np.median(steps)].mean()) if len(steps) else float("nan")


def sampled_runs(times: np.ndarray, interval: float) -> np.ndarray:
    """(S, 2) runs of sorted sample times without a gap, half a sample interval added at both ends."""
    gaps = np.flatnonzero(np.diff(times) > GAP * interval)
    first, last = times[np.r_[0, gaps + 1]], times[np.r_[gaps, -1]]
    return np.column_stack([first, last]) + interval * np.array([-0.5, 0.5])
