"""Laplace against the exact answers: linear-Gaussian worlds, a one-dimensional Poisson world on a grid, the mode itself."""

import numpy as np
import pytest
import torch
from oracles import grid_evidence
from problems import exact, generator, linear_world, poisson_world, repeat, within

from nwb_lowrank.filter import smc_filter
from nwb_lowrank.gaussian import Gaussian
from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.observations import Poisson
from nwb_lowrank.observations.base import Exp, Softplus
from nwb_lowrank.proposals import Bootstrap, EncoderLaplace, Laplace, LinearGaussian
from nwb_lowrank.proposals.base import About


@torch.no_grad()
def run(world, proposal, *, seen=None, particles=8, seed=0):
    return smc_filter(
        world.model, proposal, world.y, world.u, seen=world.mask if seen is None else seen, scored=world.mask,
        particles=particles, generator=generator(seed),
    )  # fmt: skip


@pytest.mark.parametrize("steps", [1, 3])
def test_equals_the_optimal_proposal_where_that_exists(steps):
    """To rounding: a Gaussian likelihood is its own quadratic expansion, wherever it is made, also of partly seen bins."""
    world = linear_world(trials=3, rank=3, neurons=5, bins=8)
    seen = world.mask.clone()
    seen[..., 0] = False
    for a, b in zip(run(world, Laplace(steps=steps), seen=seen), run(world, LinearGaussian(), seen=seen)):
        torch.testing.assert_close(a.double(), b.double(), atol=1e-9, rtol=1e-9)  # rounding of 8 bins in float64


def test_equals_the_optimal_proposal_far_from_the_prior():
    """No step is cut short that need not be: data twenty prior standard deviations away."""
    world = linear_world(trials=2)
    world = world._replace(y=world.y + 20)
    a, b = (run(world, proposal) for proposal in (Laplace(), LinearGaussian()))
    torch.testing.assert_close(a.log_evidence, b.log_evidence, atol=1e-7, rtol=1e-9)


def bin_of(world, particles=4):
    """The prior of the second bin of every trial, for particles that lie apart, and what may be known about it."""
    z = world.z[None, :, 0] + torch.randn(particles, *world.z[:, 0].shape, generator=generator(1)).to(world.z)
    prior = world.model.transition(z, world.u[:, 1])
    return prior, About(world.y[:, 1] * world.mask[:, 1], world.u[:, 1], world.mask[:, 1], None)


@pytest.mark.parametrize("link", [Exp(), Softplus()])
def test_many_steps_reach_the_mode_with_its_fisher_curvature(link):
    world = poisson_world(trials=5, link=link, neurons=20)
    world = world._replace(model=world.model.double(), y=world.y.double(), u=world.u.double(), z=world.z.double())
    prior, about = bin_of(world)
    q = Laplace(steps=40).attach(world.model).propose(world.model, prior, about)
    z = q.mean.detach().requires_grad_()
    density = world.model.observation.log_prob(about.y, z, about.seen) + prior.log_prob(z)
    (gradient,) = torch.autograd.grad(density.sum(), z)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0)
    _, information = world.model.observation.curvature(about.y, z, about.seen)
    P = prior.chol @ prior.chol.mT
    covariance = torch.linalg.inv(torch.linalg.inv(P) + information)
    torch.testing.assert_close(q.chol @ q.chol.mT, covariance.expand_as(q.chol), atol=1e-8, rtol=0)


def test_a_burst_does_not_throw_the_particles_away():
    """A full Newton step of an exponential link overshoots where the prior expects silence; halving keeps the density from falling."""
    world = poisson_world(trials=3, link=Exp())
    world.model.noise.set(4.0 * torch.eye(2))
    prior, about = bin_of(world)
    about = about._replace(y=torch.full_like(about.y, 30.0))

    def density(z):
        return world.model.observation.log_prob(about.y, z, about.seen) + prior.log_prob(z)

    with torch.no_grad():
        values = [density(Laplace(steps=steps).propose(world.model, prior, about).mean) for steps in (3, 6, 12)]
        assert (values[0] > density(prior.mean)).all() and (values[-1] >= values[0] - 1e-3).all()
        assert torch.isfinite(run(world._replace(y=torch.full_like(world.y, 30.0)), Laplace()).log_evidence).all()


