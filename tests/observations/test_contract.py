"""Every observation model of the folder, found and examined."""

import copy
import inspect
import pickle

import numpy as np
import pytest
import scipy.stats
import torch
from problems import generator, randomise, within

from nwb_lowrank import observations
from nwb_lowrank.families import members
from nwb_lowrank.observations import GaussianSignal, Poisson, base
from nwb_lowrank.observations.base import Link, Observation
from nwb_lowrank.recipe import build, recipe

FAMILY = members(observations, Observation)
LINKS = {name: cls for name, cls in vars(base).items() if inspect.isclass(cls) and issubclass(cls, Link) and cls is not Link}
CASES = {name: cls for name, cls in FAMILY.items()}
CASES |= {f"poisson, {name}": lambda link=link: Poisson(link()) for name, link in LINKS.items()}
SCIPY = {
    Poisson: lambda model, y, mean: scipy.stats.poisson.logpmf(y, mean),
    GaussianSignal: lambda model, y, mean: scipy.stats.norm.logpdf(y, mean, np.exp(model.log_sd.detach().numpy())),
}
R, N, K, B = 2, 4, 3, 2


@pytest.fixture(params=CASES.values(), ids=CASES)
def model(request):
    return randomise(request.param().attach(R, N).double(), seed=2)


@pytest.fixture
def data(model):
    """y (B, N), z (K, B, R), mask (B, N)."""
    z = torch.randn(K, B, R, generator=generator(), dtype=torch.float64)
    y = model.sample(z[0], generator(1)).detach()
    return y, z, torch.tensor([[True, False, True, True], [False, True, True, False]])


def support(model):
    """Grid of y and its spacing: wide enough that what lies outside is below the test's tolerance."""
    return (np.arange(400.0), 1.0) if model.counts else (np.linspace(-40, 40, 40_001), 80 / 40_000)


def probabilities(model, z):
    """p(y | z) of every neuron on the grid: (G,), (G, N)."""
    grid, width = support(model)
    y = torch.as_tensor(grid)[:, None].expand(-1, N)
    only = torch.eye(N, dtype=torch.bool)
    rows = [model.log_prob(y, z.expand(1, len(grid), R), only[n].expand(len(grid), N))[0] for n in range(N)]
    return grid, torch.stack(rows, 1).exp().detach().numpy() * width


def test_log_prob_is_scipys(model, data):
    if type(model) not in SCIPY:
        pytest.skip("no reference distribution is named for this model; the next test sums it to 1")
    y, z, mask = data
    mean = model.mean(z).detach().numpy()
    truth = np.where(mask, SCIPY[type(model)](model, y.numpy(), mean), 0).sum(-1)
    np.testing.assert_allclose(model.log_prob(y, z, mask).detach(), truth, atol=1e-10)  # float64, terms of order 1


def test_probabilities_add_up_and_their_mean_is_mean(model, data):
    z = data[1][0, 0]
    grid, p = probabilities(model, z)
    np.testing.assert_allclose(p.sum(0), 1, atol=1e-6)
    np.testing.assert_allclose((grid[:, None] * p).sum(0), model.mean(z).detach(), atol=1e-6)


def test_samples_have_the_moments_of_the_probabilities(model, data):
    z = data[1][0, 0]
    y = model.sample(z.expand(20_000, R), generator(3)).detach().numpy()
    grid, p = probabilities(model, z)
    mean = (grid[:, None] * p).sum(0)
    within(y, mean)
    within((y - mean) ** 2, (grid[:, None] ** 2 * p).sum(0) - mean**2, allowance=1e-6)
    if model.counts:
        assert (y >= 0).all() and (y == y.round()).all()


