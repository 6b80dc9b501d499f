"""The warm start's E-step and M-step against the dense joint Gaussian."""

import numpy as np
import torch
from oracles import joint_prior, log_normal
from problems import exact, generator, linear_world, randomise, repeat, state_space, within

from nwb_lowrank.proposals import Bootstrap, Encoder, LinearGaussian
from nwb_lowrank.warm_start import complete_data_objective, smoothed


def batch_of(world, scored=None):
    scored = world.mask if scored is None else scored
    return world.y, world.u, world.mask, scored


def test_objective_is_the_joint_log_density_per_bin():
    """Bootstrap: log p(z, y) of given trajectories by the dense joint of z and y given z, over draws, trials and bins."""
    world = linear_world(trials=2)
    path = torch.randn(3, 2, 6, 2, generator=generator(7), dtype=torch.float64)
    total = 0.0
    for s, b in np.ndindex(3, 2):
        A, offset, Q, m0, P0, C, d, r = state_space(world.model, world.u[b])
        total += log_normal(path[s, b].flatten().numpy(), *joint_prior(A, offset, Q, m0, P0))
        error = ((world.y[b] - path[s, b] @ torch.as_tensor(C).T - torch.as_tensor(d))[world.mask[b]]).numpy()
        noise = np.broadcast_to(r, (6, 4))[world.mask[b].numpy()]
        total += (-0.5 * error**2 / noise - 0.5 * np.log(2 * np.pi * noise)).sum()
    assert world.mask.any(-1).all()
    value = complete_data_objective(world.model, Bootstrap(), batch_of(world), path)
    np.testing.assert_allclose(value.item(), total / (3 * 2 * 6), rtol=1e-10)  # float64


def test_bins_that_nobody_recorded_add_nothing():
    """Padding with masked bins: the same value, whatever the trajectory does there."""
    world = linear_world(trials=2)
    path = torch.randn(3, 2, 6, 2, generator=generator(7), dtype=torch.float64)
    proposal = randomise(Encoder(channels=4, kernel=1).attach(world.model).double())
    before = complete_data_objective(world.model, proposal, batch_of(world), path)
    longer = world._replace(
        y=torch.cat([world.y, torch.full((2, 3, 4), 5.0).double()], 1), u=torch.cat([world.u, torch.ones(2, 3, 1).double()], 1),
        mask=torch.cat([world.mask, torch.zeros(2, 3, 4, dtype=torch.bool)], 1),
    )  # fmt: skip
    after = complete_data_objective(world.model, proposal, batch_of(longer), torch.cat([path, 9 + path[:, :, :3]], 2))
    torch.testing.assert_close(after, before, atol=1e-10, rtol=0)


def test_the_proposals_part_is_its_log_density_and_leaves_the_model_alone():
    """Σ log q(z_t | z_{t−1}, y) recomputed by `propose`-like products bin by bin; its gradient reaches the proposal only."""
    world = linear_world(trials=2)
    path = torch.randn(3, 2, 6, 2, generator=generator(7), dtype=torch.float64)
    encoder = randomise(Encoder(channels=4, kernel=3).attach(world.model).double())
    model, batch = world.model, batch_of(world)
    with_q = complete_data_objective(model, encoder, batch, path)
    without = complete_data_objective(model, Bootstrap(), batch, path)
    messages, log_q = encoder.look(model, world.y * world.mask, world.u, world.mask), 0.0
    for t in range(6):
        prior = model.initial(world.u[:, 0]) if t == 0 else model.transition(path[:, :, t - 1], world.u[:, t])
        mean, scale = prior.mean.expand(3, 2, 2), prior.scale
        q = scale.times(type(messages)(messages.precision[t], messages.shift[t])).apply(mean)
        log_q = log_q + q.log_prob(path[:, :, t]).sum()
    torch.testing.assert_close(with_q - without, log_q / 36, atol=1e-10, rtol=0)
    parameters = list(model.parameters())
    gradients = [torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True) for value in (with_q, without)]
    for a, b in zip(*gradients):
        assert (a is None and b is None) or torch.allclose(a, b, atol=1e-12)


def test_e_step_draws_from_the_exact_smoother():
    world, K = linear_world(), 500
    truth = exact(world)
    path, evidence, _ = smoothed(world.model, LinearGaussian(), batch_of(repeat(world, 40)), particles=K, draws=50, generator=generator())
    centred = path - torch.as_tensor(truth.mean)
    within(centred.mean(0), 0.0, allowance=3 / K)  # the smoother's bias is O(1/K), the latents' variance about 1
    within((centred**2).mean(0), truth.cov.diagonal(axis1=1, axis2=2), allowance=3 / K)
    within((evidence - truth.log_evidence).exp(), 1.0)


def test_mean_gradient_is_that_of_the_log_evidence():
    """Fisher's identity: E[∇ log p(z, y) | y] = ∇ log p(y), the latter by finite differences of the oracle."""
    world, K = linear_world(), 500
    model, many = world.model, repeat(world, 60)
    path, _, _ = smoothed(model, LinearGaussian(), batch_of(many), particles=K, draws=20, generator=generator())
    for parameter in (model.observation.bias, model.initial_mean, model.decay_logit):
        gradients = []
        for b in range(60):
            piece = tuple(x[[b]] for x in batch_of(many))
            value = complete_data_objective(model, Bootstrap(), piece, path[:, [b]])
            gradients.append(torch.autograd.grad(value, parameter)[0].reshape(-1))
        numeric = _finite_differences(world, parameter)
        # complete_data_objective is per recorded bin: 6 of them; O(1/K) bias of the smoother, gradients of order 1
        within(torch.stack(gradients), numeric / 6, allowance=10 / K)


@torch.no_grad()
def _finite_differences(world, parameter, step=1e-5):
    flat, slopes = parameter.view(-1), []
    for i in range(len(flat)):
        values = []
        for sign in (1, -1):
            flat[i] += sign * step
            values.append(exact(world).log_evidence)
            flat[i] -= sign * step
        slopes.append((values[0] - values[1]) / (2 * step))
    return np.array(slopes)
