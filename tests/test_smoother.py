"""Backward sampling against the dense smoother, over independent filters."""

import pytest
import torch
from problems import exact, generator, linear_world, repeat, within

from nwb_lowrank.filter import smc_filter
from nwb_lowrank.proposals import Bootstrap, LinearGaussian
from nwb_lowrank.resampling import never, systematic
from nwb_lowrank.smoother import backward_sample, smoothing_weights

FILTERS, K, DRAWS = 24, 1000, 150
BIAS = 3 / K  # the smoother's bias is O(1/K); the latents' variance here is about 1


@torch.no_grad()
def trajectories(world, proposal, *, particles=K, draws=DRAWS, resample=systematic, seed=0, **other):
    out = smc_filter(
        world.model, proposal, world.y, world.u, seen=world.mask, scored=world.mask,
        particles=particles, generator=generator(seed), resample=resample,
    )  # fmt: skip
    return out, backward_sample(world.model, out, world.u, draws=draws, generator=generator(seed + 1), **other)


@pytest.mark.parametrize("proposal, resample", [(Bootstrap(), systematic), (LinearGaussian(), systematic), (Bootstrap(), never)])
def test_moments_are_the_exact_smoothers(proposal, resample):
    world = linear_world()
    truth = exact(world)
    _, paths = trajectories(repeat(world, FILTERS), proposal, resample=resample)
    centred = paths - torch.as_tensor(truth.mean)
    within(centred.mean(0), 0.0, allowance=BIAS)
    within(torch.einsum("sbti,sbtj->btij", centred, centred) / DRAWS, truth.cov, allowance=BIAS)
    lag_one = torch.einsum("sbti,sbtj->btij", centred[:, :, :-1], centred[:, :, 1:]) / DRAWS
    within(lag_one, truth.lag_one, allowance=BIAS)


def test_the_test_can_tell_filtering_from_smoothing():
    """The worlds above leave room: filtered and smoothed moments differ by far more than the stated bias."""
    truth = exact(linear_world())
    assert abs(truth.filtered_mean - truth.mean).max() > 10 * BIAS
    assert abs(truth.filtered_cov - truth.cov).max() > 10 * BIAS
    assert abs(truth.lag_one).max() > 10 * BIAS


def test_draws_are_paths_through_the_filters_particles():
    out, paths = trajectories(linear_world(trials=2), Bootstrap(), particles=20, draws=7)
    assert paths.shape == (7, 2, 6, 2)
    for t in range(6):
        same = (paths[:, None, :, t] == out.particles[t]).all(-1)  # (S, K, B)
        assert same.any(1).all()


def test_one_particle_leaves_no_choice():
    out, paths = trajectories(linear_world(trials=2), Bootstrap(), particles=1, draws=3)
    assert torch.equal(paths, out.particles[:, 0].transpose(0, 1).expand_as(paths))


def test_memory_chunks_change_nothing_and_the_generator_decides():
    world = linear_world(trials=2)
    _, whole = trajectories(world, Bootstrap(), particles=20, draws=9)
    _, pieces = trajectories(world, Bootstrap(), particles=20, draws=9, chunk=1)
    _, other = trajectories(world, Bootstrap(), particles=20, draws=9, seed=3)
    assert torch.equal(whole, pieces)
    assert not torch.equal(whole, other)


def marginal(world, particles, seed=0, **other):
    """Marginal mean and covariance of every trial: (B, T, R), (B, T, R, R)."""
    out, _ = trajectories(world, Bootstrap(), particles=particles, draws=1, seed=seed)
    weights = smoothing_weights(world.model, out, world.u, **other)
    mean = torch.einsum("tkb,tkbi->bti", weights, out.particles)
    second = torch.einsum("tkb,tkbi,tkbj->btij", weights, out.particles, out.particles)
    return weights, mean, second - mean[..., :, None] * mean[..., None, :]


def test_marginal_weights_are_the_mean_of_many_draws():
    """On the same filter: draws pick particle i of bin t with probability w_t|T^i."""
    world, draws = linear_world(trials=1), 20_000
    out, paths = trajectories(world, Bootstrap(), particles=15, draws=draws)
    weights = smoothing_weights(world.model, out, world.u)
    torch.testing.assert_close(weights.sum(1), torch.ones(6, 1).double(), atol=1e-12, rtol=0)
    picked = (paths[:, :, :, None] == out.particles.permute(2, 0, 1, 3)[None]).all(-1).double()  # (S, B, T, K)
    within(picked, weights.permute(2, 0, 1), allowance=10 / draws)  # a particle that is never picked has no sample error


def test_marginal_weights_in_chunks_are_the_same():
    world = linear_world(trials=2)
    torch.testing.assert_close(marginal(world, 20)[0], marginal(world, 20, chunk=1)[0], atol=1e-12, rtol=0)


@pytest.mark.slow
def test_both_smoothers_are_the_exact_one_at_a_thousand_particles():
    """Twenty-four independent filters of K = 1,000: means within Monte-Carlo error (5 SE + the O(1/K) bias), sd within 2 %."""
    world = linear_world()
    truth = exact(world)
    sd = torch.as_tensor(truth.cov).diagonal(dim1=-2, dim2=-1).sqrt()
    many = repeat(world, FILTERS)
    _, paths = trajectories(many, Bootstrap(), draws=600)
    centred = paths - torch.as_tensor(truth.mean)
    within(centred.mean(0), 0.0, allowance=BIAS)
    drawn = centred.square().mean((0, 1)).sqrt()
    torch.testing.assert_close(drawn, sd, rtol=0.02, atol=0)
    _, mean, covariance = marginal(many, K)
    within(mean, truth.mean, allowance=BIAS)
    weighed = (covariance.diagonal(dim1=-2, dim2=-1) + (mean - torch.as_tensor(truth.mean)).square()).mean(0).sqrt()
    torch.testing.assert_close(weighed, sd, rtol=0.02, atol=0)
