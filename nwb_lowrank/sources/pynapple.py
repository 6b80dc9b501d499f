"""read_pynapple: objects of pynapple, cut and binned into Trials. pynapple itself is never imported here: what is passed knows it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from ..trials import Trials
from ._behavior import Series, behavior_fields
from ._cut import cut_trials, speaking_as
from ._signal import Signal, frame_interval
from ._spikes import Spikes, sorted_finite


def read_pynapple(
    data,
    intervals=None,
    *,
    bin_width: float | None = None,
    align: str | None = None,
    window: tuple[float, float] | None = None,
    trials: str | None = None,
    units: str | None = None,
    behavior=None,
    chunk: float | None = None,
    mask_nan_behavior: bool = False,
    average_behavior: bool = False,
) -> Trials:
    """Cut a pynapple TsGroup (spikes) or TsdFrame (a signal) into trials.

    Parameters
    ----------
    data : TsGroup or TsdFrame
        Its time support is taken as the time in which all units were observed.
    intervals : IntervalSet or None
        Trials, with its metadata as columns beside start_time and stop_time. None cuts chunks.
    bin_width : float
        Seconds; a TsdFrame may leave it out (one sample a bin).
    align, window, trials, chunk, mask_nan_behavior, average_behavior
        As in `read_nwb`; `align` is start_time, stop_time or a metadata column of seconds.
    units : str or None
        pandas query on the metadata of `data` with `n_spikes`, `rate`, `isi_violation` and `presence`.
    behavior : Tsd, TsdFrame, or mapping of name to these
        Interpolated to bin centres, or averaged.

    Returns
    -------
    Trials

    Raises
    ------
    ValueError, KeyError, TypeError
        One sentence that names what to change.

    Examples
    --------
    >>> trials = read_pynapple(units, epochs, bin_width=0.02, behavior={"speed": speed})  # doctest: +SKIP
    """
    with speaking_as("read_pynapple"):
        kind = type(data).__name__
        if kind not in ("TsGroup", "TsdFrame"):
            raise TypeError(f"read_nwb: expected a TsGroup or a TsdFrame of pynapple; got {kind}. Pass one of these.")
        recording = _spikes(data) if kind == "TsGroup" else _signal(data)
        series = _behaviors(behavior)
        fields = partial(behavior_fields, series, mask_nan=mask_nan_behavior, average=average_behavior) if series else None
        tables = {} if intervals is None else {"trials": _table(intervals)}
        origin = dict(path=None, sha256=None, identifier=_digest(recording), object_id=None, session_start_time=None, format="pynapple")
        return cut_trials(
            recording, tables, origin, bin_width=bin_width, align=align, window=window, table=None, chunk=chunk, trials=trials,
            units=units, behavior=fields,
        )  # fmt: skip


def _support(data) -> np.ndarray:
    """(K, 2) seconds."""
    return np.column_stack([np.asarray(data.time_support.start, float), np.asarray(data.time_support.end, float)])


def _metadata(data, index) -> pd.DataFrame:
    frame = pd.DataFrame(getattr(data, "metadata", None))
    return frame.reindex(index) if len(frame) else pd.DataFrame(index=index)


def _spikes(group) -> Spikes:
    keys = list(group.keys())
    times = tuple(sorted_finite(np.asarray(group[key].times(), float)) for key in keys)
    if not keys:
        raise ValueError("read_nwb: the TsGroup has no units. Pass another one.")
    observed = _support(group)
    frame = _metadata(group, keys)
    frame.index = pd.Index(np.asarray(keys, np.int64), name="id")
    return Spikes(frame, times, tuple(observed for _ in keys), (float(observed[0, 0]), float(observed[-1, 1])))


def _signal(data) -> Signal:
    times, values = np.asarray(data.times(), float), np.asarray(data.values, float)
    if len(times) < 2:
        raise ValueError(f"read_nwb: a TsdFrame needs at least 2 samples; got {len(times)}. Pass a longer one.")
    frame = _metadata(data, list(data.columns))
    frame = frame.assign(column=list(data.columns))
    frame.index = pd.RangeIndex(len(frame), name="id")
    return Signal(frame, times, np.where(np.isfinite(values), values, np.nan), frame_interval(times), "TsdFrame")


def _behaviors(behavior) -> list[Series]:
    if behavior is None:
        return []
    named = behavior if isinstance(behavior, Mapping) else {"behavior": behavior}
    for name, one in named.items():
        if type(one).__name__ not in ("Tsd", "TsdFrame"):
            raise TypeError(f"read_nwb: behavior '{name}' must be a Tsd or a TsdFrame of pynapple; got {type(one).__name__}. Pass one.")
    return [Series(name, name, np.asarray(one.times(), float), _rows(one.values), "a.u.") for name, one in named.items()]


def _rows(values) -> np.ndarray:
    values = np.asarray(values, float)
    return values.reshape(len(values), -1)


def _table(intervals) -> pd.DataFrame:
    if type(intervals).__name__ != "IntervalSet":
        raise TypeError(f"read_nwb: intervals must be an IntervalSet of pynapple; got {type(intervals).__name__}. Pass one.")
    frame = pd.DataFrame(dict(start_time=np.asarray(intervals.start, float), stop_time=np.asarray(intervals.end, float)))
    metadata = _metadata(intervals, frame.index)
    return frame.join(metadata[[name for name in metadata if name not in frame]]).rename_axis(index="id")


def _digest(recording) -> str:
    """The same data are called the same."""
    digest = hashlib.sha256()
    for part in recording.times if recording.kind == "spikes" else (recording.times, recording.values):
        digest.update(len(part).to_bytes(8, "little") + np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:32]
