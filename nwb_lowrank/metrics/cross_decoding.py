"""Cross-decoding: do independent fits find the same latents? (Dabholkar & Barak 2025)"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def cross_decoding(train_latents: Sequence, test_latents: Sequence, *, alpha: float = 1e-3) -> np.ndarray:
    """R² of the latents of every fit decoded linearly from those of every other.

    What one fit has and the others do not cannot be decoded from them: a fit whose latents are poorly decoded from the others' carries
    dynamics of its own invention, one that decodes the others well has what they share.

    Parameters
    ----------
    train_latents, test_latents : sequence of F arrays (B, T, R_f)
        Of the same trials, one array for each fit; ranks may differ.
    alpha : float
        Ridge penalty on standardised latents.

    Returns
    -------
    array (F, F)
        Row i, column j: test R² of fit j's latents decoded from fit i's, pooled over dimensions (each weighs by its variance);
        1 on the diagonal but for the penalty.

    Raises
    ------
    ValueError
        Fewer than two fits, or fits of different trials.
    """
    train, test = ([np.asarray(z, float).reshape(-1, np.shape(z)[-1]) for z in latents] for latents in (train_latents, test_latents))
    if len(train) < 2 or len(train) != len(test):
        raise ValueError(
            f"cross_decoding: expected training and test latents of at least two fits; got {len(train)} and {len(test)}. "
            "Pass one array a fit, in the same order."
        )
    if len({len(z) for z in train}) > 1 or len({len(z) for z in test}) > 1:
        raise ValueError("cross_decoding: all fits must be of the same trials and bins; their numbers of samples differ. Infer all alike.")
    out = np.empty((len(train), len(train)))
    for row, (x, ahead) in enumerate(zip(train, test)):
        centre, scale = x.mean(0), np.maximum(x.std(0), 1e-12)
        x, ahead = (x - centre) / scale, (ahead - centre) / scale
        inverse = np.linalg.inv(x.T @ x + alpha * len(x) * np.eye(x.shape[1]))
        for column, (y, truth) in enumerate(zip(train, test)):
            guess = ahead @ (inverse @ (x.T @ (y - y.mean(0)))) + y.mean(0)
            out[row, column] = 1 - ((truth - guess) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum()
    return out