@pytest.mark.parametrize("proposal", [Laplace(steps=1), Laplace(), EncoderLaplace(channels=4, kernel=3)])
def test_gradients_flow_through_the_steps(proposal):
    """Every parameter of the model, by finite differences, with frozen noise (K = 2 without resampling is smooth)."""
    from nwb_lowrank.resampling import never

    world = poisson_world(trials=1, bins=3, units=3, neurons=3, rank=1, link=Softplus())
    model, y, u = world.model.double(), world.y.double(), world.u.double()
    proposal = proposal.attach(model).double()
    names = ["m", "n", "observation.readout.loadings", "observation.readout.bias", "noise.log_sd"]

    def evidence(*values):
        def call(*_):
            return smc_filter(model, proposal, y, u, seen=world.mask, scored=world.mask, particles=2, generator=generator(3),
                              resample=never).log_evidence  # fmt: skip

        model.forward = call
        return torch.func.functional_call(model, dict(zip(names, values)), (None,))

    values = [dict(model.named_parameters())[name].detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(evidence, values, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("proposal", [Bootstrap(), Laplace(steps=1), Laplace(), EncoderLaplace(channels=4, kernel=3)])
def test_poisson_evidence_is_unbiased(proposal):
    """A one-dimensional world whose evidence a grid gives exactly."""
    model = LowRankRNN(rank=1, units=2, neurons=6, observation=Poisson(Exp())).double()
    with torch.no_grad():
        model.n.copy_(torch.tensor([[0.3, -0.2]]))
        model.observation.loadings.copy_(torch.linspace(-1.2, 1.2, 6)[:, None])
        model.noise.set(0.3 * torch.eye(1))
    u = torch.zeros(1, 6, 0, dtype=torch.float64)
    z, y = model.simulate(u, seed=4)
    mask = torch.rand(y.shape, generator=generator(2)) > 0.2
    with torch.no_grad():
        truth = grid_evidence(
            y[0].numpy(), mask[0].numpy(), initial=(0.0, 1.0), noise_sd=0.3**0.5,
            step=lambda x: model.step(torch.as_tensor(x)[:, None], u[0, :1].expand(len(x), 0))[:, 0].numpy(),
            log_likelihood=lambda y_t, m_t, x: model.observation.log_prob(
                torch.as_tensor(y_t)[None], torch.as_tensor(x)[:, None, None], torch.as_tensor(m_t)[None])[:, 0].numpy(),
        )  # fmt: skip
        many = [x.repeat(4000, 1, 1) for x in (y, u, mask)]
        out = smc_filter(
            model, proposal.attach(model).double(), *many[:2], seen=many[2], scored=many[2], particles=6, generator=generator(0)
        )
    within((out.log_evidence - truth).exp(), 1.0)


def test_laplace_beats_bootstrap_where_spikes_inform():
    """Fifty neurons: eight particles that look explain the data better than 128 that do not."""
    world = poisson_world(rank=3, units=32, neurons=50, bins=25, trials=40, rate=0.5, link=Exp())
    looking, blind = (run(world, p, particles=k).log_evidence for p, k in ((Laplace(), 8), (Bootstrap(), 128)))
    gain = (looking - blind).numpy()
    assert gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(len(gain))


def test_the_optimal_proposal_in_kalman_gain_form():
    """Information form (R × R, many neurons) against gain form (N × N, few neurons): the same mean and covariance."""
    for neurons in (2, 9):
        world = linear_world(rank=4, units=5, neurons=neurons, trials=1, missing=0.0)
        prior, about = bin_of(world)
        message = LinearGaussian().look(world.model, world.y, world.u, world.mask)
        q = prior.times(type(message)(message.precision[1], message.shift[1]))
        observation = world.model.observation
        C, R = observation.loadings, torch.diag((2 * observation.log_sd).exp())
        P = prior.chol @ prior.chol.mT
        gain = P @ C.mT @ torch.linalg.inv(C @ P @ C.mT + R)
        mean = prior.mean + (about.y - observation.readout(prior.mean)) @ gain.mT
        torch.testing.assert_close(q.mean, mean, atol=1e-10, rtol=1e-10)
        torch.testing.assert_close((q.chol @ q.chol.mT)[0], P - gain @ C @ P, atol=1e-10, rtol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("proposal", [LinearGaussian(), Laplace()])
def test_one_step_weights_vary_less_than_the_bootstraps(proposal):
    """Given each particle, the optimal weight is p(y_t | z_{t−1}): a constant, so its variance is 0 and cannot exceed any other's."""
    world = linear_world(trials=1)
    prior, about = bin_of(world, particles=50)
    many, K = 4000, 50

    def relative_weights(q: Gaussian):
        z = q.sample(torch.randn(many, K, 1, world.model.rank, generator=generator(2)).double())
        flat = z.reshape(many * K, 1, -1)
        log_p = world.model.observation.log_prob(about.y, flat, about.seen).reshape(many, K, 1)
        return (log_p + prior.log_prob(z) - q.log_prob(z)).exp()

    message = LinearGaussian().look(world.model, world.y * world.mask, world.u, world.mask)
    update = prior.scale.times(type(message)(message.precision[1], message.shift[1]))
    known = about._replace(update=update) if isinstance(proposal, LinearGaussian) else about
    looking, blind = (relative_weights(q) for q in (proposal.propose(world.model, prior, known), prior))
    within(blind, looking.mean(0))
    assert (looking.var(0) <= blind.var(0)).all()
    torch.testing.assert_close(looking.var(0), torch.zeros(K, 1).double(), atol=1e-20, rtol=0)


def test_unbiased_on_repeated_linear_worlds():
    world = linear_world(trials=1)
    out = run(repeat(world, 3000), Laplace())
    within((out.log_evidence - exact(world).log_evidence).exp(), 1.0)


def test_no_step_is_refused():
    for kind in (Laplace, EncoderLaplace):
        with pytest.raises(ValueError, match="steps must be at least 1; got 0"):
            kind(steps=0)
