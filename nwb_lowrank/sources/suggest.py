"""suggest: fit options that suit a file, by rules that say their reasons."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from .inventory import Inventory

BINS = (0.02, 0.05, 0.1)  # seconds; the benchmark's bin, and two for sparser spikes
SPIKES_A_BIN = 0.05  # mean count of an active unit, below which bins should be wider
MIN_TRIALS = 10  # fewer cannot be split into train, validation and test
MAX_BINS = 200  # of a trial; longer ones are cut around an event, or into chunks
BINS_A_RANK = 150  # data that a latent dimension needs, or the fit learns single trials by heart
CHUNKS, MIN_CHUNK, MAX_CHUNK = 20, 20, 100  # as many chunks as that, of so many bins
AROUND = (-0.25, 0.45)  # seconds around an onset: the benchmark's window for reaching
NOT_TRIALS = {"invalid_times"}
ONSET = re.compile(r"(move|movement|reach|response|stim|stimulus|target|go|cue).*onset|^go_cue(_time)?$", re.I)
MOVEMENT = (re.compile(r"vel", re.I), re.compile(r"pos|speed|kin|hand|cursor|tracking", re.I))


def suggest(inventory: Inventory) -> dict:
    """Options for a first fit of this file.

    Parameters
    ----------
    inventory : Inventory

    Returns
    -------
    dict
        options : bin_width (s, None for the frame rate), table, align, window, chunk (s), behavior (list),
        signal (path), rank, units (query), observation ("poisson" or "gaussian");
        reasons : list of str.

    Raises
    ------
    ValueError
        The file holds neither spikes nor ROI signals.
    """
    if inventory.units is not None:
        options, reasons = _for_spikes(inventory)
    elif len(inventory.signals):
        options, reasons = _for_signals(inventory)
    else:
        raise ValueError(
            "suggest: nothing can be fitted; the file has neither spike times nor ROI response series. "
            "Sort spikes or extract ROIs first, or name another series with signal=."
        )
    neurons, bins = options.pop("neurons"), options.pop("total_bins")
    wanted = 3 if neurons < 50 else 4 if neurons < 150 else 5
    options["rank"] = min(wanted, max(1, bins // BINS_A_RANK))
    few = f", and only {bins} bins of data" if options["rank"] < wanted else ""
    reasons.append(f"rank {options['rank']} for {neurons} neurons{few}")
    return dict(options=options, reasons=reasons)


def _for_spikes(found: Inventory) -> tuple[dict, list[str]]:
    units, reasons = found.units, []
    bin_width = _bin_width(found, reasons)
    chosen = _good_units(units, reasons)
    cut, bins, spans = _cut(found, bin_width, found.segments, reasons)
    behavior = _movement(found.behavior, spans, reasons)
    neurons = len(units) if chosen is None else int((units["quality"] == "good").sum())
    options = dict(bin_width=bin_width, **cut, behavior=behavior, signal=None, units=chosen, observation="poisson")
    return dict(options, neurons=neurons, total_bins=_total_bins(cut, bins, spans, bin_width)), reasons


def _for_signals(found: Inventory) -> tuple[dict, list[str]]:
    path = next((p for p in found.signals.index if re.search("dfoverf|dff|deconv", p, re.I)), found.signals.index[0])
    row = found.signals.loc[path]
    reasons = [f"no spikes; '{path}' is taken at its frame rate, {row['rate']:.4g} Hz, as a Gaussian signal"]
    segments = np.array([[row["first"] - 0.5 / row["rate"], row["last"] + 0.5 / row["rate"]]])
    cut, bins, spans = _cut(found, 1 / row["rate"], segments, reasons)
    behavior = _movement(found.behavior, spans, reasons)
    options = dict(bin_width=None, **cut, behavior=behavior, signal=path, units=None, observation="gaussian")
    neurons = row["shape"][1] if len(row["shape"]) > 1 else 1
    return dict(options, neurons=neurons, total_bins=_total_bins(cut, bins, spans, 1 / row["rate"])), reasons


def _total_bins(cut: dict, bins: int, spans: np.ndarray, width: float) -> int:
    """Bins of all trials together: windows of `bins` each, or the spans as they are."""
    return bins * len(spans) if cut["window"] is not None else int(np.diff(spans, axis=1).sum() / width)


def _bin_width(found: Inventory, reasons: list[str]) -> float:
    rates = found.units["rate"][found.units["rate"] > 0]
    mean = float(rates.mean()) if len(rates) else 0.0
    width = next((candidate for candidate in BINS if candidate * mean >= SPIKES_A_BIN), BINS[-1])
    reason = f"bins of {width * 1e3:g} ms: active units fire at {mean:.3g} Hz on average"
    if found.resolution is not None:
        step = found.resolution.width
        width = round(float(np.ceil(round(width / step, 6)) * step), 9)
        if step >= BINS[0]:
            reason = f"bins of {width * 1e3:g} ms: the data resolve no more ({found.resolution.layout})"
    reasons.append(reason)
    return width


def _good_units(units: pd.DataFrame, reasons: list[str]) -> str | None:
    if "quality" not in units or not 2 <= (units["quality"] == "good").sum() < len(units):
        return None
    reasons.append("units marked good only")
    return "quality == 'good'"


def _cut(found: Inventory, width: float, segments: np.ndarray, reasons: list[str]) -> tuple[dict, int, np.ndarray]:
    """table, align, window, chunk; bins of a trial; and (K, 2) the spans that a behaviour should cover."""
    name = _trial_table(found.tables, segments, width)
    if name is not None:
        table = found.tables[name]
        spans = table[["start_time", "stop_time"]].dropna().to_numpy(float)
        onset = next((column for column in table if ONSET.search(column) and _within(table, column)), None)
        window = None if onset is None else _window(table, onset, width)
        if window is not None:
            reasons.append(f"{len(table)} rows of '{name}' are cut around '{onset}'")
            return dict(table=name, align=onset, window=window, chunk=None), round((window[1] - window[0]) / width), spans
        longest = (spans[:, 1] - spans[:, 0]).max() / width
        if longest <= MAX_BINS:
            reasons.append(f"{len(table)} rows of '{name}', each from start to stop")
            return dict(table=name, align=None, window=None, chunk=None), int(round(longest)), spans
    total = np.diff(segments, axis=1).sum() / width
    bins = int(np.clip(total // CHUNKS, MIN_CHUNK, MAX_CHUNK))
    tables = f"no interval table has {MIN_TRIALS} rows of fitting length" if found.tables else "there is no interval table"
    reasons.append(f"{tables}: the recording is cut into chunks of {bins} bins")
    return dict(table=None, align=None, window=None, chunk=round(float(bins * width), 9)), bins, segments


def _trial_table(tables: dict, segments: np.ndarray, width: float) -> str | None:
    """`trials` if it will do, otherwise the table that covers most of the recording."""
    seconds = {}
    for name, table in tables.items():
        spans = table[["start_time", "stop_time"]].dropna().to_numpy(float)
        inside = spans[(spans[:, 0] < segments.max()) & (spans[:, 1] > segments.min())]
        length = inside[:, 1] - inside[:, 0]
        if name not in NOT_TRIALS and len(inside) >= MIN_TRIALS and np.median(length) >= 5 * width:
            seconds[name] = float("inf") if name == "trials" else length.sum()
    return max(seconds, key=seconds.get, default=None)


def _within(table: pd.DataFrame, column: str) -> bool:
    """Event times, known and inside their trial in most rows."""
    return table[column].dtype.kind == "f" and table[column].between(table["start_time"], table["stop_time"]).mean() > 0.8


def _window(table: pd.DataFrame, onset: str, width: float) -> tuple[float, float] | None:
    """The benchmark's window, shortened to what nine trials of ten hold, in whole bins."""
    before = max(AROUND[0], -float((table[onset] - table["start_time"]).quantile(0.1)))
    after = min(AROUND[1], float((table["stop_time"] - table[onset]).quantile(0.1)))
    first = float(np.ceil(before * 1e3)) / 1e3
    bins = int(np.floor(round((after - first) / width, 6)))
    return (first, round(first + bins * width, 9)) if bins >= 5 else None


def _movement(series: pd.DataFrame, spans: np.ndarray, reasons: list[str]) -> list[str]:
    """At most one velocity, otherwise position, that is known in the trials and free of NaN."""
    covers = [path for path, row in series.iterrows() if row["nan"] == 0 and _covers(row, spans)]
    velocity, position = ([path for path in covers if kind.search(path.rpartition("/")[2])] for kind in MOVEMENT)
    spatial = [path for path in covers if series.loc[path, "type"] == "SpatialSeries"]
    chosen = [*velocity, *spatial, *position][:1]
    if chosen:
        reasons.append(f"'{chosen[0]}' is the behaviour to decode")
    return chosen


def _covers(row: pd.Series, spans: np.ndarray) -> bool:
    """Sampled in nine tenths of the spans' time."""
    edges = row["runs"].ravel()
    if not len(edges):
        return False
    sampled = np.cumsum(np.diff(edges, prepend=edges[0]) * (np.arange(len(edges)) % 2))  # seconds up to each edge
    covered = np.interp(spans[:, 1], edges, sampled) - np.interp(spans[:, 0], edges, sampled)
    return covered.sum() > 0.9 * (spans[:, 1] - spans[:, 0]).sum()
