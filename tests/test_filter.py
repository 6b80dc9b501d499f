"""The particle filter: unbiased evidence, the identities that it must obey, and its gradient."""

import numpy as np
import pytest
import torch
from oracles import condition, grid_evidence, log_normal
from problems import exact, generator, linear_world, poisson_world, randomise, repeat, state_space, within
from scipy.stats import poisson

import nwb_lowrank.filter
from nwb_lowrank.filter import smc_filter
from nwb_lowrank.proposals import Bootstrap, Encoder, LinearGaussian
from nwb_lowrank.resampling import adaptive, multinomial, never, systematic

PROPOSALS = [Bootstrap, LinearGaussian, Encoder]
SCHEMES = [systematic, multinomial, never, adaptive(0.5)]
ROUNDING = 1e-10  # sums of some hundred terms of order 1 in float64


def make(kind, model, seed=5, scale=0.3):
    """A proposal for `model`; an encoder gets random weights: unbiasedness must not need a good opinion."""
    proposal = kind(channels=4, kernel=3) if kind is Encoder else kind()
    return randomise(proposal.attach(model).to(model.m.dtype), seed, scale)


@torch.no_grad()
def run(world, proposal, *, seen=None, scored=None, particles=8, resample=systematic, seed=0):
    mask = world.mask if seen is None else seen
    return smc_filter(
        world.model, proposal, world.y, world.u, seen=mask, scored=mask if scored is None else scored,
        particles=particles, generator=generator(seed), resample=resample,
    )  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", PROPOSALS)
def test_evidence_is_unbiased(kind, scheme):
    world = linear_world()
    out = run(repeat(world, 10_000), make(kind, world.model), resample=scheme)
    within((out.log_evidence - exact(world).log_evidence).exp(), 1.0)


@pytest.mark.parametrize("kind", PROPOSALS)
def test_evidence_is_of_what_is_scored_whatever_is_seen(kind):
    """Training scores held-out entries that the proposal does not see; the opposite (seen, not scored) must be unbiased too."""
    world = linear_world(missing=0.0)
    some = torch.rand(world.mask.shape, generator=generator(8)) < 0.5
    many = repeat(world, 10_000)
    everything, part = many.mask, some.expand_as(many.mask)
    for seen, scored, truth in ((part, everything, world.mask), (everything, part, some)):
        out = run(many, make(kind, world.model), seen=seen, scored=scored)
        within((out.log_evidence - exact(world, mask=truth).log_evidence).exp(), 1.0)


@pytest.mark.parametrize("kind", [Bootstrap, Encoder])
def test_evidence_is_unbiased_for_spikes_and_a_nonlinear_network(kind):
    world = poisson_world(rank=1, units=3, neurons=3, bins=5, trials=1, seed=1)
    model = world.model.double()
    world = world._replace(y=world.y.double(), u=world.u.double())
    world.mask[0, 2, 1] = False
    C, d = model.observation.loadings.detach(), model.observation.bias.detach()

    def log_likelihood(y, mask, z):
        rate = np.logaddexp(0, z[:, None] * C.numpy().T + d.numpy())
        return (poisson.logpmf(y, rate) * mask).sum(1)

    with torch.no_grad():
        truth = grid_evidence(
            world.y[0].numpy(), world.mask[0].numpy(), log_likelihood=log_likelihood, noise_sd=model.noise.chol().item(),
            initial=(model.initial_mean.item(), model.initial_noise.chol().item()),
            step=lambda z: model.step(torch.as_tensor(z)[:, None], world.u.new_zeros(len(z), 0))[:, 0].numpy(),
        )  # fmt: skip
    out = run(repeat(world, 10_000), make(kind, model))
    within((out.log_evidence - truth).exp(), 1.0)


