"""Naive truth in numpy: slow, dense, and too simple to be wrong."""

from typing import NamedTuple

import numpy as np


class Exact(NamedTuple):
    """Everything about one trial of a linear-Gaussian state-space model.

    log_evidence : nats
    filtered_mean (T, R), filtered_cov (T, R, R) : of p(z_t | y_1:t)
    mean (T, R), cov (T, R, R) : of p(z_t | y_1:T)
    lag_one : (T-1, R, R), Cov(z_t, z_{t+1} | y_1:T)
    """

    log_evidence: float
    filtered_mean: np.ndarray
    filtered_cov: np.ndarray
    mean: np.ndarray
    cov: np.ndarray
    lag_one: np.ndarray


def joint_prior(A, b, Q, m0, P0):
    """Mean (T·R,) and covariance (T·R, T·R) of z_1:T, where z_1 ~ N(m0, P0), z_t = A z_{t−1} + b_t + N(0, Q); b is (T, R)."""
    T, R = b.shape
    mean, blocks = [m0], [[P0]]
    for t in range(1, T):
        mean.append(A @ mean[-1] + b[t])
        row = [A @ block for block in blocks[-1]]  # Cov(z_t, z_s) = A Cov(z_{t−1}, z_s)
        blocks.append([*row, A @ blocks[-1][-1] @ A.T + Q])
    cov = np.zeros((T * R, T * R))
    for t in range(T):
        for s in range(t + 1):
            cov[t * R : (t + 1) * R, s * R : (s + 1) * R] = blocks[t][s]
            cov[s * R : (s + 1) * R, t * R : (t + 1) * R] = blocks[t][s].T
    return np.concatenate(mean), cov


def condition(mean, cov, H, d, r, y):
    """Posterior mean, covariance and log-evidence of x ~ N(mean, cov) given y = Hx + d + N(0, diag r)."""
    if len(y) == 0:
        return mean, cov, 0.0
    S = H @ cov @ H.T + np.diag(r)
    error = y - H @ mean - d
    gain = np.linalg.solve(S, H @ cov).T
    log_evidence = -0.5 * (error @ np.linalg.solve(S, error) + np.linalg.slogdet(S)[1] + len(y) * np.log(2 * np.pi))
    return mean + gain @ error, cov - gain @ H @ cov, float(log_evidence)


def linear_gaussian(y, mask, A, b, Q, m0, P0, C, d, r) -> Exact:
    """Condition the dense joint Gaussian of z_1:T on the recorded entries of y (T, N), y_t = C z_t + d + N(0, diag r)."""
    T, R = b.shape
    N = len(d)
    mean, cov = joint_prior(A, b, Q, m0, P0)
    H, offset, noise = np.kron(np.eye(T), C), np.tile(d, T), np.tile(r, T)

    def given(last):
        rows = np.flatnonzero((mask & (np.arange(T)[:, None] <= last)).ravel())
        return condition(mean, cov, H[rows], offset[rows], noise[rows], y.ravel()[rows])

    def block(matrix, t, s):
        return matrix[t * R : (t + 1) * R, s * R : (s + 1) * R]

    assert y.shape == mask.shape == (T, N)
    filtered = [given(t) for t in range(T)]
    smooth_mean, smooth_cov, log_evidence = filtered[-1]
    return Exact(
        log_evidence,
        np.stack([m.reshape(T, R)[t] for t, (m, _, _) in enumerate(filtered)]),
        np.stack([block(c, t, t) for t, (_, c, _) in enumerate(filtered)]),
        smooth_mean.reshape(T, R),
        np.stack([block(smooth_cov, t, t) for t in range(T)]),
        np.array([block(smooth_cov, t, t + 1) for t in range(T - 1)]).reshape(T - 1, R, R),
    )


def log_normal(x, mean, cov):
    """log N(x; mean, cov) of one vector, by the definition."""
    error = x - mean
    return -0.5 * (error @ np.linalg.solve(cov, error) + np.linalg.slogdet(cov)[1] + len(x) * np.log(2 * np.pi))


def grid_evidence(y, mask, *, initial, step, noise_sd, log_likelihood, half_width=8.0, points=4001):
    """log p(y) of a one-dimensional latent by the forward recursion on a dense grid.

    y, mask : (T, N);  initial : (mean, sd) of z_1;  step : z (G,) -> mean of the next z (G,)
    log_likelihood : (y_t, mask_t, z (G,)) -> (G,)
    """
    z = np.linspace(-half_width, half_width, points)
    width = z[1] - z[0]

    def density(x, mean, sd):
        return np.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi))

    weight, log_evidence = density(z, *initial), 0.0
    for t in range(len(y)):
        if t > 0:
            weight = density(z[:, None], step(z)[None], noise_sd) @ weight * width
        weight = weight * np.exp(log_likelihood(y[t], mask[t], z))
        total = weight.sum() * width
        weight, log_evidence = weight / total, log_evidence + np.log(total)
    return log_evidence
