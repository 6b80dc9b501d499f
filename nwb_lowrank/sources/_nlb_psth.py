"""PSTHs as the benchmark defines them: spikes smoothed at 1 ms over each observed stretch, binned, averaged over a condition's trials."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ._nlb_session import Cut, Session
from ._nlb_table import Dataset

SHORT = 0.8  # trials shorter than this share of their condition's mean are left out
UNITS = 16  # smoothed at once: what bounds the memory


def psth_tensors(session: Session, dataset: Dataset, train: np.ndarray, scored: np.ndarray, ignored: np.ndarray) -> dict:
    """PSTHs (condition, T, N), held-in neurons first, and the trials of each condition.

    train, scored, ignored : bool (trials,)

    Returns
    -------
    dict
        psth; eval_cond_idx and train_cond_idx: lists of int arrays, positions among the scored (training) trials.
    """
    usable = ~ignored if dataset.outlier is None else ~ignored & ~(session.table[dataset.outlier] == 1).to_numpy()
    cuts = [kept for chosen in _conditions(session, dataset, ignored) if (kept := _condition_cut(session, dataset, chosen & usable))]
    means = np.concatenate([_means(session, dataset, cuts, kind) for kind in (False, True)], axis=2)
    positions = {}
    for name, chosen in (("train_cond_idx", train), ("eval_cond_idx", scored)):
        rows = np.flatnonzero(chosen & (session.event(dataset.align) >= 0))
        positions[name] = [np.flatnonzero(np.isin(rows, cut.rows)) for cut in cuts]
    return dict(psth=means, **positions)


def _conditions(session: Session, dataset: Dataset, ignored: np.ndarray):
    """A mask of the trials of every condition, in sorted order of the conditions."""
    columns = list(dataset.conditions)
    labels = session.table[columns]
    for condition in sorted(labels[~ignored].dropna().set_index(columns).index.unique().tolist()):
        yield (labels == pd.Series(condition, index=columns)).all(axis=1).to_numpy()


def _condition_cut(session: Session, dataset: Dataset, chosen: np.ndarray) -> Cut | None:
    if not chosen.any():
        return None
    if dataset.segment is None:
        cut = session.cut(chosen, align=session.event(dataset.align), window=dataset.window)
    else:
        start, stop = (session.event(name) for name in dataset.segment)
        cut = session.cut(chosen, align=session.event(dataset.align), start=start, stop=stop)
    long = (cut.lengths > 0) & (cut.lengths >= SHORT * cut.lengths[cut.lengths > 0].mean())
    return Cut(*(values[long] for values in (cut.rows, cut.first, cut.last, cut.zero)))


def _means(session: Session, dataset: Dataset, cuts: list[Cut], held_out: bool) -> np.ndarray:
    front = dataset.segment is not None
    ids = session.units[held_out]
    bins = dataset.duration // session.width if front else max(int(cut.lengths.min()) for cut in cuts)
    out = np.full((len(cuts), bins, len(ids)), np.nan)
    for begin in range(0, len(ids), UNITS):
        part = np.stack([_smoothed(session, unit_id, held_out, dataset.kernel) for unit_id in ids[begin : begin + UNITS]], axis=1)
        for row, cut in enumerate(cuts):
            mean, shortest = _mean_over_trials(part, cut), int(cut.lengths.min())
            where = slice(-min(shortest, bins), None) if front else slice(0, min(shortest, bins))
            out[row, where, begin : begin + UNITS] = mean[-shortest:][-bins:] if front else mean[:shortest][:bins]
    return out


def _smoothed(session: Session, unit_id: int, held_out: bool, kernel: int) -> np.ndarray:
    """(bins,) a unit's smoothed spikes per bin; NaN where the bin's first millisecond was not observed."""
    from scipy.signal import convolve
    from scipy.signal.windows import gaussian

    window = gaussian(int(6 * kernel), kernel, sym=True)
    window /= window.sum()
    observed = session._observed[held_out]
    spikes = np.bincount(session.milliseconds(unit_id, held_out), minlength=session.length).astype(np.float16)
    edges = np.flatnonzero(np.diff(observed)) + 1
    smooth = np.zeros(session.size * session.width)
    if not len(edges):  # the benchmark keeps what the transform leaves below zero only here
        smooth[: session.length] = convolve(spikes.astype(float), window, "same")
    for first, last in zip(np.r_[0, edges], np.r_[edges, session.length]) if len(edges) else ():
        if observed[first]:
            smooth[first:last] = np.maximum(convolve(spikes[first:last], window, "same"), 0)
    binned = smooth.reshape(-1, session.width).sum(1) if session.width > 1 else smooth
    return np.where(session.known(held_out), binned, np.nan)


def _mean_over_trials(values: np.ndarray, cut: Cut) -> np.ndarray:
    """(offset, N) mean over trials at every bin offset from the event, in order of offset, by compensated summation."""
    offset = cut.first - cut.zero
    low, high = int(offset.min()), int((cut.last - cut.zero).max())
    total, lost = np.zeros((2, high - low + 1, values.shape[1]))
    count = np.zeros(total.shape, int)
    for first, last, begin in zip(cut.first, cut.last, offset - low):
        span = slice(begin, begin + last - first + 1)
        x = values[first : last + 1]
        known = ~np.isnan(x)
        y = np.where(known, x, 0) - lost[span]
        t = total[span] + y
        lost[span] = np.where(known, t - total[span] - y, lost[span])
        total[span] = np.where(known, t, total[span])
        count[span] += known
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
