"""Reading: a basis of latent space to look at latents, fixed points and Jacobians in. The fitted model stays as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class Reading:
    """x = A z: latents in another basis, known to the fit only up to such a choice.

    Parameters
    ----------
    matrix : array (R, R)
        A, invertible.

    Notes
    -----
    The dynamics of x are x ← A F(A⁻¹ x); their Jacobian is A J A⁻¹, whose eigenvalues are those of J.
    """

    matrix: np.ndarray

    def __post_init__(self):
        matrix = np.asarray(self.matrix, float)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.linalg.matrix_rank(matrix) == len(matrix):
            raise ValueError(f"Reading: matrix must be an invertible (R, R) array; got shape {matrix.shape}. Fit with a lower rank.")
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def orthonormal(cls, weights: np.ndarray, latents: np.ndarray) -> Reading:
        """The basis in which `weights` (N, R) of z, such as the loadings C or the network's m, have orthonormal columns,
        ordered by the variance of `latents` (..., R) along them; each column's largest weight is positive.
        """
        _, size, axes = np.linalg.svd(np.asarray(weights, float), full_matrices=False)
        if size[-1] <= 1e-9 * size[0]:
            raise ValueError("Reading: the weights must have full column rank; a latent dimension is not read out. Fit with a lower rank.")
        A = size[:, None] * axes
        z = np.asarray(latents, float).reshape(-1, len(A))
        values, turn = np.linalg.eigh(np.cov(A @ z[np.isfinite(z).all(1)].T).reshape(len(A), -1))
        A = turn[:, np.argsort(values)[::-1]].T @ A
        columns = np.asarray(weights, float) @ np.linalg.inv(A)
        signs = np.sign(columns[np.abs(columns).argmax(0), np.arange(len(A))])
        return cls(signs[:, None] * A)

    @classmethod
    def of_loadings(cls, fit, latents: np.ndarray) -> Reading:
        """Orthonormal loadings C: distances between latents are distances between the neurons' η."""
        return cls.orthonormal(fit.model.observation.loadings.detach().numpy(), latents)

    @classmethod
    def of_units(cls, fit, latents: np.ndarray) -> Reading:
        """Orthonormal m: latents are the projections of the network's currents on their own subspace."""
        return cls.orthonormal(fit.model.m.detach().numpy(), latents)

    def latents(self, z: np.ndarray) -> np.ndarray:
        """(..., R) -> (..., R)."""
        return z @ self.matrix.T.astype(np.asarray(z).dtype)

    def jacobian(self, J: np.ndarray) -> np.ndarray:
        """A J A⁻¹, (..., R, R)."""
        return self.matrix @ J @ np.linalg.inv(self.matrix)

    def weights(self, m: np.ndarray) -> np.ndarray:
        """Of x, from the weights of z: (N, R) -> (N, R)."""
        return m @ np.linalg.inv(self.matrix)

    def posterior(self, posterior):
        """A Posterior in this basis. Its sd is exact where draws are kept; else z's dimensions count as independent given the data."""
        draws = None if posterior.draws is None else self.latents(posterior.draws)
        sd = np.sqrt(posterior.latents_sd**2 @ (self.matrix.T**2).astype(posterior.latents_sd.dtype)) if draws is None else draws.std(0)
        return replace(posterior, latents=self.latents(posterior.latents), latents_sd=sd, draws=draws)

    def _set(self, one: dict) -> dict:
        """A set of fixed points that are not isolated, in this basis; it reaches as far as its points say."""
        points = self.latents(np.array(one["points"]))
        if not len(points) or one["low"] is None:
            return {**one, "points": points.tolist()}
        low, high = points.min(0), points.max(0)
        return {**one, "points": points.tolist(), "low": low.tolist(), "high": high.tolist(), "length": float(np.linalg.norm(high - low))}

    def fixed_points(self, found):
        """FixedPoints in this basis; residuals are of the same equation, in the new coordinates at most |A| times larger."""
        return replace(found, points=self.latents(found.points), jacobian=self.jacobian(found.jacobian), boxes=None,
                       certificate={**found.certificate, "sets": [self._set(one) for one in found.sets]},
                       residual=found.residual * np.abs(self.matrix).sum(1).max())  # fmt: skip
