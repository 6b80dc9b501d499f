"""Small known worlds."""

from typing import NamedTuple

import numpy as np
import torch
from oracles import Exact, linear_gaussian

from nwb_lowrank.gaussian import FullCovariance
from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.nonlinearities import ClippedReLU, Identity
from nwb_lowrank.observations import GaussianSignal, Poisson
from nwb_lowrank.trials import Trials


class World(NamedTuple):
    """A model with data drawn from it: y (B, T, N), u (B, T, D), mask (B, T, N), z (B, T, R)."""

    model: LowRankRNN
    y: torch.Tensor
    u: torch.Tensor
    mask: torch.Tensor
    z: torch.Tensor


def generator(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def randomise(module, seed=0, scale=0.3):
    """Every parameter moved by scale · N(0, 1): no value is left special."""
    noise, apart = generator(seed), generator(seed + 20_001)
    named = dict(module.named_parameters())
    observation = [name for name in named if name.startswith("observation.")]
    order = [name for name in named if name not in observation]
    first = list(named).index(observation[0]) if observation else 0
    order[first:first] = sorted(observation, key=lambda name: ".readout." not in name)
    for name in order:
        source = apart if name.endswith("initial_input") else noise  # the seeds of many tests are older than it and than readouts
        named[name].add_(scale * torch.randn(named[name].shape, generator=source).to(named[name]))
    return module


def linear_world(*, rank=2, units=3, neurons=4, bins=6, trials=1, inputs=1, missing=0.25, noise=None, seed=0) -> World:
    """Identity nonlinearity and Gaussian observation, float64: every number has an oracle. Weak observations keep weights tame."""
    model = LowRankRNN(
        rank=rank, units=units, neurons=neurons, inputs=inputs, nonlinearity=Identity(), observation=GaussianSignal(),
        noise=noise or FullCovariance(), initial_noise=FullCovariance(),
    ).double()  # fmt: skip
    randomise(model, seed)
    with torch.no_grad():
        model.n.mul_(0.5)
        model.w.mul_(5.0)  # inputs that a bin's delay would not hide
        model.observation.log_sd.add_(0.7)
    noise = generator(seed + 1)
    u = torch.randn(trials, bins, inputs, generator=noise, dtype=torch.float64)
    z, y = model.simulate(u, seed=seed + 2)
    mask = torch.rand(y.shape, generator=noise) >= missing
    return World(model, y * mask, u, mask, z)


@torch.no_grad()
def state_space(model, u):
    """A, b (T, R), Q, m0, P0, C, d, r of a model with Identity nonlinearity; u is (T, D)."""
    part = {name: value.double().numpy() for name, value in model.state_dict().items()}
    A = float(model.decay) * np.eye(model.rank) + part["n"] @ part["m"]
    b = (part["nonlinearity.h"] + u.double().numpy() @ part["w"].T) @ part["n"].T
    Q, P0 = ((c.chol() @ c.chol().mT).double().numpy() for c in (model.noise, model.initial_noise))
    C, d, r = part["observation.readout.loadings"], part["observation.readout.bias"], np.exp(2 * part["observation.log_sd"])
    m0 = part["initial_mean"] + part["initial_input"] @ u[0].double().numpy()
    return A, b, Q, m0, P0, C, d, r


def exact(world: World, trial=0, mask=None) -> Exact:
    """The oracle's answer for one trial."""
    mask = world.mask if mask is None else mask
    return linear_gaussian(world.y[trial].double().numpy(), mask[trial].numpy(), *state_space(world.model, world.u[trial]))


def signals(answer: Exact, model) -> np.ndarray:
    """(T, N): the observations that the smoothed means of a linear world predict."""
    C, d = (model.state_dict()[f"observation.readout.{name}"].double().numpy() for name in ("loadings", "bias"))
    return answer.mean @ C.T + d


def repeat(world: World, times: int) -> World:
    """The first trial `times` times: as many independent filters in one batch."""
    return world._replace(**{name: getattr(world, name)[:1].repeat(times, 1, 1) for name in ("y", "u", "mask", "z")})


def poisson_world(*, rank=2, units=12, neurons=8, bins=15, trials=12, inputs=0, rate=0.7, seed=0, link=None) -> World:
    """A clipped-ReLU network whose neurons fire about `rate` spikes per bin, float32."""
    model = LowRankRNN(rank=rank, units=units, neurons=neurons, inputs=inputs, nonlinearity=ClippedReLU(), observation=Poisson(link))
    randomise(model, seed)
    with torch.no_grad():
        model.n.mul_(0.5)
        model.noise.set(0.05 * torch.eye(rank))
        model.initial_noise.set(0.5 * torch.eye(rank))
        model.observation.bias.copy_(model.observation.link.inverse(torch.full((neurons,), rate)))
    u = torch.randn(trials, bins, inputs, generator=generator(seed + 1))
    z, y = model.simulate(u, seed=seed + 2)
    return World(model, y, u, torch.ones(y.shape, dtype=torch.bool), z)


def trials_of(world: World, **other) -> Trials:
    """The world's data as Trials."""
    return Trials.from_arrays(world.y.numpy(), bin_width=0.02, mask=world.mask.numpy(), inputs=world.u.numpy(), **other)


def bytes_of(fit) -> dict:
    """Every array of a fit as bytes: equal exactly when the fits are."""
    return {name: value.tobytes() for name, value in fit.state().items()} | {"history": fit.history.to_json(double_precision=15)}


def within(estimates, truth, *, errors=5.0, allowance=0.0):
    """Raise unless the mean of independent estimates (first axis) lies within `errors` standard errors (+ allowance) of the truth."""
    estimates, truth = np.asarray(estimates), np.asarray(truth)
    standard_error = estimates.std(0, ddof=1) / np.sqrt(len(estimates))
    off = np.abs(estimates.mean(0) - truth)
    assert (off <= errors * standard_error + allowance).all(), f"off by {off.max():.3g}; standard error {standard_error.max():.3g}"
