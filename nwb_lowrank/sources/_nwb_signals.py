"""Series of an NWB file -> Signal: ROI responses, any other numeric series, or one series for every neuron."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
import pandas as pd
from pynwb.ecephys import ElectricalSeries
from pynwb.ophys import RoiResponseSeries

from . import _nwb_file as file
from ._names import clean, find, is_pattern, matching
from ._signal import Signal, frame_interval, over_baseline

KIND = "ROI response series"
NOT_QUERIED = ("pixel_mask", "image_mask", "voxel_mask")
MOST_VALUES = 2_000_000_000  # 16 GB as doubles: a raw voltage trace, not something to fit


@dataclass(frozen=True)
class Corrections:
    """What is done to fluorescence before it is binned.

    neuropil : path of the neuropil's ROI series, or None;  weight : share of it that is subtracted;
    dff : seconds of the running baseline of dF/F, or None;  percentile : of the trace, that is taken for the baseline.
    """

    neuropil: str | None = None
    weight: float = 0.7
    dff: float | None = None
    percentile: float = 10.0

    def __post_init__(self):
        if not (isinstance(self.weight, Real) and 0 < self.weight <= 2):
            raise ValueError(f"read_nwb: neuropil_weight must be a share from above 0 to 2; got {self.weight!r}. 0.7 is usual.")
        if self.dff is not None and not (isinstance(self.dff, Real) and np.isfinite(self.dff) and self.dff > 0):
            raise ValueError(f"read_nwb: dff must be the baseline's window in seconds, above 0; got {self.dff!r}. 60 is usual.")
        if not (isinstance(self.percentile, Real) and 0 <= self.percentile <= 100):
            raise ValueError(f"read_nwb: dff_percentile must be from 0 to 100; got {self.percentile!r}. 10 is usual.")

    def found_in(self, nwb) -> Corrections:
        """With the whole path of the neuropil."""
        return self if self.neuropil is None else replace(self, neuropil=find(file.roi_series(nwb), self.neuropil, "read_nwb", KIND)[0])

    def arguments(self) -> dict:
        """As read_nwb takes them."""
        return dict(neuropil=self.neuropil, neuropil_weight=float(self.weight), dff=self.dff, dff_percentile=float(self.percentile))


def read_signal(nwb, name: str | None, corrections: Corrections = Corrections()) -> Signal | None:
    """The series of this name (or those of this pattern), or the only ROI series; None when none is there and none was asked for."""
    rois = file.roi_series(nwb)
    if name is None and not rois:
        return None
    if name is None and len(rois) > 1:
        raise ValueError(f"read_nwb: the file has no units and several ROI series; pass signal= one of {', '.join(rois)}.")
    signal = _stacked(nwb, name) if name and is_pattern(name) else _one(nwb, rois, name)
    if corrections.neuropil is not None:
        signal = _without_neuropil(nwb, rois, signal, corrections)
    return signal if corrections.dff is None else over_baseline(signal, corrections.dff, corrections.percentile)


def _one(nwb, rois: dict, name: str | None) -> Signal:
    every = file.numeric_series(nwb)
    if name is None:
        path, series = next(iter(rois.items()))
    else:
        known = any(f"/{clean(name)}/" in f"/{path}/" for path in rois)
        path, series = find(rois if known or not every else {**rois, **every}, name, "read_nwb", KIND)
    times, values = _samples(path, series)
    return _signal(_columns(series, values.shape[1]), times, values, path, series.unit)


def _samples(path: str, series) -> tuple[np.ndarray, np.ndarray]:
    """Times (F,) and values (F, N) of a series, in the order of the file."""
    if np.prod(np.shape(series.data), dtype=float) > MOST_VALUES:
        raise ValueError(f"read_nwb: '{path}' has {np.prod(np.shape(series.data), dtype=float):.2g} values, too many for a signal to fit. "
                         "Downsample it into a series of its own first, or pass another signal=.")  # fmt: skip
    times, values = file.series_times(series), file.series_values(series)
    if len(times) != len(values):
        raise ValueError(f"read_nwb: '{path}' has {len(values)} frames but {len(times)} timestamps. Correct the file.")
    return times, values


def _signal(frame: pd.DataFrame, times: np.ndarray, values: np.ndarray, path: str, unit: str) -> Signal:
    order = np.argsort(times, kind="stable")
    order = order[np.isfinite(times[order])]
    if len(order) < 2:
        raise ValueError(f"read_nwb: '{path}' needs at least 2 frames with a time; got {len(order)}. Pass another signal=.")
    interval = frame_interval(times[order])
    if not interval > 0:
        raise ValueError(f"read_nwb: the frames of '{path}' all have the same time. Correct the file, or pass another signal=.")
    if values.shape[1] != len(frame):
        raise ValueError(f"read_nwb: '{path}' has {values.shape[1]} columns for {len(frame)} ROIs. Correct the file.")
    values = values if np.isfinite(values).all() else np.where(np.isfinite(values), values, np.nan)
    if not (order == np.arange(len(times))).all():
        times, values = times[order], values[order]
    return Signal(frame, times, values, interval, path, str(unit))


def _columns(series, number: int) -> pd.DataFrame:
    """What the file says of each column: rows of the ROI or electrodes table, else a number."""
    region = series.rois if isinstance(series, RoiResponseSeries) else series.electrodes if isinstance(series, ElectricalSeries) else None
    if region is None:
        return pd.DataFrame(index=pd.RangeIndex(number, name="id"))
    rows, table = file.read(region.data).astype(int), file.frame(region.table, NOT_QUERIED)
    if len(rows) and not (0 <= rows.min() and rows.max() < len(table)):
        raise ValueError(f"read_nwb: '{series.name}' refers to row {rows.max()} of a table of {len(table)} ROIs. Correct the file.")
    return table.iloc[rows]


def _stacked(nwb, pattern: str) -> Signal:
    """One series a neuron, all of the same frames."""
    every = {**file.numeric_series(nwb), **file.roi_series(nwb)}
    paths = matching(every, pattern)
    if not paths:
        raise KeyError(f"read_nwb: no series fits '{pattern}'; the file has {', '.join(every) or 'none'}. Pass another signal=.")
    samples = {path: _samples(path, every[path]) for path in paths}
    times, _ = samples[paths[0]]
    for path, (own, values) in samples.items():
        if values.shape[1] != 1:
            raise ValueError(f"read_nwb: signal='{pattern}' stands for one series a neuron; '{path}' has {values.shape[1]} columns. "
                             "Pass one such series by its path.")  # fmt: skip
        if own.shape != times.shape or not np.allclose(own, times, rtol=0, atol=1e-9, equal_nan=True):
            raise ValueError(f"read_nwb: the series of signal='{pattern}' must have the same times; those of '{path}' differ "
                             f"from those of '{paths[0]}'. Pass a narrower pattern.")  # fmt: skip
    frame = pd.DataFrame(dict(series=paths), index=pd.RangeIndex(len(paths), name="id"))
    return _signal(frame, times, np.hstack([values for _, values in samples.values()]), pattern, every[paths[0]].unit)


def _without_neuropil(nwb, rois: dict, signal: Signal, corrections: Corrections) -> Signal:
    """F - weight * neuropil of the same ROI in the same frame."""
    if signal.path not in rois:
        raise ValueError(f"read_nwb: neuropil= goes with a ROI response series; '{signal.path}' is none. Leave neuropil= out.")
    path = corrections.neuropil
    around = _one(nwb, rois, path)
    if around.times.shape != signal.times.shape or not np.allclose(around.times, signal.times, rtol=0, atol=0.1 * signal.frame_interval):
        raise ValueError(
            f"read_nwb: neuropil '{path}' must have the frames of '{signal.path}'; their times differ. Pass another neuropil=."
        )
    columns = around.frame.index.get_indexer(signal.frame.index)
    if (columns < 0).any():
        missing = signal.frame.index[columns < 0][0]
        raise ValueError(f"read_nwb: neuropil '{path}' must have every ROI of '{signal.path}'; it lacks ROI {missing}. "
                         "Pass another neuropil=.")  # fmt: skip
    return replace(signal, values=signal.values - corrections.weight * around.values[:, columns])
