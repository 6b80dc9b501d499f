"""The numbers by which fits are compared: evidence of shown data and prediction of held-out neurons, on trials kept out."""

from __future__ import annotations

from ..metrics.bits_per_spike import bits_per_spike, explained_variance, mean_count


def bound(posterior, trials) -> float:
    """Log-evidence of what was shown, nats per bin and trial."""
    return float(posterior.log_evidence.sum() / max(1, trials.seen.any(-1).sum()))


def co_smoothing(posterior, trials, rows=slice(None)) -> float:
    """co-bps (counts) or co-R² (signals) of the held-out neurons, forecast bins left out; NaN without held-out neurons.

    rows : index of trials, which may repeat (bootstrap). The null model stays that of all trials: the mean of repeated ones is
        nearer to them than the truth is, and would lower every drawn score.
    """
    entries = trials.mask & trials.held_out
    if trials.forecast:
        entries[:, -trials.forecast :] = False
    if not entries[rows].any():
        return float("nan")
    score = bits_per_spike if trials.is_counts else explained_variance
    return score(posterior.rates[rows], trials.counts[rows], entries[rows], mean_count(trials.counts, entries))


def co_name(trials) -> str:
    return "co-bps" if trials.is_counts else "co-R2"
