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
from nwb_lowrank.observations import (
    Bernoulli,
    Calcium,
    GaussianSignal,
    NegativeBinomial,
    Poisson,
    SpikeHistory,
    ZeroInflatedGamma,
    base,
)
from nwb_lowrank.observations.base import Link, Observation
from nwb_lowrank.readouts import MLP
from nwb_lowrank.recipe import build, recipe

FAMILY = members(observations, Observation)
LINKS = {name: cls for name, cls in vars(base).items() if inspect.isclass(cls) and issubclass(cls, Link) and cls is not Link}
CASES = {name: cls for name, cls in FAMILY.items()}
CASES |= {f"poisson, {name}": lambda link=link: Poisson(link()) for name, link in LINKS.items()}
CASES |= {f"{name}, history": lambda cls=cls: cls(history=SpikeHistory(bins=6, basis=3)) for name, cls in FAMILY.items()
          if "history" in inspect.signature(cls.__init__).parameters}  # fmt: skip
CASES |= {"negative_binomial, exp": lambda: NegativeBinomial(base.Exp()), "gaussian, mlp": lambda: GaussianSignal(readout=MLP(hidden=3)),
          "calcium, exp": lambda: Calcium(base.Exp()), "poisson, mlp": lambda: Poisson(readout=MLP(hidden=3))}  # fmt: skip


def gamma_or_zero(model, y, mean):
    """Poisson(rate) events of which at least one happened, of gamma size."""
    gain, k = np.exp(values(model.log_gain)), np.exp(values(model.log_shape))
    active = -np.expm1(-mean / gain)
    with np.errstate(divide="ignore"):
        density = scipy.stats.gamma.logpdf(y, k, scale=mean / active / k)
    return np.where(y == 0, -mean / gain, np.log(active) + density)


def values(tensor):
    return tensor.detach().numpy()


SCIPY = {
    Poisson: lambda model, y, mean, past: scipy.stats.poisson.logpmf(y, mean),
    NegativeBinomial: lambda model, y, mean, past: scipy.stats.nbinom.logpmf(
        y, np.exp(values(model.log_size)), 1 / (1 + mean / np.exp(values(model.log_size)))
    ),
    Bernoulli: lambda model, y, mean, past: scipy.stats.bernoulli.logpmf(y, mean),
    GaussianSignal: lambda model, y, mean, past: scipy.stats.norm.logpdf(y, mean, np.exp(values(model.log_sd))),
    Calcium: lambda model, y, mean, past: scipy.stats.norm.logpdf(
        y, mean, np.exp(np.where(past[..., 1] > 0, values(model.log_sd), values(model.log_start_sd)))
    ),
    ZeroInflatedGamma: lambda model, y, mean, past: gamma_or_zero(model, y, mean),
}
MEANS = {Bernoulli: np.array([0.3, 0.6, 0.8, 1e-4])}  # of the neurons that `initialise` is asked to match
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


@pytest.fixture
def past(model, data):
    """(B, N, F) of the bin after four bins, some of them missing (in every second neuron the last one), or None."""
    z = torch.randn(B, 4, R, generator=generator(6), dtype=torch.float64)
    mask = torch.rand(B, 5, N, generator=generator(7)) < 0.8
    mask[:, 3, ::2], mask[:, 3, 1::2] = True, False
    path = torch.cat([model.sample_path(z, generator(8)), torch.full((B, 1, N), torch.nan)], 1).detach()
    known = model.remember(path, mask)
    return None if known is None else known[:, -1].detach()


def support(model):
    """Grid of y and the width that each point stands for: what lies outside is below the test's tolerance."""
    if isinstance(model, Bernoulli):
        return np.arange(2.0), np.ones((2, 1))
    if isinstance(model, ZeroInflatedGamma):  # an atom at 0, and a density that may rise without end towards it
        steps = np.linspace(-60, 8, 40_001)
        return np.r_[0, np.exp(steps)], np.r_[1, np.exp(steps) * (steps[1] - steps[0])][:, None]
    return (np.arange(400.0), np.ones((400, 1))) if model.counts else (np.linspace(-80, 80, 80_001), np.full((80_001, 1), 2e-3))


def test_every_model_of_ours_has_a_reference():
    assert {cls.__name__ for cls in SCIPY} == {cls.__name__ for cls in FAMILY.values() if cls.__module__.startswith("nwb_lowrank.")}


def probabilities(model, z, past=None):
    """p(y | z) of every neuron on the grid: (G,), (G, N)."""
    grid, width = support(model)
    y = torch.as_tensor(grid)[:, None].expand(-1, N)
    only = torch.eye(N, dtype=torch.bool)
    past = past if past is None else past.expand(len(grid), *past.shape)
    rows = [model.log_prob(y, z.expand(1, len(grid), R), only[n].expand(len(grid), N), past)[0] for n in range(N)]
    return grid, torch.stack(rows, 1).exp().detach().numpy() * width


def test_log_prob_is_scipys(model, data, past):
    if type(model) not in SCIPY:  # never one of ours, see above
        pytest.skip("no reference distribution is named for this model; the next test sums it to 1")
    y, z, mask = data
    for known in (past, None):
        mean = model.mean(z, known).detach().numpy()
        given = np.zeros((B, N, 2)) if known is None else known.numpy()
        truth = np.where(mask, SCIPY[type(model)](model, y.numpy(), mean, given), 0).sum(-1)
        np.testing.assert_allclose(model.log_prob(y, z, mask, known).detach(), truth, atol=1e-9)  # float64, terms of order 1


