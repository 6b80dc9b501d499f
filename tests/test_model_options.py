"""What a model may have beyond the plain one: memory in its observations, filtered inputs, biases, full rank. The filter knows them all."""

import numpy as np
import pytest
import torch
from oracles import grid_evidence
from problems import World, generator, poisson_world, randomise, trials_of, within

from nwb_lowrank.filter import smc_filter
from nwb_lowrank.fixed_points import find_fixed_points
from nwb_lowrank.initialise import initialise
from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.nonlinearities import Identity, ReLU, Tanh
from nwb_lowrank.observations import (
    Bernoulli,
    Calcium,
    GaussianSignal,
    NegativeBinomial,
    Poisson,
    SpikeHistory,
    ZeroInflatedGamma,
)
from nwb_lowrank.proposals import Bootstrap, Encoder
from nwb_lowrank.readouts import MLP, UnitCurrents, UnitRates
from nwb_lowrank.smoother import backward_sample
from nwb_lowrank.warm_start import complete_data_objective

OBSERVATIONS = {
    "negative binomial": lambda: NegativeBinomial(),
    "bernoulli": lambda: Bernoulli(),
    "gamma": lambda: ZeroInflatedGamma(),
    "calcium": lambda: Calcium(),
    "history": lambda: Poisson(history=SpikeHistory(bins=3, basis=2)),
    "mlp": lambda: GaussianSignal(readout=MLP(hidden=3)),
    "unit rates": lambda: GaussianSignal(readout=UnitRates()),
}


def world_of(observation, *, rank=1, bins=5, trials=1, inputs=0, seed=0, **options) -> World:
    """A tame random model with that observation and data drawn from it, float64; an entry is missing."""
    model = LowRankRNN(rank=rank, units=4, neurons=3, inputs=inputs, observation=observation, **options).double()
    randomise(model, seed)
    u = torch.randn(trials, bins, inputs, generator=generator(seed + 1), dtype=torch.float64)
    z, y = model.simulate(u, seed=seed + 2)
    mask = torch.ones(y.shape, dtype=torch.bool)
    mask[0, 2, 1] = False
    return World(model, y * mask, u, mask, z)


