"""(Posterior, Trials, split) -> scores: one file per family of metrics."""

from __future__ import annotations

from ..families import export, members
from .base import Metric

__all__ = export(__name__, __path__, globals())


def evaluate(posterior, trials, split, *, metrics=None) -> tuple:
    """Every score that these trials allow.

    Parameters
    ----------
    posterior : Posterior
        Of all `trials`, inferred from shown neurons and bins only (`infer` sees to that).
    trials : Trials
        With held-out neurons and forecast bins marked.
    split : str array (B,)
        'train' or 'test' for every trial; scores are of the test trials, decoders are fitted on the training trials.
    metrics : sequence of Metric or None
        None: every metric of this folder, with its default settings.

    Returns
    -------
    tuple of Score

    Raises
    ------
    ValueError
        No test trial.
    """
    import sys

    import numpy as np

    split = np.asarray(split, str)
    if not (split == "test").any():
        raise ValueError("evaluate: at least one trial must be 'test'; got none. Keep some trials out of the fit.")
    if metrics is None:
        metrics = [cls() for cls in members(sys.modules[__name__], Metric).values()]
    return tuple(score for metric in metrics for score in metric(posterior, trials, split))
