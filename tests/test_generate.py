"""Free runs: from the prior, from the posterior's first bin, with inputs."""

import numpy as np
import pandas as pd
import pytest
import torch
from problems import linear_world, poisson_world, repeat, state_space, trials_of, within

import nwb_lowrank as nl
from nwb_lowrank.results import Fit, FitSettings


def fit_of(world):
    return Fit(world.model, nl.Bootstrap(), FitSettings(), 0, pd.DataFrame())


def test_the_prior_and_the_inputs_give_their_exact_moments():
    """A linear world: mean and variance of every bin by recursion."""
    world = linear_world(bins=5)
    A, b, Q, m0, P0, C, d, r = state_space(world.model, world.u[0])
    out = nl.generate(fit_of(world), trials_of(repeat(world, 400)), draws=5, seed=3)
    assert out.latents.shape == (5, 400, 5, 2) and out.observations.shape == (5, 400, 5, 4)
    mean, cov = m0, P0
    for t in range(5):
        if t:
            mean, cov = A @ mean + b[t], A @ cov @ A.T + Q
        z, y = out.latents[:, :, t].reshape(2000, -1), out.observations[:, :, t].reshape(2000, -1)
        within(z, mean, allowance=1e-5)  # trials are float32
        within((y - (C @ mean + d)) ** 2, np.diag(C @ cov @ C.T) + r, allowance=1e-4)


def test_the_posterior_gives_the_first_bin():
    world = poisson_world(trials=6)
    trials = trials_of(world)
    kept = nl.infer(fit_of(world), trials, particles=16, draws=3, keep_draws=True, device="cpu")
    out = nl.generate(fit_of(world), trials, posterior=kept, draws=4)
    for draw in range(4):
        np.testing.assert_array_equal(out.latents[draw, :, 0], kept.draws[draw % 3, :, 0])
    moments = nl.infer(fit_of(world), trials, particles=16, draws=3, device="cpu")
    first = nl.generate(fit_of(world), trials, posterior=moments, draws=300).latents[:, :, 0]
    within(first, moments.latents[:, 0], allowance=1e-4)  # means of float32 numbers
    within((first - moments.latents[:, 0]) ** 2, moments.latents_sd[:, 0] ** 2, allowance=1e-4)  # means of float32 numbers


def test_without_noise_the_draws_are_one_orbit_and_seeds_decide():
    world = poisson_world(trials=3)
    with torch.no_grad():
        world.model.initial_noise.set(1e-8 * torch.eye(2))
    quiet = nl.generate(fit_of(world), trials_of(world), draws=2, noise=False, bins=40)
    assert quiet.latents.shape == (2, 3, 40, 2)
    np.testing.assert_allclose(quiet.latents[0], quiet.latents[1])
    a, b, c = (nl.generate(fit_of(world), trials_of(world), seed=seed).observations for seed in (1, 1, 2))
    assert (a == b).all() and (a != c).any()


def test_wrong_calls_are_refused():
    driven, free = linear_world(), poisson_world(trials=4)
    with pytest.raises(ValueError, match="expects 1 inputs; the trials have 0"):
        nl.generate(fit_of(driven), trials_of(free))
    with pytest.raises(ValueError, match="bins= is for a model without inputs"):
        nl.generate(fit_of(driven), trials_of(driven), bins=9)
    posterior = nl.infer(fit_of(free), trials_of(free).select([0]), particles=4, draws=2, device="cpu")
    with pytest.raises(ValueError, match="of the same 4 trials; got 1"):
        nl.generate(fit_of(free), trials_of(free), posterior=posterior)