def test_probabilities_add_up_and_their_mean_is_mean(model, data, past):
    z, past = data[1][0, 0], None if past is None else past[0]
    grid, p = probabilities(model, z, past)
    np.testing.assert_allclose(p.sum(0), 1, atol=1e-6)
    np.testing.assert_allclose((grid[:, None] * p).sum(0), model.mean(z, past).detach(), atol=1e-6)


def test_samples_have_the_moments_of_the_probabilities(model, data, past):
    z, past = data[1][0, 0], None if past is None else past[0]
    y = model.sample(z.expand(20_000, R), generator(3), past).detach().numpy()
    grid, p = probabilities(model, z, past)
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


def test_masking_is_deleting(model, data, past):
    y, z, mask = data
    for b in range(B):
        before = None if past is None else past[[b]]
        alone = [model.log_prob(y[[b]], z[:, [b]], torch.eye(N, dtype=torch.bool)[[n]], before) for n in range(N) if mask[b, n]]
        torch.testing.assert_close(model.log_prob(y, z, mask, past)[:, b], sum(alone)[:, 0], atol=1e-12, rtol=0)
    garbage = torch.where(mask, y, 7.0)
    assert torch.equal(model.log_prob(garbage, z, mask, past), model.log_prob(y, z, mask, past))
    assert (model.log_prob(y, z, torch.zeros_like(mask), past) == 0).all()


def test_memory_is_of_recorded_earlier_bins_alone(model):
    """Present and later bins, and whatever was not recorded, change nothing; bin by bin it is the same."""
    y = model.sample_path(torch.randn(B, 9, R, generator=generator(6), dtype=torch.float64), generator(8)).detach()
    mask = torch.rand(B, 9, N, generator=generator(7)) < 0.7
    past = model.remember(y, mask)
    assert (past is None) == (model.reach == 0)
    if past is None:
        return
    for t in range(9):
        other = torch.where(mask, y, 50.0)
        other[:, t:] = 99.0
        assert torch.equal(model.remember(other, mask)[:, t], past[:, t])
        everything = model.remember(y, torch.ones_like(mask))[:, t]
        window = model.recall(y[:, max(0, t - model.reach) : t])
        assert (window is None) == (t == 0)
        if t >= model.reach:
            torch.testing.assert_close(window, everything, atol=1e-12, rtol=0)


def test_expected_path_is_the_mean_of_sampled_paths(model):
    """Exact for models that are linear in their past; a spike history's is an approximation, close while its weights are small."""
    if model.reach > 1:
        with torch.no_grad():
            model.history.weights.mul_(0.1)
            model.history.typical.copy_(model.mean(torch.zeros(R, dtype=torch.float64)))
    z = 0.5 * torch.randn(6, R, generator=generator(6), dtype=torch.float64)
    paths = model.sample_path(z.expand(20_000, 6, R), generator(8)).detach().numpy()
    within(paths, model.mean_path(z).detach().numpy(), allowance=0.02 if model.reach > 1 else 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_memory_and_links_stay_finite_far_away(model, dtype):
    """Where a bad step may land: log-probability and its gradient are numbers all the same."""
    model = model.to(dtype)
    z = torch.tensor([[-60.0, -60.0], [60.0, 60.0]], dtype=dtype, requires_grad=True)
    y = model.sample(torch.zeros(2, R, dtype=dtype), generator(1)).detach()
    total = model.log_prob(y, z[None], torch.ones(2, N, dtype=torch.bool)).sum()
    (gradient,) = torch.autograd.grad(total, z)
    score, information = model.curvature(y, z[None], torch.ones(2, N, dtype=torch.bool))
    assert all(part.isfinite().all() for part in (total, gradient, score, information))


def test_gradient(model, data, past):
    y, z, mask = data
    names, values = zip(*model.named_parameters())

    class LogProb(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.part = model

        def forward(self, z):
            return self.part.log_prob(y, z, mask, past)

    def log_prob(z, *values):
        return torch.func.functional_call(LogProb(), {f"part.{n}": v for n, v in zip(names, values)}, (z,))

    assert torch.autograd.gradcheck(log_prob, (z.requires_grad_(), *values))


def test_curvature_is_the_gradient_and_its_variance(model, data, past):
    """∇_z log p against autograd; the information against the mean of score² over draws of y."""
    y, z, mask = data
    z = z.requires_grad_()
    gradient, information = model.curvature(y, z, mask, past)
    (truth,) = torch.autograd.grad(model.log_prob(y, z, mask, past).sum(), z)
    torch.testing.assert_close(gradient, truth, atol=1e-9, rtol=0)  # float64, sums of some terms of order 1
    draws, one = 20_000, z.detach()[:1, :1]
    past = None if past is None else past[:1].expand(draws, N, -1)
    many = model.sample(one[0].expand(draws, R), generator(5), past).detach()
    alone = mask[:1].expand(draws, N)
    scores = model.curvature(many, one.expand(1, draws, R), alone, past)[0][0].detach()
    within((scores[:, :, None] * scores[:, None, :]).numpy(), information[0, 0].detach().numpy(), allowance=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_initialise_matches_the_neurons_means(model, dtype):
    """Mean over z ~ N(0, I), a nearly silent neuron without loadings included."""
    model = model.to(dtype)
    mean, variance = MEANS.get(type(model), np.array([0.3, 1.0, 3.0, 1e-4])), np.array([0.2, 0.5, 1.0, 1e-6])
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
    mean = np.array([0.3, 0.4, 0.8, 0.1]) if isinstance(model, Bernoulli) else np.array([0.3, 1.0, 3.0, 0.1])
    model.initialise(mean, loadings, np.ones(N))
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
