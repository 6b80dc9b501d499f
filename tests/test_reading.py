"""A reading changes the basis and nothing else."""

import numpy as np
import pandas as pd
import pytest
import torch
from problems import poisson_world, trials_of

from nwb_lowrank.fixed_points import find_fixed_points
from nwb_lowrank.infer import infer
from nwb_lowrank.proposals import Bootstrap
from nwb_lowrank.reading import Reading
from nwb_lowrank.results import Fit, FitSettings, Results


@pytest.fixture(scope="module")
def results():
    world = poisson_world(rank=3)
    fit, trials = Fit(world.model, Bootstrap(), FitSettings(), 0, pd.DataFrame()), trials_of(world)
    posterior = infer(fit, trials, particles=16, draws=8, keep_draws=True, device="cpu")
    return Results(fit, trials, posterior, ["train"] * len(trials), find_fixed_points(world.model))


@pytest.mark.parametrize("kind, weights", [("of_loadings", "observation.readout.loadings"), ("of_units", "m")])
def test_weights_are_orthonormal_and_variances_fall(results, kind, weights):
    reading = getattr(Reading, kind)(results.fit, results.posterior.latents)
    W = results.fit.model.state_dict()[weights].double().numpy()
    read = reading.weights(W)
    np.testing.assert_allclose(read.T @ read, np.eye(3), atol=1e-6)  # float32 weights
    x = reading.latents(results.posterior.latents)
    covariance = np.cov(x.reshape(-1, 3).T)
    assert (np.diff(covariance.diagonal()) <= 0).all()
    np.testing.assert_allclose(covariance, np.diag(covariance.diagonal()), atol=1e-5 * covariance.max())
    # what is read out is the same
    np.testing.assert_allclose(x @ read.T, results.posterior.latents @ W.T, atol=1e-4)


def test_dynamics_are_the_same_in_the_new_basis(results):
    """Fixed points are fixed points of A F(A⁻¹ x), and Jacobians its derivatives: the spectrum stays."""
    reading = Reading(np.array([[2.0, 1.0, 0.0], [0.0, 1.0, -1.0], [0.5, 0.0, 1.0]]))
    before = {name: value.clone() for name, value in results.fit.model.state_dict().items()}
    points = reading.fixed_points(results.fixed_points)
    assert len(points.points)
    model, inverse = results.fit.model.double(), np.linalg.inv(reading.matrix)
    x = torch.as_tensor(points.points)
    moved = model.step(x @ torch.as_tensor(inverse).T, x[:, :0]).detach().numpy() @ reading.matrix.T
    model.float()
    assert (np.abs(moved - points.points).max(1) <= points.residual + 1e-12).all()
    for J, values in zip(points.jacobian, points.eigenvalues):
        np.testing.assert_allclose(np.sort_complex(np.linalg.eigvals(J)), np.sort_complex(values), atol=1e-9)
    assert all(torch.equal(before[name], value) for name, value in results.fit.model.state_dict().items())


def test_posterior_moments_follow(results):
    reading = Reading(np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 0.0], [3.0, 0.0, 1.0]]))
    posterior = reading.posterior(results.posterior)
    np.testing.assert_allclose(posterior.draws.mean(0), posterior.latents, atol=1e-4)  # float32
    np.testing.assert_allclose(posterior.draws.std(0), posterior.latents_sd, atol=1e-6)
    np.testing.assert_array_equal(posterior.rates, results.posterior.rates)


def test_results_without_a_reading_are_read_as_they_are(results):
    assert results.read() == (results.posterior, results.fixed_points)


def test_a_matrix_without_inverse_is_refused():
    with pytest.raises(ValueError, match="invertible .R, R. array; got shape .2, 2."):
        Reading(np.ones((2, 2)))
    with pytest.raises(ValueError, match="a latent dimension is not read out"):
        Reading.orthonormal(np.ones((5, 2)), np.random.default_rng(0).normal(size=(9, 2)))
