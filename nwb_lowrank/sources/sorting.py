"""read_sorting: spikes straight from a sorter, through spikeinterface, cut and binned into Trials."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd

from ..trials import Trials
from ._cut import cut_trials, speaking_as
from ._spikes import Spikes, sorted_finite

MARKS = ("params.py", "si_folder.json", "spikeinterface_info.json", "numpysorting_info.json", "cached.json")  # of Phy; of spikeinterface
GAP = 1.0  # seconds between segments that all start at the same time, once they are on one clock
INSTALL = "pip install 'nwb_lowrank[sorting]'"


def read_sorting(
    sorting,
    *,
    bin_width: float,
    intervals: pd.DataFrame | None = None,
    align: str | None = None,
    window: tuple[float, float] | None = None,
    table: str | None = None,
    trials: str | None = None,
    units: str | None = None,
    chunk: float | None = None,
) -> Trials:
    """Cut a spike sorting into trials of binned spikes.

    Parameters
    ----------
    sorting : BaseSorting, SortingAnalyzer or path
        Of spikeinterface. A folder may be one that spikeinterface saved, or the output of Phy or Kilosort.
    bin_width : float
        Seconds.
    intervals : DataFrame or None
        Trials of your own: start_time, stop_time (seconds on the sorting's clock) and any other column.
    align, window, trials, chunk
        As in `read_nwb`.
    table : str or None
        "trials" (your intervals), "segments" or "none" (chunks). By default the intervals, else the segments
        when there are several, else chunks.
    units : str or None
        pandas query on the sorting's properties and the analyzer's quality and template metrics, with `unit` (the sorter's name),
        `n_spikes`, `rate`, `isi_violation` and `presence`.

    Returns
    -------
    Trials
        `unit_ids` are the sorter's where these are whole numbers, otherwise rows.

    Raises
    ------
    ValueError, KeyError, TypeError, FileNotFoundError
        One sentence that names what to change.

    Notes
    -----
    Segments that would overlap (each starting at 0, as most do) follow one another on one clock with a gap of 1 s. A sorting that knows
    neither its recording nor its length lasts until its last spike.

    Examples
    --------
    >>> trials = read_sorting("phy_folder", bin_width=0.02, units="group == 'good'", chunk=2.0)  # doctest: +SKIP
    """
    with speaking_as("read_sorting"):
        sorting, analyzer, path = _sorting_of(sorting)
        times, segments = _on_one_clock(sorting, analyzer)
        if not len(times):
            raise ValueError("read_nwb: the sorting has no units. Pass another one.")
        observed = tuple(segments[["start_time", "stop_time"]].to_numpy(float) for _ in times)
        extent = (float(segments["start_time"].min()), float(segments["stop_time"].max()))
        recording = Spikes(_units(sorting, analyzer), times, observed, extent)
        tables = {"segments": segments} | ({} if intervals is None else {"trials": _checked(intervals)})
        if table is None and intervals is None and len(segments) > 1 and chunk is None:
            table = "segments"
        origin = dict(path=path, sha256=None, identifier=_digest(times), object_id=None, session_start_time=None, format="spikeinterface")
        return cut_trials(
            recording, tables, origin, bin_width=bin_width, align=align, window=window, table=table, chunk=chunk, trials=trials, units=units
        )


def is_sorting(path: Path) -> bool:
    """A folder that Phy, Kilosort or spikeinterface wrote (also as Zarr)."""
    attributes = path / ".zattrs"
    if any((path / mark).exists() for mark in MARKS):
        return True
    return attributes.exists() and "spikeinterface" in attributes.read_text(errors="replace")


def _sorting_of(source):
    """The sorting, its analyzer or None, and the folder or None."""
    path = None
    if isinstance(source, (str, os.PathLike)):
        path, source = str(source), _loaded(Path(source))
    if hasattr(source, "sorting") and hasattr(source, "get_extension"):
        return source.sorting, source, path
    if not (hasattr(source, "get_unit_spike_train_in_seconds") and hasattr(source, "unit_ids")):
        raise TypeError(
            f"read_nwb: expected a sorting or a SortingAnalyzer of spikeinterface, or a folder; got {type(source).__name__}. "
            "Load it with spikeinterface first."
        )
    return source, None, path


def _loaded(path: Path):
    if not path.exists():
        raise FileNotFoundError(f"read_nwb: no folder '{path}'. Check the path.")
    if not is_sorting(path):
        raise ValueError(f"read_nwb: expected a folder that spikeinterface, Phy or Kilosort wrote; '{path}' is another. "
                         "Load the sorting with spikeinterface and pass it.")  # fmt: skip
    try:
        from spikeinterface.core import load
        from spikeinterface.extractors.phykilosortextractors import read_kilosort, read_phy
    except ImportError:
        raise ValueError(f"read_nwb: sorting folders are read through spikeinterface. Install it: {INSTALL}.") from None
    phy = (path / "params.py").exists()
    readers = [read_phy, read_kilosort] if phy else [load]
    failed = []
    for reader in readers:
        try:
            return reader(path)
        except Exception as error:  # a loader answers a strange folder with many kinds of exception
            failed.append(f"{reader.__name__}: {error}")
    raise ValueError(f"read_nwb: spikeinterface cannot load '{path}' ({'; '.join(failed)}). Load it yourself and pass the sorting.")


def _on_one_clock(sorting, analyzer) -> tuple[tuple[np.ndarray, ...], pd.DataFrame]:
    """Spike times of every unit over all segments, and a table of the segments."""
    parts, rows = [], []
    for segment in range(sorting.get_num_segments()):
        times = _seconds(sorting, analyzer, segment)
        start, stop = _span(sorting, analyzer, segment, times)
        parts.append(times)
        rows.append((start, stop))
    shifts = _shifts(np.array(rows))
    units = range(len(sorting.unit_ids))
    times = tuple(sorted_finite(np.concatenate([part[unit] + shift for part, shift in zip(parts, shifts)])) for unit in units)
    spans = np.array(rows) + shifts[:, None]
    columns = dict(start_time=spans[:, 0], stop_time=spans[:, 1], segment=np.arange(len(rows)))
    return times, pd.DataFrame(columns, index=pd.RangeIndex(len(rows), name="id"))


def _seconds(sorting, analyzer, segment: int) -> list[np.ndarray]:
    """Spike times of every unit in a segment: native ones where the format has them, otherwise from frames, all at once."""
    native = hasattr(sorting.segments[segment], "get_unit_spike_train_in_seconds") if hasattr(sorting, "segments") else True
    if native:
        return [np.asarray(sorting.get_unit_spike_train_in_seconds(unit, segment), float) for unit in sorting.unit_ids]
    spikes = sorting.to_spike_vector(concatenated=False)[segment]
    clock = analyzer.recording if analyzer is not None and analyzer.has_recording() else sorting
    times = np.asarray(clock.sample_index_to_time(spikes["sample_index"], segment_index=segment), float)
    order = np.argsort(spikes["unit_index"], kind="stable")
    ends = np.searchsorted(spikes["unit_index"][order], np.arange(1, len(sorting.unit_ids)))
    return np.split(times[order], ends)


def _span(sorting, analyzer, segment: int, times: list[np.ndarray]) -> tuple[float, float]:
    """First and last moment of a segment, by the recording where there is one."""
    clock = analyzer.recording if analyzer is not None and analyzer.has_recording() else sorting
    start = float(clock.sample_index_to_time(0, segment_index=segment))
    samples = None
    if analyzer is not None:
        samples = analyzer.get_num_samples(segment)
    elif sorting.has_recording():
        samples = sorting.get_num_samples(segment)
    step = 1 / float(sorting.get_sampling_frequency())
    if samples:
        return start, float(clock.sample_index_to_time(int(samples) - 1, segment_index=segment)) + step
    spikes = np.concatenate([*times, [start]])
    return float(spikes.min()), float(spikes.max()) + step


def _shifts(spans: np.ndarray) -> np.ndarray:
    """Seconds to add to each segment so that none overlaps another; none where they already follow one another."""
    if (spans[1:, 0] >= spans[:-1, 1]).all():
        return np.zeros(len(spans))
    lasts = spans[:, 1] - spans[:, 0]
    return np.cumsum(lasts + GAP) - lasts - GAP - spans[:, 0] + spans[0, 0]


def _units(sorting, analyzer) -> pd.DataFrame:
    """Properties and metrics of the units, indexed by whole numbers."""
    ids = np.asarray(sorting.unit_ids)
    columns = {"unit": ids}
    for key in sorting.get_property_keys():
        values = np.asarray(sorting.get_property(key))
        if values.ndim == 1 and len(values) == len(ids):
            columns[key] = values
    frame = pd.DataFrame(columns)
    for name in () if analyzer is None else ("quality_metrics", "template_metrics"):
        if analyzer.has_extension(name):
            metrics = analyzer.get_extension(name).get_data()
            metrics = metrics.loc[[unit for unit in ids]].reset_index(drop=True)
            frame = frame.join(metrics[[column for column in metrics if column not in frame]])
    frame.index = pd.Index(ids.astype(np.int64) if ids.dtype.kind in "iu" else np.arange(len(ids)), name="id")
    return frame


def _checked(intervals: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in ("start_time", "stop_time") if name not in intervals]
    if missing:
        raise ValueError(f"read_nwb: intervals need the columns start_time and stop_time in seconds; {missing[0]} is missing. Add it.")
    return intervals.reset_index(drop=True).rename_axis(index="id")


def _digest(times: tuple[np.ndarray, ...]) -> str:
    """The same spikes are called the same."""
    digest = hashlib.sha256()
    for part in times:
        digest.update(len(part).to_bytes(8, "little") + np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:32]