def test_sampling_is_a_function_of_its_generator(model, data):
    before = torch.get_rng_state()
    first, again, other = (model.sample(data[1], generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_masking_is_deleting(model, data):
    y, z, mask = data
    for b in range(B):
        alone = [model.log_prob(y[[b]], z[:, [b]], torch.eye(N, dtype=torch.bool)[[n]]) for n in range(N) if mask[b, n]]
        torch.testing.assert_close(model.log_prob(y, z, mask)[:, b], sum(alone)[:, 0], atol=1e-12, rtol=0)
    garbage = torch.where(mask, y, 7.0)
    assert torch.equal(model.log_prob(garbage, z, mask), model.log_prob(y, z, mask))
    assert (model.log_prob(y, z, torch.zeros_like(mask)) == 0).all()


def test_gradient(model, data):
    y, z, mask = data
    names, values = zip(*model.named_parameters())

    class LogProb(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.part = model

        def forward(self, z):
            return self.part.log_prob(y, z, mask)

    def log_prob(z, *values):
        return torch.func.functional_call(LogProb(), {f"part.{n}": v for n, v in zip(names, values)}, (z,))

    assert torch.autograd.gradcheck(log_prob, (z.requires_grad_(), *values))


def test_curvature_is_the_gradient_and_its_variance(model, data):
    """∇_z log p against autograd; the information against the mean of score² over draws of y."""
    y, z, mask = data
    z = z.requires_grad_()
    gradient, information = model.curvature(y, z, mask)
    (truth,) = torch.autograd.grad(model.log_prob(y, z, mask).sum(), z)
    torch.testing.assert_close(gradient, truth, atol=1e-9, rtol=0)  # float64, sums of some terms of order 1
    draws, one = 20_000, z.detach()[:1, :1]
    many = model.sample(one[0].expand(draws, R), generator(5)).detach()
    alone = mask[:1].expand(draws, N)
    scores = model.curvature(many, one.expand(1, draws, R), alone)[0][0].detach()
    within((scores[:, :, None] * scores[:, None, :]).numpy(), information[0, 0].detach().numpy(), allowance=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_initialise_matches_the_neurons_means(model, dtype):
    """Mean over z ~ N(0, I), a nearly silent neuron without loadings included."""
    model = model.to(dtype)
    mean, variance = np.array([0.3, 1.0, 3.0, 1e-4]), np.array([0.2, 0.5, 1.0, 1e-6])
    loadings = np.array([[0.2, 0.0], [0.3, -0.4], [-0.5, 0.5], [0.0, 0.0]])
    model.initialise(mean, loadings, variance)
    z = torch.randn(100_000, R, generator=generator(9)).to(dtype)
    rates = model.mean(z).detach().double().numpy()
    # initialise itself may average over as few as 2,000 draws: 5 of its standard errors, plus float32 rounding
    within(rates, mean, allowance=5 * rates.std(0).max() / 2000**0.5 + 1e-6)
    assert rates[:, 3].mean() == pytest.approx(1e-4, rel=1e-2)


def test_initialise_gives_the_asked_slope(model):
    """Small loadings, where every link is straight: ∂mean/∂z at z = 0 is what was asked for."""
    loadings = 1e-3 * np.array([[1.0, 0.0], [0.5, -1.0], [-1.0, 0.3], [0.0, 0.0]])
    model.initialise(np.array([0.3, 1.0, 3.0, 0.1]), loadings, np.ones(N))
    slope = torch.autograd.functional.jacobian(model.mean, torch.zeros(R, dtype=torch.float64))
    np.testing.assert_allclose(slope, loadings, atol=1e-6)  # second order of 1e-3


def test_round_trips(model, data):
    y, z, mask = data
    before = model.log_prob(y, z, mask).detach()
    rebuilt = build(recipe(model)).attach(R, N).double()
    rebuilt.load_state_dict(model.state_dict())
    for twin in (rebuilt, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin.log_prob(y, z, mask), before)
        assert torch.equal(twin.sample(z, generator()), model.sample(z, generator()))
        randomise(twin, seed=3)
        assert torch.equal(model.log_prob(y, z, mask), before), "a copy shares the original's parameters"


def test_float_and_double_agree(model, data):
    y, z, mask = data
    single = copy.deepcopy(model).float()
    low, high = single.log_prob(y.float(), z.float(), mask), model.log_prob(y, z, mask)
    assert low.dtype == torch.float32 and high.dtype == torch.float64
    torch.testing.assert_close(low.double(), high, atol=1e-4, rtol=1e-4)  # float32 rounding of a sum of some terms


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_links(link):
    link, eta = link(), torch.linspace(-8, 8, 200, dtype=torch.float64, requires_grad=True)
    rate = link(eta)
    assert (rate > 0).all()
    (derivative,) = torch.autograd.grad(rate.sum(), eta, retain_graph=True)
    torch.testing.assert_close(link.slope(eta), derivative, atol=1e-10, rtol=0)
    torch.testing.assert_close(link.inverse(rate), eta, atol=1e-8, rtol=0)  # log(1 − e^−rate) at rate e⁻⁸ loses some digits
    torch.testing.assert_close(link.log(eta), rate.log(), atol=1e-10, rtol=0)
    (derivative,) = torch.autograd.grad(rate.log().sum(), eta)
    torch.testing.assert_close(link.log_slope(eta), derivative, atol=1e-10, rtol=0)


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_links_stay_finite_far_away(link):
    eta = torch.tensor([-500.0, -60.0, 60.0, 500.0], requires_grad=True)  # float32, where a bad step may land
    total = link()(eta) + link().log(eta)
    assert total.isfinite().all()
    (gradient,) = torch.autograd.grad(total.sum(), eta)
    assert gradient.isfinite().all()
