"""Every readout of the folder, found and examined, as a part of a model."""

import copy
import pickle

import pytest
import torch
from problems import generator, randomise

from nwb_lowrank import readouts
from nwb_lowrank.families import members
from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.nonlinearities import Tanh
from nwb_lowrank.observations import GaussianSignal, Poisson
from nwb_lowrank.readouts import UnitCurrents, UnitRates
from nwb_lowrank.readouts.base import Readout
from nwb_lowrank.recipe import build, recipe

FAMILY = members(readouts, Readout)
R, N, H, K, B = 2, 4, 6, 3, 2


@pytest.fixture(params=FAMILY.values(), ids=FAMILY)
def model(request):
    return randomise(
        LowRankRNN(rank=R, units=H, neurons=N, observation=GaussianSignal(readout=request.param()), nonlinearity=Tanh()).double()
    )


def points(seed=1):
    return torch.randn(K, B, R, generator=generator(seed), dtype=torch.float64)


def test_the_folder_is_not_empty():
    assert {"affine", "mlp", "unit_rates", "unit_currents"} <= set(FAMILY)


def test_jacobian_is_the_derivative(model):
    readout = model.observation.readout
    for z in points().flatten(0, 1):
        truth = torch.autograd.functional.jacobian(readout, z)
        torch.testing.assert_close(readout.jacobian(z), truth, atol=1e-12, rtol=0)
    C, d = readout.linear()
    torch.testing.assert_close(C, torch.autograd.functional.jacobian(readout, torch.zeros(R).double()), atol=1e-12, rtol=0)
    torch.testing.assert_close(d, readout(torch.zeros(R).double()), atol=1e-12, rtol=0)


def test_pull_is_the_chain_rule(model):
    readout, z = model.observation.readout, points()
    score, information = torch.randn(K, B, N, generator=generator(2)).double(), torch.rand(K, B, N, generator=generator(3)).double()
    gradient, precision = readout.pull(score, information, z)
    for k in range(K):
        for b in range(B):
            J = readout.jacobian(z[k, b])
            torch.testing.assert_close(gradient[k, b], J.T @ score[k, b], atol=1e-12, rtol=0)
            torch.testing.assert_close(precision[k, b], J.T @ torch.diag(information[k, b]) @ J, atol=1e-12, rtol=0)


def test_start_is_near_the_plane_asked_for(model):
    """Small slopes, which every readout can follow: the mean squared error over z ~ N(0, I) is a small part of their variance."""
    readout = model.observation.readout
    eta, slope = torch.tensor([0.5, -1.0, 2.0, 0.0]).double(), 0.2 * torch.randn(N, R, generator=generator(4)).double()
    with torch.no_grad():
        model.nonlinearity.h.zero_()
    readout.initialise(eta, slope)
    z = torch.randn(2000, R, generator=generator(5)).double()
    wanted = z @ slope.T
    error = (readout(z) - eta - wanted).square().mean().item()
    assert error < 0.05 * wanted.square().mean().item()


def test_copies_are_equal_and_independent(model):
    """A copy of the model reads its own network: the readouts of units know one."""
    z = points()
    before = model.observation.mean(z).detach()
    rebuilt = build(recipe(model)).double()
    rebuilt.load_state_dict(model.state_dict())
    for twin in (rebuilt, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin.observation.mean(z), before)
        randomise(twin, seed=9)
        assert torch.equal(model.observation.mean(z), before), "a copy shares the original's parameters"
        assert not torch.equal(twin.observation.mean(z), before), "a copy reads the original's parameters"
    assert len(set(map(id, model.parameters()))) == len(list(model.parameters()))


@pytest.mark.parametrize("model", [UnitCurrents, UnitRates], indirect=True)
def test_units_are_seen_one_to_one(model):
    readout, z = model.observation.readout, points()
    current = (z @ model.m.T)[..., :N]
    seen = torch.tanh(current + model.nonlinearity.h[:N]) if isinstance(readout, UnitRates) else current
    torch.testing.assert_close(readout(z), readout.gain * seen + readout.bias, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", [UnitCurrents, UnitRates])
def test_units_need_a_unit_a_neuron(kind):
    with pytest.raises(ValueError, match="a hidden unit for every neuron .7.; got 6. Pass units=neurons or more"):
        LowRankRNN(rank=2, units=6, neurons=7, observation=Poisson(readout=kind()))
