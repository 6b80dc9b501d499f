"""Where to cut: windows on the session clock from an interval table or from a continuous recording, and what lies inside."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

ROUND = 6  # decimals of a bin: times are floats, and 0.3 / 0.1 must be the third bin's edge, not just below it
NEAR = 1e-5  # of a bin: further from an edge neither rounding nor the clock's last digits change a time's bin
CHUNK_BINS = 100
MOST_BINS = 1_000_000_000  # of a recording: eleven days of milliseconds
QUERY_METHODS = {"str", "isin", "between", "isna", "notna", "isnull", "notnull", "abs", "contains", "startswith",
                 "endswith", "lower", "upper", "strip"}  # fmt: skip


@dataclass(frozen=True)
class Windows:
    """B windows of at most `bins` bins.

    starts : (B,) left edge of bin 0, seconds;  lengths : (B,) bins that belong to the window, the rest is padding;
    width : seconds;  table : one row a window;  dropped : {"trial", "reason"} for every row left out.
    """

    starts: np.ndarray
    lengths: np.ndarray
    width: float
    table: pd.DataFrame
    dropped: tuple[dict, ...] = ()

    @property
    def bins(self) -> int:
        return int(self.lengths.max())

    @property
    def stops(self) -> np.ndarray:
        return self.starts + self.lengths * self.width

    @property
    def inside(self) -> np.ndarray:
        """(B, T) True for bins that are no padding."""
        return np.arange(self.bins) < self.lengths[:, None]

    @property
    def centers(self) -> np.ndarray:
        """(B, T) seconds."""
        return self.starts[:, None] + (np.arange(self.bins) + 0.5) * self.width

    def select(self, rows) -> Windows:
        """The windows of these rows, nothing reported."""
        return replace(self, starts=self.starts[rows], lengths=self.lengths[rows], table=self.table.iloc[rows])

    def keep(self, kept: np.ndarray, reason) -> Windows:
        """The windows where `kept`; the others are reported as dropped for `reason`, a text or one text a window."""
        reasons = np.broadcast_to(np.asarray(reason, dtype=object), kept.shape)
        ids = self.table["trial_id"].to_numpy()
        lost = tuple({"trial": int(ids[row]), "reason": str(reasons[row])} for row in np.flatnonzero(~kept))
        return replace(self.select(np.flatnonzero(kept)), dropped=self.dropped + lost)


def bin_of(times, start, width: float) -> np.ndarray:
    """Index of the bin [k, k + 1) * width after `start` that holds each time, exact at bin edges.

    It is floor(round((times - start) / width, ROUND)), worked out in one piece of memory.
    """
    bins = np.atleast_1d(np.subtract(times, start, dtype=float))
    bins /= width
    bins *= 10.0**ROUND
    np.rint(bins, out=bins)
    bins /= 10.0**ROUND
    np.floor(bins, out=bins)
    return bins.astype(np.int64).reshape(np.broadcast(times, start).shape)


def whole_bins(duration, width: float):
    """Whole bins in a duration."""
    return np.floor(np.round(np.asarray(duration) / width, ROUND)).astype(np.int64)


def table_windows(frame: pd.DataFrame, name: str, width: float, align: str | None, window) -> Windows:
    """Windows around an event of every row, or from start_time to stop_time.

    Raises
    ------
    KeyError
        No such column.
    ValueError
        A window or bin that cannot be, or that misses every trial.
    """
    align = "start_time" if align is None else align
    _check_event(frame, name, align)
    table = _with_trial_id(frame)
    event, start, stop = (table[column].to_numpy(float) for column in (align, "start_time", "stop_time"))
    if window is None:
        if align != "start_time":
            raise ValueError(f"read_nwb: align='{align}' needs window=(start, stop), seconds around it, such as (-0.3, 1).")
        starts, lengths = start, whole_bins(np.nan_to_num(stop - start), width)
        reasons = [_missing(start[row], stop[row]) for row in range(len(table))]
    else:
        first, last = _checked_window(window, width)
        starts, lengths = event + first, np.full(len(table), round(round((last - first) / width, ROUND)))
        reasons = [f"{align} is NaN"] * len(table)
        _check_overlap(name, window, starts, event + last, start, stop)
    windows = Windows(starts, lengths, width, table).keep(np.isfinite(starts) & (lengths > 0), reasons)
    if not len(windows.starts):
        advice = (
            "window=(start, stop), seconds around an event" if reasons[0] == "stop_time is NaN" else "a smaller bin_width=, another align="
        )
        raise ValueError(
            f"read_nwb: no trial of intervals '{name}' can be cut into bins of {width:g} s ({reasons[0]}). Pass {advice} or another table=."
        )
    return windows


def _check_event(frame: pd.DataFrame, name: str, align: str) -> None:
    if align not in frame:
        times = ", ".join(column for column in frame if frame[column].dtype.kind == "f")
        raise KeyError(f"read_nwb: no column '{align}' in intervals '{name}'; it has {times}. Pass align= one of these.")
    if frame[align].dtype.kind not in "fiu":
        raise ValueError(f"read_nwb: column '{align}' of intervals '{name}' holds no times. Pass a column of seconds.")


def _with_trial_id(frame: pd.DataFrame) -> pd.DataFrame:
    """The table's ids as first column `trial_id`; a column that the file calls so is kept under another name."""
    return frame.rename(columns={"trial_id": "trial_id_in_file"}).rename_axis(index="trial_id").reset_index()


