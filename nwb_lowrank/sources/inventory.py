"""inventory: what is in an NWB file, before anything is cut from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from . import _nwb_file as file
from ._nwb_units import read_spikes
from ._resolution import Resolution, data_resolution
from ._signal import frame_interval, sampled_runs
from ._spikes import Spikes

NAN_COUNT_LIMIT = 20_000_000  # entries; larger behaviour series are not read just to look for NaN
FEW = 6


@dataclass(frozen=True, eq=False)
class Inventory:
    """What is in a file.

    Parameters
    ----------
    session : dict
        identifier, description, start, subject, species (text).
    units : DataFrame or None
        One row a unit, indexed by id: every column a query may use, with `rate` (Hz) and `n_spikes`.
    segments : array (S, 2)
        Stretches in which units were observed, seconds.
    resolution : Resolution or None
        How coarse the spike times are, when they are coarse.
    tables : dict of DataFrame
        Every interval table by path, indexed by id.
    behavior : DataFrame
        One row a series, indexed by path: type, shape, unit, rate (Hz), first and last sample (s),
        nan (entries; -1 for a series too large to look), runs ((K, 2) stretches without a gap, s).
    signals : DataFrame
        One row a ROI response series, indexed by path: shape, unit, rate, first, last.
    results : list of str
        Runs of this package already in the file.
    """

    session: dict
    units: pd.DataFrame | None
    segments: np.ndarray
    resolution: Resolution | None
    tables: dict[str, pd.DataFrame]
    behavior: pd.DataFrame
    signals: pd.DataFrame
    results: list[str]

    @property
    def duration(self) -> float:
        """Seconds in which units were observed."""
        return float(np.diff(self.segments, axis=1).sum())

    def text(self) -> str:
        """The inventory for a reader."""
        parts = [*_session_lines(self.session), *_unit_lines(self), *_table_lines(self.tables)]
        parts += _series_lines("behaviour and other series", self.behavior) + _series_lines("ROI signals", self.signals)
        parts.append(f"results          {', '.join(self.results) if self.results else 'none of this package yet'}")
        return "\n".join(parts)


def inventory(path_or_file) -> Inventory:
    """What is in an NWB file: units, interval tables, behaviour, ROI signals and our own results.

    Parameters
    ----------
    path_or_file : str, path, file-like object or open NWBFile

    Returns
    -------
    Inventory
        Tables of units (rates in Hz), intervals (s), behaviour and ROI series; `text()` prints them.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        No such file, or not a readable NWB file.
    """
    with file.open_nwb(path_or_file, "inventory") as (nwb, origin):
        spikes = read_spikes(nwb)
        tables = {path: file.interval_frame(table) for path, table in file.interval_tables(nwb).items()}
        behavior = _series_frame(file.behavior_series(nwb), with_nan=True)
        return Inventory(
            session=_session(nwb, origin),
            units=None if spikes is None else spikes.described(),
            segments=np.zeros((0, 2)) if spikes is None else _segments(spikes),
            resolution=None if spikes is None else _resolution(spikes, tables, behavior),
            tables=tables,
            behavior=behavior,
            signals=_series_frame(file.roi_series(nwb), with_nan=False),
            results=file.result_runs(nwb),
        )


def _session(nwb, origin: dict) -> dict:
    subject = nwb.subject
    return dict(
        path=origin["path"],
        identifier=origin["identifier"],
        description=nwb.session_description,
        start=origin["session_start_time"],
        subject=getattr(subject, "subject_id", None),
        species=getattr(subject, "species", None),
    )


def _segments(spikes: Spikes) -> np.ndarray:
    return np.array([spikes.extent]) if spikes.observed is None else spikes.segments(1e-3)


def _resolution(spikes: Spikes, tables: dict, behavior: pd.DataFrame) -> Resolution | None:
    clocks = [np.zeros(1)] + [np.sort(table["start_time"].dropna().to_numpy(float)) for table in tables.values()]
    hints = [1 / rate for rate in behavior["rate"] if np.isfinite(rate) and rate > 0]
    return data_resolution(spikes.times, clocks, hints)


def _series_frame(series: dict, with_nan: bool) -> pd.DataFrame:
    columns = ["type", "shape", "unit", "rate", "first", "last"] + ["nan", "runs"] * with_nan
    rows = {}
    for path, one in series.items():
        times = file.series_times(one)
        times = np.unique(times[np.isfinite(times)])
        step = _median_step(times) if with_nan else frame_interval(times)
        known = (times.min(), times.max()) if len(times) else (np.nan, np.nan)
        rows[path] = [type(one).__name__, tuple(map(int, np.shape(one.data))), one.unit, 1 / step, *map(float, known)]
        if with_nan:
            large = np.prod(np.shape(one.data)) > NAN_COUNT_LIMIT
            rows[path].append(-1 if large else int(np.isnan(file.series_values(one)).sum()))
            rows[path].append(sampled_runs(times, step) if len(times) > 1 else np.zeros((0, 2)))
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _median_step(times: np.ndarray) -> float:
    steps = np.diff(times)
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else np.nan


def _session_lines(session: dict) -> list[str]:
    return [f"{key:<16} {value}" for key, value in session.items() if value]


def _unit_lines(found: Inventory) -> list[str]:
    units = found.units
    if units is None:
        return ["units            none with spike times"]
    stretches = len(found.segments)
    low, quarter, half, three, high = np.quantile(units["rate"], [0, 0.25, 0.5, 0.75, 1])
    lines = [
        f"units            {len(units)}, {int((units['n_spikes'] == 0).sum())} of them silent; "
        f"{units['n_spikes'].sum()} spikes in {found.duration:.4g} s ({stretches} stretch{'es' * (stretches != 1)})",
        f"  rates (Hz)     {low:.3g} to {high:.3g}, quartiles {quarter:.3g} / {half:.3g} / {three:.3g}",
        *_column_lines(units),
    ]
    return lines if found.resolution is None else [*lines, f"  resolution     {found.resolution}"]


def _table_lines(tables: dict) -> list[str]:
    if not tables:
        return ["intervals        none"]
    lines = []
    for path, table in tables.items():
        lasts = (table["stop_time"] - table["start_time"]).dropna()
        span = f", {lasts.min():.4g} to {lasts.max():.4g} s long" if len(lasts) else ""
        lines += [f"intervals        {path}: {len(table)} rows{span}", *_column_lines(table)]
    return lines


def _column_lines(table: pd.DataFrame) -> list[str]:
    return [f"  {name:<22} {_describe(table[name])}" for name in table]


def _describe(column: pd.Series) -> str:
    if any(np.ndim(value) for value in column):
        return "list a row"
    kind, values = ("text" if column.dtype.kind == "O" else str(column.dtype)), column.dropna()
    missing = f", {column.isna().sum()} missing" if column.isna().any() else ""
    distinct = pd.unique(values)
    if len(distinct) <= FEW:
        return f"{kind}: {', '.join(_short(value) for value in distinct)}{missing}"
    if column.dtype.kind in "iuf":
        return f"{kind}: {values.min():.6g} to {values.max():.6g}{missing}"
    return f"{kind}: {len(distinct)} values such as {_short(distinct[0])}{missing}"


def _short(value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _series_lines(title: str, series: pd.DataFrame) -> list[str]:
    lines = [title] if len(series) else [f"{title}: none"]
    for path, row in series.iterrows():
        missing = f", {row['nan']} NaN" if row.get("nan", 0) > 0 else ""
        lines.append(f"  {path}: {' x '.join(map(str, row['shape']))} at {row['rate']:.4g} Hz, {row['unit']}, "
                     f"{row['first']:.6g} to {row['last']:.6g} s{missing}")  # fmt: skip
    return lines
