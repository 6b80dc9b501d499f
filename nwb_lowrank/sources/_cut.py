"""A recording of any source, its interval tables and its behaviour -> Trials: the part of reading that no file format changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from numbers import Real

import numpy as np
import pandas as pd

from ..trials import Trials
from ._names import find
from ._windows import CHUNK_BINS, Windows, chunk_windows, query, table_windows

MOST_ENTRIES = 4_000_000_000  # counts of a reading: 16 GB as float32, a slip of the hand in bin_width
SAME = 1e-3  # relative difference below which a bin width is the frame interval


@contextmanager
def speaking_as(who: str):
    """Errors of the shared parts name the function that the user called."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        text = error.args[0] if error.args else None
        if who == "read_nwb" or not isinstance(text, str) or not text.startswith("read_nwb: "):
            raise
        raise type(error)(f"{who}: {text.removeprefix('read_nwb: ')}") from None


def cut_trials(
    recording,
    tables: Mapping[str, object],
    origin: dict,
    *,
    bin_width: float | None,
    align: str | None,
    window,
    table: str | None,
    chunk: float | None,
    trials: str | None,
    units: str | None,
    frame_of: Callable[[object], pd.DataFrame] = pd.DataFrame,
    behavior: Callable[[Windows], tuple[dict, list[str]]] | None = None,
    inputs: Callable[[Windows], tuple[dict, list[str]]] | None = None,
    more: dict | None = None,
) -> Trials:
    """Trials of a recording (`Spikes` or `Signal`).

    Parameters
    ----------
    tables : mapping of path to interval table
        `frame_of` makes a DataFrame indexed by id, with start_time and stop_time, of the one that is used.
    origin : dict
        What is known of the source; `cut`, `dropped`, `kind` and the recording's facts are added.
    behavior, inputs : callable or None
        Windows -> the fields of Trials, and the names that give the same again.
    more : dict or None
        Further arguments of the reading for `origin["cut"]`.
    """
    recording = recording.select(units)
    if len(recording.frame) == 1:
        raise ValueError("read_nwb: a low-rank model needs at least 2 neurons; got 1. Loosen units=.")
    width = _bin_width(bin_width, recording)
    windows, cut_at = _windows(tables, frame_of, recording, width, align, window, table, chunk, trials)
    windows = recording.snap(_checked_size(windows, len(recording.frame)))
    counts, mask, facts = recording.cut(windows)
    windows, counts, mask = _drop_unrecorded(windows, counts, mask)
    fields, paths = behavior(windows) if behavior else ({}, None)
    given, named = inputs(windows) if inputs else ({}, None)
    cut = dict(bin_width=width, **cut_at, trials=trials, units=units, behavior=paths, inputs=named, **(more or {}))
    return Trials(
        counts=counts,
        mask=mask,
        bin_width=width,
        starts=windows.starts,
        unit_ids=recording.frame.index.to_numpy(),
        held_out=_held_out(recording),
        table=windows.table,
        origin=dict(origin, kind=recording.kind, cut=cut, dropped=list(windows.dropped), **facts),
        finite=recording.kind == "spikes",
        **fields,
        **given,
    )


def _bin_width(bin_width: float | None, recording) -> float:
    interval = recording.frame_interval
    if bin_width is None and interval is None:
        raise ValueError("read_nwb: spike times need bin_width= in seconds, such as 0.02; got None. Pass it.")
    if bin_width is None:
        return interval
    if not (isinstance(bin_width, Real) and np.isfinite(bin_width) and bin_width > 0):
        raise ValueError(f"read_nwb: bin_width must be a positive number of seconds; got {bin_width!r}. Pass for example 0.02.")
    width = float(bin_width)
    if interval is not None and abs(width / interval - 1) < SAME:
        return interval  # 0.0333 means the frame rate, and must not drift away from the frames
    if interval is not None and width < interval:
        raise ValueError(
            f"read_nwb: bins of {width:g} s are shorter than a frame ({interval:g} s). Leave bin_width out for one frame a bin."
        )
    return width