def _missing(start: float, stop: float) -> str:
    if np.isnan(start):
        return "start_time is NaN"
    return "stop_time is NaN" if np.isnan(stop) else "shorter than one bin"


def _checked_window(window, width: float) -> tuple[float, float]:
    if np.shape(window) != (2,):
        raise ValueError(
            f"read_nwb: window must be (start, stop) in seconds around the event; got {window!r}. Pass for example (-0.3, 0.7)."
        )
    first, last = (float(edge) for edge in window)
    if not (np.isfinite([first, last]).all() and first < last):
        raise ValueError(
            f"read_nwb: window must be (start, stop) in seconds with start < stop; got ({first:g}, {last:g}). Exchange or mend them."
        )
    if width > (last - first) * (1 + 10.0**-ROUND):
        raise ValueError(
            f"read_nwb: bins of {width:g} s are wider than the window of {last - first:g} s. Pass a smaller bin_width= or a longer window=."
        )
    return first, last


def _check_overlap(name: str, window, first, last, start, stop) -> None:
    """A window far from every trial is a slip of the hand; one that ends where the trial starts is a baseline."""
    known = np.isfinite(first + start + stop)
    if known.any() and not ((last >= start - 1e-9) & (first <= stop + 1e-9))[known].any():
        longest = (stop - start)[known].max()
        raise ValueError(
            f"read_nwb: window ({window[0]:g}, {window[1]:g}) lies outside every trial of intervals '{name}', "
            f"which last at most {longest:g} s. Pass a window= that meets them."
        )


def chunk_windows(segments: np.ndarray, width: float, chunk: float | None) -> Windows:
    """Chunks of `chunk` seconds that follow one another through every segment; the last of a segment is shorter."""
    if chunk is not None and not (np.isfinite(chunk) and chunk > 0):
        raise ValueError(f"read_nwb: chunk must be a positive number of seconds; got {chunk}. Pass for example 10.")
    size = CHUNK_BINS if chunk is None else int(round(round(chunk / width, ROUND)))
    if size < 1 or (chunk is not None and width > chunk * (1 + 10.0**-ROUND)):
        raise ValueError(f"read_nwb: bins of {width:g} s are wider than chunks of {chunk:g} s. Pass a longer chunk=.")
    numbers = np.floor(np.round((segments[:, 1] - segments[:, 0]) / width, ROUND))
    if numbers.sum() > MOST_BINS:
        raise ValueError(
            f"read_nwb: the recording lasts from {segments.min():g} to {segments.max():g} s, which is {numbers.sum():.3g} bins. "
            "Pass a larger bin_width=, or table= and window= (one spike on a wrong clock is enough to stretch it so)."
        )
    starts, lengths = [], []
    for (first, _), bins in zip(segments, numbers.astype(int)):
        firsts = np.arange(0, bins, size)
        starts.append(first + firsts * width)
        lengths.append(np.minimum(size, bins - firsts))
    starts, lengths = np.concatenate(starts), np.concatenate(lengths)
    if not len(starts):
        raise ValueError(f"read_nwb: the recording holds no whole bin of {width:g} s. Pass a smaller bin_width=.")
    columns = dict(trial_id=np.arange(len(starts)), start_time=starts, stop_time=starts + lengths * width)
    return Windows(starts, lengths, width, pd.DataFrame(columns))


def merge(intervals: np.ndarray, tolerance: float) -> np.ndarray:
    """(K, 2) intervals sorted, empty ones and NaN left out, and those joined that touch or overlap."""
    intervals = np.asarray(intervals, float).reshape(-1, 2)
    intervals = intervals[intervals[:, 1] > intervals[:, 0]]  # False for NaN
    intervals = intervals[np.argsort(intervals[:, 0], kind="stable")]
    if not len(intervals):
        return intervals
    reach = np.maximum.accumulate(intervals[:, 1])
    new = np.r_[True, intervals[1:, 0] > reach[:-1] + tolerance]
    return np.column_stack([intervals[new, 0], reach[np.r_[np.flatnonzero(new)[1:] - 1, -1]]])


def covered(windows: Windows, intervals: np.ndarray, tolerance: float) -> np.ndarray:
    """(B, T) True for bins that lie wholly inside one interval, within `tolerance` seconds, and are no padding."""
    intervals = merge(intervals, tolerance)
    if not len(intervals):
        return np.zeros((len(windows.starts), windows.bins), bool)
    inside = windows.inside
    row = np.searchsorted(intervals[:, 0], windows.starts + tolerance, side="right") - 1
    partly = np.flatnonzero((row < 0) | (windows.stops > intervals[row, 1]))
    left = windows.starts[partly, None] + np.arange(windows.bins) * windows.width
    row = np.searchsorted(intervals[:, 0], left + tolerance, side="right") - 1
    inside[partly] &= (row >= 0) & (left + windows.width <= intervals[row, 1] + tolerance)
    return inside