@pytest.mark.parametrize("kind", PROPOSALS)
def test_one_particle_is_the_elbo_integrand(kind):
    """K = 1: log p(z, y) − log q(z | y) of the sampled path, each density recomputed in dense numpy."""
    world = linear_world()
    proposal = make(kind, world.model)
    out = run(world, proposal, particles=1)
    z = out.particles[:, 0, 0].numpy()
    A, b, Q, m0, P0, C, d, r = state_space(world.model, world.u[0])
    with torch.no_grad():
        message = proposal.look(world.model, world.y * world.mask, world.u, world.mask)
    total = 0.0
    for t in range(len(z)):
        mean, cov = (m0, P0) if t == 0 else (A @ z[t - 1] + b[t], Q)
        seen = world.mask[0, t].numpy()
        total += log_normal(z[t], mean, cov)
        total += condition(z[t], np.zeros_like(Q), C[seen], d[seen], r[seen], world.y[0, t].numpy()[seen])[2]
        if message is not None:
            precision = np.linalg.inv(cov) + message.precision[t, 0].numpy()
            mean = np.linalg.solve(precision, np.linalg.solve(cov, mean) + message.shift[t, 0].numpy())
            cov = np.linalg.inv(precision)
        total -= log_normal(z[t], mean, cov)
    assert out.log_evidence.item() == pytest.approx(total, abs=ROUNDING)


def test_the_optimal_proposal_of_one_bin_has_no_variance():
    """With one bin the locally optimal proposal is the posterior: every weight is the evidence itself."""
    world = linear_world(bins=1, missing=0.0)
    out = run(world, LinearGaussian())
    assert out.log_evidence.item() == pytest.approx(exact(world).log_evidence, abs=ROUNDING)
    assert out.ess.item() == pytest.approx(8, abs=ROUNDING)


@pytest.mark.parametrize("kind", PROPOSALS)
def test_no_likelihood_is_no_evidence(kind):
    world = linear_world(trials=3)
    nothing = torch.zeros_like(world.mask)
    proposal = make(kind, world.model, scale=0.1)
    blind = run(world, proposal, seen=nothing, scored=nothing)
    assert blind.log_evidence.abs().max() < ROUNDING
    # A proposal that looks at data which nobody scores must still integrate to 1. The opinion is
    # kept weaker than the prior (its precision below the prior's): else prior / q has no finite variance.
    with torch.no_grad():
        world.model.observation.log_sd.add_(1.0)
    many = repeat(world, 10_000)
    within(run(many, proposal, scored=torch.zeros_like(many.mask)).log_evidence.exp(), 1.0)


@pytest.mark.parametrize("resample", SCHEMES)
def test_masking_a_bin_deletes_its_likelihood_term(resample):
    """K = 1, bootstrap: the path does not depend on the weights, so evidence falls by exactly log p(y_t | z_t)."""
    world = linear_world(missing=0.0)
    full = run(world, Bootstrap(), particles=1, resample=resample)
    hidden = world.mask.clone()
    hidden[:, 3] = False
    part = run(world, Bootstrap(), scored=hidden, particles=1, resample=resample)
    term = world.model.observation.log_prob(world.y[:, 3], full.particles[3], world.mask[:, 3]).detach()[0]
    torch.testing.assert_close(part.log_evidence, full.log_evidence - term, atol=ROUNDING, rtol=0)


def test_bound_rises_with_particles_towards_the_evidence():
    world = linear_world()
    truth, many = exact(world).log_evidence, repeat(world, 2000)
    bounds = [run(many, Bootstrap(), particles=K).log_evidence.numpy() for K in (1, 4, 32)]
    for fewer, more in zip(bounds, bounds[1:]):  # independent runs: the difference must exceed 5 of its standard errors
        assert more.mean() - fewer.mean() > 5 * np.hypot(fewer.std(), more.std()) / 2000**0.5
    assert all(bound.mean() < truth + 5 * bound.std() / 2000**0.5 for bound in bounds)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_weighted_particles_are_the_filtered_distribution(scheme):
    world, K = linear_world(), 2000
    truth = exact(world)
    out = run(repeat(world, 40), Bootstrap(), particles=K, resample=scheme)
    weights = out.log_weights.softmax(1)[..., None]
    centred = out.particles - torch.as_tensor(truth.filtered_mean)[:, None, None]
    # Ratio estimates are biased by O(1/K): allow 10/K in units where the prior's variance is about 1.
    within((weights * centred).sum(1).transpose(0, 1), 0.0, allowance=10 / K)
    second = torch.einsum("tkb,tkbi,tkbj->btij", weights[..., 0], centred, centred)
    within(second, truth.filtered_cov, allowance=10 / K)


