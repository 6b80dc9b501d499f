"""Resampling: unbiased offspring, carried weights that keep every weighted mean, decisions per trial."""

import math

import numpy as np
import pytest
import torch
from problems import exact, generator, linear_world, repeat, within

from nwb_lowrank.filter import smc_filter
from nwb_lowrank.proposals import Bootstrap
from nwb_lowrank.resampling import adaptive, effective_sample_size, multinomial, never, systematic, with_gradient

SCHEMES = [systematic, multinomial, never, adaptive(0.5), adaptive(0.5, multinomial)]


def log_weights(K=6, B=4, seed=0):
    return torch.randn(K, B, generator=generator(seed), dtype=torch.float64).mul(1.5).log_softmax(0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_weighted_mean_survives_on_average(scheme):
    """E[Σ_k carried_k 1(ancestor_k = i)] = w_i: what makes the evidence unbiased."""
    weights, repeats = log_weights(), 4000
    tiled = weights[:, None].expand(-1, repeats, -1).flatten(1)  # trials are resampled independently
    out = scheme(tiled, generator())
    torch.testing.assert_close(out.carried.exp().sum(0), torch.ones(repeats * 4).double())  # normalised
    mass = torch.zeros_like(tiled).scatter_add_(0, out.ancestors, out.carried.exp()).view(6, repeats, 4)
    within(mass.transpose(0, 1), weights.exp(), allowance=1e-12)  # schemes without randomness: rounding alone


def test_systematic_offspring_are_within_one_of_their_expectation():
    weights = log_weights(K=50, B=30)
    out = systematic(weights, generator())
    counts = torch.zeros_like(weights).scatter_add_(0, out.ancestors, torch.ones_like(weights))
    assert ((counts - 50 * weights.exp()).abs() < 1 + 1e-9).all()
    torch.testing.assert_close(out.carried, torch.full_like(weights, -math.log(50)))


def test_multinomial_offspring_vary_as_multinomial_counts():
    """Variance of the count of particle i is K w (1 − w); systematic would have far less."""
    K, repeats = 6, 20_000
    weights = log_weights(K, 1).expand(-1, repeats)
    out = multinomial(weights, generator())
    counts = torch.zeros_like(weights).scatter_add_(0, out.ancestors, torch.ones_like(weights)).T.numpy()
    w = weights[:, 0].exp().numpy()
    within((counts - K * w) ** 2, K * w * (1 - w))


@pytest.mark.parametrize("scheme", [systematic, multinomial])
def test_a_particle_of_no_weight_has_no_offspring(scheme):
    weights = torch.full((5, 3), -torch.inf)
    weights[2] = 0.0
    assert (scheme(weights, generator()).ancestors == 2).all()
    weights = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0])[:, None].log().expand(5, 200)
    assert set(scheme(weights, generator()).ancestors.unique().tolist()) == {1, 3}


def test_adaptive_decides_for_each_trial():
    uniform, peaked = torch.zeros(8).log_softmax(0), torch.tensor([9.0] + [0.0] * 7).log_softmax(0)
    weights = torch.stack([uniform, peaked], 1)
    out = adaptive(0.5)(weights, generator())
    assert out.ancestors[:, 0].tolist() == list(range(8))
    assert torch.equal(out.carried[:, 0], uniform)
    assert (out.ancestors[:, 1] == 0).sum() >= 7  # weight 0.999: at least 7 of 8 pointers
    torch.testing.assert_close(out.carried[:, 1], torch.full((8,), -math.log(8)))


@pytest.mark.parametrize("threshold, twin", [(0.0, never), (1.0, systematic)])
def test_adaptive_at_its_ends(threshold, twin):
    weights = log_weights()
    for mine, other in zip(adaptive(threshold)(weights, generator(3)), twin(weights, generator(3))):
        assert torch.equal(mine, other)


def test_effective_sample_size():
    assert effective_sample_size(torch.zeros(7, 1)).item() == pytest.approx(7)
    assert effective_sample_size(torch.tensor([[0.0], [-torch.inf]])).item() == 1
    w = np.array([0.5, 0.3, 0.2])
    unnormalised = torch.tensor(np.log(w) + 12.0)[:, None]
    assert effective_sample_size(unnormalised).item() == pytest.approx(1 / (w**2).sum(), rel=1e-12)


@pytest.mark.parametrize("scheme", [systematic, multinomial, adaptive(0.5)])
def test_only_the_given_generator_is_used(scheme):
    before = torch.get_rng_state()
    first, second = (scheme(log_weights(), generator(5)).ancestors for _ in range(2))
    assert torch.equal(first, second) and torch.equal(torch.get_rng_state(), before)


def test_with_gradient_changes_no_value():
    weights = log_weights().requires_grad_()
    plain, informed = systematic(weights, generator(3)), with_gradient(systematic)(weights, generator(3))
    assert torch.equal(informed.ancestors, plain.ancestors)
    torch.testing.assert_close(informed.carried, plain.carried, atol=1e-12, rtol=0)  # float64 rounding
    assert informed.carried.requires_grad and not plain.carried.requires_grad


def test_with_gradient_the_bounds_gradient_is_the_evidences():
    """Many particles: E[∇ log Ẑ] → ∇ log p(y) with the resampler's own gradient, and to something else without it."""
    world, K, filters = linear_world(), 1000, 60
    parameter = world.model.decay_logit
    many, step, values = repeat(world, filters), 1e-5, []
    with torch.no_grad():
        for sign in (1, -1, 0):
            parameter.fill_(0.5 + sign * step)
            values.append(exact(world).log_evidence)
    truth = (values[0] - values[1]) / (2 * step)

    def gradients(scheme):
        out = smc_filter(
            world.model, Bootstrap(), many.y, many.u, seen=many.mask, scored=many.mask,
            particles=K, generator=generator(), resample=scheme,
        )  # fmt: skip
        return [torch.autograd.grad(value, parameter, retain_graph=True)[0].item() for value in out.log_evidence]

    # bias O(1/K), gradients of order 1
    within(gradients(with_gradient(systematic)), truth, allowance=10 / K)
    blind = np.array(gradients(systematic))
    assert abs(blind.mean() - truth) > 10 / K + 5 * blind.std() / filters**0.5
