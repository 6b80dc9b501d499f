"""LowRankRNN: the equation it states, and the draws it makes."""

import copy
import pickle

import numpy as np
import pytest
import torch
from oracles import joint_prior
from problems import linear_world, poisson_world, randomise, state_space, within

from nwb_lowrank.gaussian import DiagonalCovariance, FullCovariance, ScalarCovariance
from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.nonlinearities import ReLU


def test_one_step_is_the_equation():
    model = randomise(LowRankRNN(rank=2, units=3, neurons=4, inputs=2, nonlinearity=ReLU()).double())
    z, u = torch.randn(5, 2).double(), torch.randn(5, 2).double()
    p = {name: value.detach().numpy() for name, value in model.named_parameters()}
    a = 1 / (1 + np.exp(-p["decay_logit"]))
    current = z.numpy() @ p["m"].T + u.numpy() @ p["w"].T + p["nonlinearity.h"]
    truth = a * z.numpy() + np.maximum(current, 0) @ p["n"].T
    np.testing.assert_allclose(model.transition(z, u).mean.detach(), truth, atol=1e-13)  # float64 rounding
    assert 0 < model.decay.item() < 1


@pytest.mark.parametrize("noise", [ScalarCovariance, DiagonalCovariance, FullCovariance])
def test_simulated_moments_are_the_joint_gaussians(noise):
    """Linear world: mean and covariance of z_1:T and y_1:T over draws against the dense joint."""
    world = linear_world(bins=4, noise=noise())
    draws = 20_000
    z, y = world.model.simulate(world.u[:1].expand(draws, -1, -1), seed=3)
    A, b, Q, m0, P0, C, d, r = state_space(world.model, world.u[0])
    mean, cov = joint_prior(A, b, Q, m0, P0)
    flat = z.flatten(1).numpy()
    within(flat, mean)
    within(np.einsum("si,sj->sij", flat - mean, flat - mean), cov)
    H, offset = np.kron(np.eye(4), C), np.tile(d, 4)
    error = y.flatten(1).numpy() - H @ mean - offset
    within(np.einsum("si,sj->sij", error, error), H @ cov @ H.T + np.diag(np.tile(r, 4)))


def test_simulate_repeats_with_its_seed_and_leaves_the_global_generator_alone():
    world = poisson_world()
    before = torch.get_rng_state()
    first, again, other = (world.model.simulate(world.u, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first[0], other[0])


def test_simulate_without_noise_iterates_the_step_from_the_given_start():
    world = poisson_world()
    start = torch.randn(len(world.u), 2)
    z, _ = world.model.simulate(world.u, seed=0, initial=start, noise=False)
    assert torch.equal(z[:, 0], start)
    for t in range(1, 5):
        torch.testing.assert_close(z[:, t], world.model.step(z[:, t - 1], world.u[:, t]).detach())


def test_copies_are_independent_and_equal():
    model = poisson_world().model
    z, u = torch.randn(7, 2), torch.zeros(7, 0)
    before = model.transition(z, u).log_prob(z).detach().clone()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin.transition(z, u).log_prob(z), before)
        randomise(twin, seed=9)
        assert torch.equal(model.transition(z, u).log_prob(z), before), "a copy shares the original's parameters"
        assert not torch.equal(twin.transition(z, u).log_prob(z), before), "a copy reads the original's parameters"


def test_one_part_may_serve_two_models():
    part = ReLU()
    first, second = (LowRankRNN(rank=1, units=units, neurons=2, nonlinearity=part) for units in (2, 3))
    assert (len(first.nonlinearity.h), len(second.nonlinearity.h)) == (2, 3)
    assert not hasattr(part, "h")


def test_construction_ignores_the_global_seed():
    torch.manual_seed(1)
    first = LowRankRNN(rank=2, units=4, neurons=3)
    torch.manual_seed(2)
    second = LowRankRNN(rank=2, units=4, neurons=3)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))


@pytest.mark.parametrize("rank", [0, 4])
def test_refuses_a_rank_that_the_units_cannot_carry(rank):
    with pytest.raises(ValueError, match=f"between 1 and units; got rank={rank}, units=3. Lower rank or raise units"):
        LowRankRNN(rank=rank, units=3, neurons=5)