def within(times: np.ndarray, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (window, index of a time) of sorted times, a little beyond the windows' edges; windows may overlap."""
    first, number = Grid(windows).spans(times)
    return np.repeat(np.arange(len(number)), number), _indices(first, number)


class Grid:
    """All bins of some windows, numbered window * bins + bin: what can be worked out once for many units."""

    def __init__(self, windows: Windows):
        last = np.spacing(np.abs([windows.starts, windows.stops]).max())  # digit of the clock
        slack = 10.0**-ROUND * windows.width + 2 * last  # what `bin_of` may round into the window
        self.edges = np.concatenate([windows.starts - slack, windows.stops + slack])
        self.starts, self.lengths, self.width, self.bins = windows.starts, windows.lengths.astype(np.uint64), windows.width, windows.bins
        self.numbers, self.even = np.arange(len(self.starts)) * self.bins, bool((windows.lengths == self.bins).all())
        self.total = int(self.numbers[-1] + self.lengths[-1])
        clock = (self.starts - self.starts[0]) / self.width - self.numbers
        whole = bool((windows.lengths[:-1] == self.bins).all())
        self.regular = whole and last < NEAR / 10 * self.width and bool((np.abs(clock) < NEAR / 10).all())

    def spans(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B,) index of the first of the sorted times in each window, and how many there are, a little beyond the windows' edges."""
        first, end = np.searchsorted(times, self.edges).reshape(2, -1)
        return first, end - first

    def cells(self, *units: np.ndarray) -> list[np.ndarray]:
        """The bins of those of each unit's sorted times that are inside a window, in no order."""
        return self._of_one_row(units) if self.regular else [self._of_each(times) for times in units]

    def _of_one_row(self, units: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Windows that follow one another are one row of bins: only near an edge does `bin_of` have to tell which side a time is on."""
        ends = self.edges[[0, -1]]
        spans = [slice(*times.searchsorted(ends)) for times in units]
        times = np.concatenate([times[span] for times, span in zip(units, spans)])
        past = times - (self.starts[0] - NEAR * self.width)
        past *= 1 / self.width
        whole = np.floor(past)
        past -= whole
        cells, (close,) = whole.astype(np.int64), (past < 2 * NEAR).nonzero()
        window = np.minimum(cells[close] // self.bins, len(self.starts) - 1)
        cells[close] = fixed = bin_of(times[close], self.starts[window], self.width) + window * self.bins
        last = np.cumsum([span.stop - span.start for span in spans])
        found = [cells[first:end] for first, end in zip([0, *last], last)]
        if ((fixed >= 0) & (fixed < self.total)).all():
            return found
        return [some[slice(*some.searchsorted((0, self.total)))] for some in found]

    def _of_each(self, times: np.ndarray) -> np.ndarray:
        first, number = self.spans(times)
        times = times[_indices(first, number)]
        bins = bin_of(times, np.repeat(self.starts, number), self.width)
        fits = bins.view(np.uint64) < (self.bins if self.even else np.repeat(self.lengths, number))  # numbers below 0 are huge there
        bins += np.repeat(self.numbers, number)
        return bins[fits]


def _indices(first: np.ndarray, number: np.ndarray) -> np.ndarray:
    """first, first + 1, ... of every window, one after the other."""
    return np.arange(number.sum()) + np.repeat(first - np.cumsum(number) + number, number)


def query(frame: pd.DataFrame, text: str | None, what: str, also: tuple[str, ...] = ()) -> np.ndarray:
    """(rows,) True where a pandas query holds; `also` are columns that would be worked out if it named them.

    Raises
    ------
    ValueError
        The query does not parse, names no column, does not answer yes or no, or calls anything
        but plain tests: queries also come from files, and a file must not run code.
    """
    if text is None:
        return np.ones(len(frame), bool)
    advice = f"Columns of {what}: {', '.join(dict.fromkeys([frame.index.name or 'id', *map(str, frame.columns), *also]))}."
    try:
        _check_plain(text)
        rows = frame.eval(text, local_dict={}, global_dict={})
    except Exception as error:  # pandas answers a bad query with many kinds of exception
        raise ValueError(f"read_nwb: cannot use the {what} query {text!r} ({error}). {advice}") from None
    if np.dtype(getattr(rows, "dtype", object)) != np.dtype(bool) or np.shape(rows) != (len(frame),):
        raise ValueError(f"read_nwb: the {what} query {text!r} must be true or false for every row. {advice}")
    return np.asarray(rows)


def _check_plain(text: str) -> None:
    code = re.sub(r"`[^`'\"]*`", "column", text)
    if "`" in code:
        raise ValueError("a backtick or quote is not closed")
    for node in ast.walk(ast.parse(code.strip(), mode="eval")):
        if isinstance(node, ast.Attribute) and node.attr not in QUERY_METHODS:
            raise ValueError(f"'.{node.attr}' is not allowed")
