"""Few-shot co-smoothing: how few trials tie the latents to new neurons (Dabholkar & Barak 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .bits_per_spike import bits_per_spike

PENALTY = 1e-3  # L2, of the Poisson regression on standardised latents


def few_shot_bits(
    train_latents, train_counts, test_latents, test_counts, *, shots: Sequence[int] = (4, 8, 16, 32, 64), repeats: int = 10, seed: int = 0,
    penalty: float = PENALTY,
) -> pd.DataFrame:  # fmt: skip
    """Co-smoothing bits per spike with a readout of the held-out neurons that was learned from k trials only.

    A model may predict held-out neurons well and still carry dynamics that the data do not ask for; a readout learned from few trials
    then suffers, because superfluous directions of the latents cost it samples. A k-shot score rewards latents that hold what the
    neurons need and little else (Dabholkar & Barak, *When predict can also explain: few-shot prediction to select better neural
    latents*, 2025).

    Parameters
    ----------
    train_latents : array (B, T, R);  train_counts : array (B, T, N)
        Latents inferred without the N neurons, and the neurons' spikes per bin.
    test_latents : array (B', T, R);  test_counts : array (B', T, N)
    shots : sequence of int
        k: numbers of training trials; larger than B is left out.
    repeats : int
        Random choices of the k trials (one when k = B).
    seed : int
    penalty : float
        L2 weight of the Poisson regression (log link) on latents standardised over the k trials.

    Returns
    -------
    DataFrame
        A row for each k: shots, bits_per_spike (mean over choices), sd, choices.

    Raises
    ------
    ValueError
        Shapes that do not fit, or no k that is possible.
    """
    arrays = [np.asarray(x, float) for x in (train_latents, train_counts, test_latents, test_counts)]
    train_z, train_y, test_z, test_y = arrays
    if train_z.shape[:2] != train_y.shape[:2] or test_z.shape[:2] != test_y.shape[:2] or train_z.shape[2] != test_z.shape[2]:
        raise ValueError(
            f"few_shot_bits: latents and counts must be of the same trials and bins; "
            f"got shapes {[x.shape for x in arrays]}. Infer and cut alike."
        )
    possible = [k for k in shots if 1 <= k <= len(train_z)]
    if not possible:
        raise ValueError(
            f"few_shot_bits: shots must lie between 1 and the {len(train_z)} training trials; got {list(shots)}. Pass fewer shots."
        )
    random = np.random.default_rng(seed)
    rows = []
    for k in possible:
        chosen = [random.permutation(len(train_z))[:k] for _ in range(repeats if k < len(train_z) else 1)]
        scores = [bits_per_spike(_readout(train_z[part], train_y[part], test_z, penalty), test_y) for part in chosen]
        rows.append(dict(shots=k, bits_per_spike=np.mean(scores), sd=np.std(scores, ddof=1) if len(scores) > 1 else np.nan,
                         choices=len(scores)))  # fmt: skip
    return pd.DataFrame(rows)


def _readout(z: np.ndarray, y: np.ndarray, new: np.ndarray, penalty: float) -> np.ndarray:
    """Rates (B', T, N) for `new` latents by a Poisson regression of y on z."""
    from sklearn.linear_model import PoissonRegressor

    flat = z.reshape(-1, z.shape[-1])
    centre, scale = flat.mean(0), np.maximum(flat.std(0), 1e-12)
    flat, ahead = (flat - centre) / scale, (new.reshape(-1, z.shape[-1]) - centre) / scale
    rates = np.empty((len(ahead), y.shape[-1]))
    most = np.maximum(y.reshape(-1, y.shape[-1]).max(0), 1.0) * 10  # an extrapolated exponential knows no bounds
    for neuron, spikes in enumerate(y.reshape(-1, y.shape[-1]).T):
        if spikes.any():
            model = PoissonRegressor(alpha=penalty, solver="newton-cholesky", max_iter=50).fit(flat, spikes)
            rates[:, neuron] = np.exp(np.minimum(ahead @ model.coef_ + model.intercept_, np.log(most[neuron])))
        else:
            rates[:, neuron] = 0.5 / len(spikes)
    return rates.reshape(*new.shape[:2], -1)
