"""The locally optimal proposal of linear-Gaussian observations."""

from __future__ import annotations

from ..gaussian import Message
from ..observations import GaussianSignal
from ..readouts import Affine
from .base import Proposal


class LinearGaussian(Proposal):
    """q = p(z_t | z_{t−1}, y_t): the prior times the exact likelihood of the seen neurons.

    With seen neurons o: J = C_oᵀ R_oo⁻¹ C_o, h = C_oᵀ R_oo⁻¹ (y_o − d_o).
    """

    def attach(self, model):
        needs = "LinearGaussian needs a GaussianSignal observation"
        if not isinstance(model.observation, GaussianSignal):
            raise TypeError(f"{needs}; this model has {type(model.observation).__name__}. Use Encoder(...), Laplace() or Bootstrap().")
        if not isinstance(model.observation.readout, Affine):
            raise TypeError(f"{needs} with an Affine() readout; this model has {type(model.observation.readout).__name__}. Use Laplace().")
        return self

    def look(self, model, y, u, seen):
        observation = model.observation
        weight = seen * (-2 * observation.log_sd).exp()
        C = observation.loadings
        # (B, T, N) against the R² columns of C ⊗ C: one matrix product for all bins and trials.
        outer = (C[:, :, None] * C[:, None, :]).flatten(1)
        precision = (weight @ outer).unflatten(-1, (model.rank, model.rank))
        shift = (weight * (y - observation.bias)) @ C
        return Message(precision.transpose(0, 1), shift.transpose(0, 1))