def test_what_is_kept_fits_together():
    world = linear_world(trials=3)
    out = run(world, Bootstrap(), particles=16)
    weights = out.log_weights.softmax(1)
    torch.testing.assert_close(out.ess, 1 / weights.square().sum(1), atol=ROUNDING, rtol=0)
    assert ((0 <= out.ancestors) & (out.ancestors < 16)).all()
    # Resampled every bin: the evidence is the product of the bins' mean weights.
    torch.testing.assert_close(out.log_evidence, out.log_weights.logsumexp(1).sum(0), atol=ROUNDING, rtol=0)


def test_permuting_neurons_changes_nothing():
    world = linear_world(trials=2)
    order = torch.tensor([2, 0, 3, 1])
    before = {kind: run(world, make(kind, world.model)).log_evidence for kind in PROPOSALS}
    encoder = make(Encoder, world.model)
    with torch.no_grad():
        for part in (world.model.observation.loadings, world.model.observation.bias, world.model.observation.log_sd):
            part.copy_(part[order].clone())
        for weight in (encoder.project.weight, encoder.read.weight):
            weight.copy_(weight[:, order].clone())
    moved = world._replace(y=world.y[..., order], mask=world.mask[..., order])
    for kind in PROPOSALS:
        after = run(moved, encoder if kind is Encoder else kind()).log_evidence
        torch.testing.assert_close(after, before[kind], atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("kind", PROPOSALS)
def test_permuting_trials_or_particles_permutes_results(kind, monkeypatch):
    """With frozen noise and no resampling, neither a trial nor a particle knows its neighbours."""
    world = linear_world(trials=3)
    proposal = make(kind, world.model)
    frozen = [torch.randn(8, 3, 2, generator=generator(t)).double() for t in range(world.y.shape[1])]

    def evidence(world, particles=slice(None), trials=slice(None)):
        noise = iter(frozen)
        monkeypatch.setattr(nwb_lowrank.filter.torch, "randn", lambda *a, **k: next(noise)[particles][:, trials])
        return run(world, proposal, resample=never).log_evidence

    before, order = evidence(world), torch.tensor([2, 0, 1])
    moved = world._replace(**{name: getattr(world, name)[order] for name in ("y", "u", "mask")})
    torch.testing.assert_close(evidence(moved, trials=order), before[order], atol=ROUNDING, rtol=0)
    shuffled = evidence(world, particles=torch.randperm(8, generator=generator()))
    torch.testing.assert_close(shuffled, before, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("kind", PROPOSALS)
def test_gradient_of_the_evidence(kind):
    """Frozen noise, no resampling: finite differences over every parameter of model and proposal."""
    world = linear_world(bins=3, trials=2)
    proposal = kind(channels=2, kernel=3) if kind is Encoder else kind()
    both = torch.nn.ModuleDict(dict(model=world.model, proposal=randomise(proposal.attach(world.model).double(), 5)))
    names, values = zip(*both.named_parameters())

    class Evidence(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.both = both

        def forward(self):
            parts = dict(seen=world.mask, scored=world.mask, particles=3, generator=generator(), resample=never)
            return smc_filter(self.both["model"], self.both["proposal"], world.y, world.u, **parts).log_evidence

    def evidence(*values):
        return torch.func.functional_call(Evidence(), {f"both.{name}": value for name, value in zip(names, values)})

    assert torch.autograd.gradcheck(evidence, values)


def test_same_generator_same_bits_and_nothing_global_is_touched():
    world = linear_world(trials=2)
    before, given = torch.get_rng_state(), {name: getattr(world, name).clone() for name in ("y", "u", "mask")}
    first, again, other = (run(world, Bootstrap(), seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first.log_evidence, other.log_evidence)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(getattr(world, name), value) for name, value in given.items())
