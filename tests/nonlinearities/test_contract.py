"""Every nonlinearity of the folder, found and examined."""

import copy
import pickle

import pytest
import torch
from problems import generator, randomise

from nwb_lowrank import nonlinearities
from nwb_lowrank.families import members
from nwb_lowrank.nonlinearities.base import Nonlinearity
from nwb_lowrank.recipe import build, recipe

FAMILY = members(nonlinearities, Nonlinearity)
H = 5
SMALL = 1e-6  # step across a kink; biases below are of order 1


@pytest.fixture(params=FAMILY.values(), ids=FAMILY)
def phi(request):
    """With random biases of both signs, float64."""
    return randomise(request.param().attach(H).double(), seed=4, scale=1.0)


def inputs(phi, points=400):
    """(points, H) over the bend of φ, none within SMALL of a kink."""
    x = 3 * torch.randn(points, H, generator=generator(), dtype=torch.float64)
    distance = (x[:, None] - phi.kinks().detach()).abs()  # (points, J, H)
    return x[(distance > SMALL).flatten(1).all(1)]


def test_the_folder_is_not_empty():
    assert {"relu", "clipped_relu", "tanh", "identity"} <= set(FAMILY)
    assert (torch.randn(H, generator=generator(4)).sign().unique() == torch.tensor([-1.0, 1.0])).all()


def test_slope_is_the_derivative_away_from_kinks(phi):
    x = inputs(phi).requires_grad_()
    (derivative,) = torch.autograd.grad(phi(x).sum(), x)
    assert phi.slope(x).shape == x.shape
    torch.testing.assert_close(phi.slope(x), derivative, atol=1e-12, rtol=0)  # float64 rounding


def test_bias_gradient(phi):
    x = inputs(phi)[:10]
    assert torch.autograd.gradcheck(lambda h: torch.func.functional_call(phi, {"h": h}, (x,)), (phi.h,))


def test_each_kink_is_a_bend_and_the_slope_there_is_the_right_one(phi):
    kinks = phi.kinks()
    assert kinks.shape[1:] == (H,)
    assert (kinks.diff(dim=0) > 0).all()
    for kink in kinks.detach():
        left, right = phi.slope(kink - SMALL), phi.slope(kink + SMALL)
        assert (left != right).all()
        assert torch.equal(phi.slope(kink), right)
        # no jump: φ is continuous and its slope of order 1
        torch.testing.assert_close(phi(kink - SMALL), phi(kink + SMALL), atol=5 * SMALL, rtol=0)


def test_piecewise_linear_says_whether_it_is(phi):
    """Between neighbouring kinks (and a good way beyond the outer ones) the middle lies on the chord, or somewhere it does not."""
    kinks = phi.kinks().detach()
    edges = torch.cat([torch.full((1, H), -9.0).double(), kinks, torch.full((1, H), 9.0).double()])
    bend = max(float((phi((a + b) / 2) - (phi(a) + phi(b)) / 2).abs().max().detach()) for a, b in zip(edges, edges[1:]))
    assert (bend < 1e-12) == phi.piecewise_linear


def test_bounded_says_whether_it_is(phi):
    far, farther = (torch.full((H,), x).double() for x in (1e3, 1e6))
    growth = max((phi(s * farther) - phi(s * far)).abs().max().item() for s in (-1, 1))
    assert (growth < 1e-6) == phi.bounded


def test_works_in_double_and_float_over_any_leading_shape(phi):
    x = inputs(phi)[:6].view(2, 3, H)
    assert phi(x).dtype == torch.float64 and phi(x).shape == x.shape
    torch.testing.assert_close(phi(x), torch.stack([phi(row) for row in x]))
    single = copy.deepcopy(phi).float()
    torch.testing.assert_close(single(x.float()).double(), phi(x), atol=1e-5, rtol=1e-5)  # float32 rounding


def test_round_trips(phi):
    x, before = inputs(phi), phi(inputs(phi)).detach()
    rebuilt = build(recipe(phi)).attach(H).double()
    rebuilt.load_state_dict(phi.state_dict())
    for twin in (rebuilt, copy.deepcopy(phi), pickle.loads(pickle.dumps(phi))):
        assert torch.equal(twin(x), before)
        assert torch.equal(twin.slope(x), phi.slope(x)) and torch.equal(twin.kinks(), phi.kinks())
        randomise(twin, seed=5)
        assert torch.equal(phi(x), before), "a copy shares the original's bias"