def _windows(tables, frame_of, recording, width, align, window, table, chunk, trials) -> tuple[Windows, dict]:
    """The windows, and the arguments that choose them again."""
    chunks = chunk is not None or table == "none" or (table is None and "trials" not in tables)
    if chunks and (align is not None or window is not None or (chunk is not None and table not in (None, "none"))):
        if chunk is not None or table == "none":
            raise ValueError("read_nwb: chunks have no trials to align to. Pass chunk=, or table=, align= and window=.")
        raise ValueError(f"read_nwb: align= and window= need an interval table. Pass table= {_listed(tables)}.")
    if chunks:
        windows = chunk_windows(recording.segments(width), width, chunk)
        windows = windows.select(query(windows.table, trials, "chunk"))
        cut = dict(table="none", chunk=CHUNK_BINS * width if chunk is None else float(chunk))
    else:
        path, chosen = find(tables, "trials" if table is None else table, "read_nwb", "interval table")
        frame = frame_of(chosen)
        frame = frame[query(frame, trials, "trial")]
        if not len(frame):
            why = f"no row satisfies {trials!r}. Loosen trials=." if trials else "it has no rows. Pass chunk= seconds."
            raise ValueError(f"read_nwb: intervals '{path}' give no trial: {why}")
        windows = table_windows(frame, path, width, align, window)
        window = None if window is None else [float(edge) for edge in window]
        cut = dict(table=path, align=align, window=window)
    if len(windows.starts) < 2:
        raise ValueError(f"read_nwb: a fit needs more than one trial; got {len(windows.starts)}. "
                         "Cut the recording into more pieces: pass a (shorter) chunk= in seconds.")  # fmt: skip
    return windows, cut


def _listed(tables: Mapping) -> str:
    return f"one of {', '.join(tables)}" if tables else "(this file has none), or chunk= seconds instead"


def _checked_size(windows: Windows, neurons: int) -> Windows:
    entries = len(windows.starts) * windows.bins * neurons
    if entries > MOST_ENTRIES:
        raise ValueError(
            f"read_nwb: {len(windows.starts)} trials of {windows.bins} bins and {neurons} neurons "
            f"need {entries * 4e-9:.3g} GB. "
            "Pass a larger bin_width=, a window=, or fewer trials= or units=."
        )
    return windows


def _drop_unrecorded(windows: Windows, counts: np.ndarray, mask: np.ndarray) -> tuple[Windows, np.ndarray, np.ndarray]:
    """The windows of which anything was recorded."""
    recorded = mask.any((1, 2))
    if not recorded.any():
        raise ValueError(
            f"read_nwb: nothing was recorded in any of the {len(recorded)} windows chosen. Pass a window= or trials= inside the recording."
        )
    kept = windows.keep(recorded, "outside the recording")
    if recorded.sum() < 2:
        raise ValueError("read_nwb: a fit needs more than one trial; only 1 of the windows chosen was recorded. "
                         "Pass another window=, or chunk= seconds.")  # fmt: skip
    if not _any(counts):
        raise ValueError("read_nwb: zero spikes (or a signal that is always 0) in the windows chosen. "
                         "Pass other units=, trials= or window=.")  # fmt: skip
    if not recorded.all() or kept.bins < counts.shape[1]:
        counts, mask = counts[recorded][:, : kept.bins], mask[recorded][:, : kept.bins]
    return kept, counts, mask


def _any(counts: np.ndarray) -> bool:
    """Is any entry not zero? One neuron at a time, because the first usually tells."""
    return any(counts[..., neuron].any() for neuron in range(counts.shape[-1]))


def _held_out(recording) -> np.ndarray:
    held_out = recording.held_out
    if held_out.all():
        raise ValueError("read_nwb: every unit chosen is marked `heldout`; at least one must be shown. Loosen units=.")
    return held_out
