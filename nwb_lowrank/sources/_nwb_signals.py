"""Calcium traces (ROI response series): frames into bins."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from . import _nwb_file as file
from ._windows import Windows, bin_of, covered, query, within

GAP = 1.5  # frames further apart than this many frame intervals have a gap between them
SAME = 1e-3  # relative difference below which a bin width is the frame interval
NOT_QUERIED = ("pixel_mask", "image_mask", "voxel_mask")


@dataclass(frozen=True)
class Signal:
    """A sampled signal of N regions of interest.

    frame : N rows of the ROI table, indexed by ROI id;  times : (F,) sorted, seconds;  values : (F, N), NaN where missing;
    frame_interval : mean interval between frames that follow one another without a gap, seconds;  path : in the file.
    """

    frame: pd.DataFrame
    times: np.ndarray
    values: np.ndarray
    frame_interval: float
    path: str

    kind = "signal"

    @property
    def held_out(self) -> np.ndarray:
        """(N,) nobody."""
        return np.zeros(len(self.frame), bool)

    def select(self, text: str | None) -> Signal:
        """The ROIs for which a query on the ROI table holds."""
        columns = np.flatnonzero(query(self.frame, text, "ROI"))
        if not len(columns):
            raise ValueError(f"read_nwb: no ROI of {len(self.frame)} satisfies {text!r}. Loosen units=.")
        return replace(self, frame=self.frame.iloc[columns], values=self.values[:, columns])

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

    def cut(self, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
        """Values (B, T, N), 0 where missing, and the mask (B, T, N)."""
        values = self._one_frame_a_bin(windows) if self.at_frame_rate(windows.width) else self._means(windows)
        mask = np.isfinite(values)
        return np.where(mask, values, 0).astype(np.float32), mask

    def _one_frame_a_bin(self, windows: Windows) -> np.ndarray:
        frames = self._nearest(windows.centers)
        held = np.abs(self.times[frames] - windows.centers) <= 0.5 * self.frame_interval
        return np.where((held & windows.inside)[..., None], self.values[frames], np.nan)

    def _means(self, windows: Windows) -> np.ndarray:
        """Means over the finite frames of each bin; NaN where a bin touches a gap or holds no finite frame."""
        trial, frame = within(self.times, windows)
        bins = bin_of(self.times[frame], windows.starts[trial], windows.width)
        fits = (bins >= 0) & (bins < windows.lengths[trial])
        values = self.values[frame[fits]]
        cells, firsts = np.unique((trial * windows.bins + bins)[fits], return_index=True)  # already in order
        out = np.full((len(windows.starts) * windows.bins, values.shape[1]), np.nan)
        if len(cells):
            finite = np.isfinite(values)
            number = np.add.reduceat(finite, firsts, axis=0, dtype=float)
            number[number == 0] = np.nan
            out[cells] = np.add.reduceat(np.where(finite, values, 0), firsts, axis=0) / number
        # frames jitter: a bin may reach a quarter of a frame beyond the frames' own extent
        whole = covered(windows, self.segments(windows.width), 0.25 * self.frame_interval)
        return np.where(whole[..., None], out.reshape(len(windows.starts), windows.bins, -1), np.nan)

    def facts(self, values: np.ndarray, mask: np.ndarray) -> dict:
        """Where the signal is, and how often it was sampled."""
        return dict(signal=self.path, frame_interval=self.frame_interval)


def read_signal(nwb, name: str | None) -> Signal | None:
    """The ROI series of this name, or the only one; None when there is none and none was asked for."""
    series = file.roi_series(nwb)
    if name is None and not series:
        return None
    if name is None and len(series) > 1:
        raise ValueError(f"read_nwb: the file has no units and several ROI series; pass signal= one of {', '.join(series)}.")
    path, chosen = file.find(series, name, "read_nwb", "ROI response series") if name else next(iter(series.items()))
    times, values = file.series_times(chosen), file.series_values(chosen)
    if len(times) != len(values):
        raise ValueError(f"read_nwb: '{path}' has {len(values)} frames but {len(times)} timestamps. Correct the file.")
    order = np.argsort(times, kind="stable")
    order = order[np.isfinite(times[order])]
    if len(order) < 2:
        raise ValueError(f"read_nwb: '{path}' needs at least 2 frames with a time; got {len(order)}. Pass another signal=.")
    rows = file.read(chosen.rois.data).astype(int)
    rois = file.frame(chosen.rois.table, NOT_QUERIED).iloc[rows]
    values = np.where(np.isfinite(values), values, np.nan)
    return Signal(rois, times[order], values[order], frame_interval(times[order]), path)


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