@torch.no_grad()
def run(world, *, proposal=None, particles=8, seed=0):
    return smc_filter(world.model, proposal or Bootstrap(), world.y, world.u, seen=world.mask, scored=world.mask,
                      particles=particles, generator=generator(seed))  # fmt: skip


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_evidence_is_unbiased_for_every_observation_model(name):
    """Against the forward recursion on a dense grid of a one-dimensional latent; log_prob has oracles of its own."""
    world = world_of(OBSERVATIONS[name]())
    model = world.model
    past = model.observation.remember(world.y, world.mask)
    bins = iter(range(world.y.shape[1]))

    def log_likelihood(y, mask, z):
        t = next(bins)
        G = len(z)
        known = None if past is None else past[:, t].expand(G, -1, -1)
        y, mask = torch.as_tensor(y).expand(G, -1), torch.as_tensor(mask).expand(G, -1)
        return model.observation.log_prob(y, torch.as_tensor(z)[None, :, None], mask, known)[0].numpy()

    with torch.no_grad():
        truth = grid_evidence(
            world.y[0].numpy(), world.mask[0].numpy(), log_likelihood=log_likelihood, noise_sd=model.noise.chol().item(),
            initial=(model.initial_mean.item(), model.initial_noise.chol().item()),
            step=lambda z: model.step(torch.as_tensor(z)[:, None], world.u.new_zeros(len(z), 0))[:, 0].numpy(),
        )  # fmt: skip
    many = world._replace(**{part: getattr(world, part).repeat(10_000, 1, 1) for part in ("y", "u", "mask", "z")})
    within((run(many).log_evidence - truth).exp(), 1.0)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_padding_changes_nothing(name):
    """Bins after the end that nobody recorded: the same evidence, the same smoothed paths before them, the same objective."""
    world = world_of(OBSERVATIONS[name](), rank=2, trials=3, inputs=1, filtered=True)
    encoder = randomise(Encoder(channels=4, kernel=3).attach(world.model).double(), scale=0.1)

    def pad(x, fill):
        return torch.cat([x, torch.full((len(x), 4, *x.shape[2:]), fill, dtype=x.dtype)], 1)

    padded = World(world.model, pad(world.y, 77.0), pad(world.u, 3.0), pad(world.mask, False), pad(world.z, 0.0))
    for proposal in (Bootstrap(), encoder):
        first, second = (run(w, proposal=proposal) for w in (world, padded))
        torch.testing.assert_close(first.log_evidence, second.log_evidence, atol=1e-10, rtol=0)
        torch.testing.assert_close(first.particles, second.particles[:5], atol=1e-10, rtol=0)
    objectives = [complete_data_objective(w.model, encoder, (w.y, w.u, w.mask, w.mask), w.z[None]) for w in (world, padded)]
    torch.testing.assert_close(objectives[0], objectives[1], atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_nothing_unseen_reaches_inference(name):
    """An answer planted in a held-out neuron, a gap and beyond the shown bins: not one bit of the filter changes."""
    world = world_of(OBSERVATIONS[name](), rank=2, trials=2)
    seen = world.mask.clone()
    seen[:, :, 2], seen[:, -1], seen[1, 1] = False, False, False
    planted = torch.where(seen, world.y, torch.ones_like(world.y))
    first, second = (run(world._replace(y=y, mask=seen)) for y in (world.y, planted))
    assert all(torch.equal(a, b) for a, b in zip(first, second))


def test_a_filtered_input_follows_the_networks_decay():
    model = LowRankRNN(rank=1, units=2, neurons=2, inputs=2, filtered=True).double()
    u = torch.randn(3, 7, 2, generator=generator(), dtype=torch.float64)
    s, a = model.drive(u).detach(), model.decay.item()
    expected = [u[:, 0]]
    for t in range(1, 7):
        expected.append(a * expected[-1] + (1 - a) * u[:, t])
    torch.testing.assert_close(s, torch.stack(expected, 1), atol=1e-12, rtol=0)
    constant = u[:, :1].expand(3, 7, 2)
    torch.testing.assert_close(model.drive(constant), constant, atol=1e-12, rtol=0)
    assert torch.autograd.gradcheck(lambda logit: _drive_with(model, logit, u), model.decay_logit.detach().requires_grad_())


def _drive_with(model, logit, u):
    class Drive(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.part = model

        def forward(self, u):
            return self.part.drive(u)

    return torch.func.functional_call(Drive(), {"part.decay_logit": logit}, (u,))


def test_filter_and_smoother_see_the_filtered_input():
    """A filtered model at u is a plain model at the filtered u."""
    world = world_of(Poisson(), rank=2, trials=2, inputs=2, filtered=True)
    plain = LowRankRNN(rank=2, units=4, neurons=3, inputs=2, observation=Poisson()).double()
    plain.load_state_dict(world.model.state_dict())
    with torch.no_grad():
        twin = world._replace(model=plain, u=world.model.drive(world.u))
    first, second = run(world), run(twin)
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    paths = [backward_sample(w.model, out, w.u, draws=3, generator=generator(4)) for w, out in ((world, first), (twin, second))]
    assert torch.equal(*paths)
    assert torch.equal(plain.simulate(twin.u, seed=3)[0], world.model.simulate(world.u, seed=3)[0])


def test_the_initial_state_follows_the_first_input():
    model = randomise(LowRankRNN(rank=2, units=3, neurons=2, inputs=2).double())
    u = torch.randn(5, 2, generator=generator(), dtype=torch.float64)
    truth = model.initial_mean + u @ model.initial_input.T
    torch.testing.assert_close(model.initial(u).mean, truth, atol=1e-13, rtol=0)


@pytest.mark.parametrize("nonlinearity", [ReLU, Identity, Tanh])
def test_a_bias_is_a_constant_input(nonlinearity):
    """b is w u at a constant input of one, in a step and in the fixed points."""
    biased = randomise(LowRankRNN(rank=1, units=3, neurons=2, nonlinearity=nonlinearity(), biases=True).double(), seed=2)
    driven = LowRankRNN(rank=1, units=3, neurons=2, inputs=1, nonlinearity=nonlinearity()).double()
    shared = {name: value for name, value in biased.state_dict().items() if name != "b"}
    with torch.no_grad():
        driven.load_state_dict(dict(driven.state_dict(), **{name: shared[name] for name in shared if shared[name].numel()}))
        driven.w.copy_(biased.b[:, None])
    z, one = torch.linspace(-3, 3, 20).double()[:, None], torch.ones(20, 1).double()
    torch.testing.assert_close(biased.step(z, one[:, :0]), driven.step(z, one), atol=1e-13, rtol=0)
    for model in (biased, driven):
        model.extent.fill_(5.0)
    first, second = find_fixed_points(biased), find_fixed_points(driven, u=[1.0])
    np.testing.assert_allclose(first.points, second.points, atol=1e-10)
    assert (first.residual < 1e-10).all()


def test_full_rank_is_a_whole_recurrent_network():
    """x_t = a x_{t−1} + J φ(x_{t−1}) with J = n, and m stays the identity whatever is learned."""
    model = randomise(LowRankRNN(rank=4, units=4, neurons=3, nonlinearity=Tanh(), full=True).double())
    with torch.no_grad():
        model.m.copy_(torch.eye(4))
    x = torch.randn(5, 4, generator=generator(), dtype=torch.float64)
    truth = model.decay * x + torch.tanh(x + model.nonlinearity.h) @ model.n.T
    torch.testing.assert_close(model.step(x, x[:, :0]), truth, atol=1e-13, rtol=0)
    assert not model.m.requires_grad
    with pytest.raises(ValueError, match="one latent a unit; got rank=2, units=4. Pass rank=units"):
        LowRankRNN(rank=2, units=4, neurons=3, full=True)


@pytest.mark.parametrize("kind", [UnitRates, UnitCurrents])
def test_the_units_of_a_full_rank_network_can_be_the_neurons(kind):
    """m stays the identity, so that η_i = g_i x_i + d_i (or of φ(x_i)) after a start from the data, too."""
    trials = trials_of(poisson_world(neurons=4, trials=12))
    model = LowRankRNN(rank=5, units=5, neurons=4, nonlinearity=Tanh(), full=True, observation=Poisson(readout=kind()))
    initialise(model, Encoder(channels=4, kernel=3).attach(model), trials)
    torch.testing.assert_close(model.m, torch.eye(5), atol=0, rtol=0)
    readout, x = model.observation.readout, torch.randn(3, 5, generator=generator())
    assert (readout.gain > 0).all()
    seen = torch.tanh(x + model.nonlinearity.h)[:, :4] if kind is UnitRates else x[:, :4]
    torch.testing.assert_close(readout(x), readout.gain * seen + readout.bias)
    mean = torch.as_tensor(trials.counts).mean((0, 1))
    z = torch.randn(20_000, 5, generator=generator(1))
    torch.testing.assert_close(model.observation.mean(z).mean(0), mean.to(z), rtol=0.05, atol=0)  # fitted on 2,000 other draws
