"""Every proposal of the folder, found and examined."""

import copy
import pickle

import pytest
import torch
from problems import exact, generator, linear_world, poisson_world, randomise, repeat, within

from nwb_lowrank import proposals
from nwb_lowrank.families import members
from nwb_lowrank.filter import smc_filter
from nwb_lowrank.gaussian import DiagonalCovariance, FullCovariance, ScalarCovariance
from nwb_lowrank.proposals import Encoder, LinearGaussian
from nwb_lowrank.proposals.base import Proposal
from nwb_lowrank.recipe import build, recipe
from nwb_lowrank.resampling import adaptive, multinomial, never, systematic, with_gradient

FAMILY = members(proposals, Proposal)
CASES = dict(FAMILY, **{"encoder, causal": lambda: Encoder(causal=True)})


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    """A world in float64 with missing entries, and a proposal for it with random parameters (wide networks add up many)."""
    world = linear_world(trials=2, bins=7)
    proposal = randomise(request.param().attach(world.model).double(), seed=3, scale=0.02)
    for number, buffer in enumerate(proposal.buffers()):  # statistics of the data, such as means and scales
        buffer.add_(0.3 * torch.rand(buffer.shape, generator=generator(number)))
    return world, proposal


@torch.no_grad()
def run(world, proposal, *, seen=None, scored=None, particles=8, seed=0):
    seen = world.mask if seen is None else seen
    return smc_filter(
        world.model, proposal, world.y, world.u, seen=seen, scored=seen if scored is None else scored,
        particles=particles, generator=generator(seed),
    )  # fmt: skip


def test_the_folder_is_not_empty():
    assert {"bootstrap", "linear_gaussian", "encoder", "laplace", "encoder_laplace"} <= set(FAMILY)


def test_evidence_is_unbiased_with_and_without_held_out_entries(case):
    world, proposal = case
    many = repeat(world, 5000)
    seen = many.mask.clone()
    seen[..., 0] = False  # a held-out neuron, scored all the same
    for shown in (many.mask, seen):
        out = run(many, proposal, seen=shown, scored=many.mask)
        within((out.log_evidence - exact(world).log_evidence).exp(), 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheme", [systematic, multinomial, never, adaptive(0.5), with_gradient(systematic)],
    ids=["systematic", "multinomial", "never", "adaptive", "with_gradient"],
)  # fmt: skip
@pytest.mark.parametrize("noise", [ScalarCovariance, DiagonalCovariance, FullCovariance])
@pytest.mark.parametrize("name", CASES)
def test_evidence_is_unbiased_with_every_covariance_and_resampling(name, noise, scheme):
    """The whole grid: 5 standard errors of 3,000 filters, seen and merely scored entries apart."""
    world = linear_world(trials=1, bins=5, noise=noise())
    proposal = randomise(CASES[name]().attach(world.model).double(), seed=3, scale=0.02)
    many = repeat(world, 3000)
    seen = many.mask.clone()
    seen[..., 0] = False
    for shown in (many.mask, seen):
        out = smc_filter(world.model, proposal, many.y, many.u, seen=shown, scored=many.mask, particles=8,
                         generator=generator(5), resample=scheme)  # fmt: skip
        within((out.log_evidence - exact(world).log_evidence).exp().detach(), 1.0)


def test_nothing_unseen_changes_a_bit(case):
    """Held-out neurons, forecast bins and gaps: whatever lies there, the particles of K = 1 and every inference stay the same."""
    world, proposal = case
    seen = world.mask.clone()
    seen[..., 1] = False
    seen[:, -2:] = False
    seen[0, 2] = False
    other = world._replace(y=torch.where(seen, world.y, 100 + torch.randn(world.y.shape, generator=generator(4))))
    everything = torch.ones_like(seen)
    first, second = (run(w, proposal, seen=seen, scored=everything, particles=1) for w in (world, other))
    assert torch.equal(first.particles, second.particles)
    assert not torch.equal(first.log_evidence, second.log_evidence)  # scored, as training does
    assert all(torch.equal(a, b) for a, b in zip(run(world, proposal, seen=seen), run(other, proposal, seen=seen)))


def test_the_filter_hands_out_nothing_unseen():
    """Whatever a new proposal does with y, it cannot leak: y is 0 where it is not seen."""

    class Spy(Proposal):
        def look(self, model, y, u, seen):
            self.looked = y, seen

        def propose(self, model, prior, about):
            assert (about.y[~about.seen] == 0).all()
            return prior

    world, spy = linear_world(trials=2), Spy()
    run(world._replace(y=world.y + 5), spy)
    y, seen = spy.looked
    assert torch.equal(seen, world.mask)
    assert torch.equal(y, (world.y + 5) * world.mask)


def test_an_unseen_bin_proposes_from_the_prior(case):
    """Nothing seen and nothing scored: prior − q vanishes for every particle, not only on average."""
    world, proposal = case
    out = run(world, proposal, seen=torch.zeros_like(world.mask))
    torch.testing.assert_close(out.log_evidence, torch.zeros(2).double(), atol=1e-10, rtol=0)  # rounding of 7 bins
    torch.testing.assert_close(out.ess, torch.full((7, 2), 8.0).double(), atol=1e-8, rtol=0)


def test_padding_at_the_end_changes_nothing(case):
    """Masked bins beyond the end, whatever they hold: the same particles and the same evidence."""
    world, proposal = case
    before = run(world, proposal)
    extra = dict(y=torch.full((2, 4, 4), 9.0), u=torch.ones(2, 4, 1), mask=torch.zeros(2, 4, 4, dtype=torch.bool))
    longer = world._replace(**{name: torch.cat([getattr(world, name), value.to(getattr(world, name))], 1)
                               for name, value in extra.items()})  # fmt: skip
    after = run(longer, proposal)
    # a convolution may sum in another order at another length: float64 rounding
    torch.testing.assert_close(after.particles[:7], before.particles, atol=1e-10, rtol=0)
    torch.testing.assert_close(after.log_evidence, before.log_evidence, atol=1e-10, rtol=0)


def test_round_trips(case):
    world, proposal = case
    before = run(world, proposal)
    rebuilt = build(recipe(proposal)).attach(world.model).double()
    rebuilt.load_state_dict(proposal.state_dict())
    for twin in (rebuilt, copy.deepcopy(proposal), pickle.loads(pickle.dumps(proposal))):
        assert all(torch.equal(a, b) for a, b in zip(run(world, twin), before))
        randomise(twin, seed=8)
        assert torch.equal(run(world, proposal).particles, before.particles), "a copy shares the original's parameters"


def test_float_and_double_agree(case):
    world, proposal = case
    low = world._replace(model=copy.deepcopy(world.model).float(), y=world.y.float(), u=world.u.float())
    single, double = copy.deepcopy(proposal).float(), proposal
    update = []
    for w, p in ((low, single), (world, double)):
        message = p.look(w.model, w.y * w.mask, w.u, w.mask)
        update.append(None if message is None else w.model.noise.scale().times(message))
    assert (update[0] is None) == (update[1] is None)
    if update[0] is not None:
        for a, b in ((update[0].shift, update[1].shift), (update[0].scale.chol, update[1].scale.chol)):
            assert a.dtype == torch.float32
            torch.testing.assert_close(a.double(), b, atol=1e-4, rtol=1e-4)  # float32 rounding through a small network


@pytest.mark.parametrize("name", FAMILY)
def test_spikes_are_proposed_for_or_refused_with_the_mend(name):
    world = poisson_world(trials=2)
    proposal = FAMILY[name]()
    try:
        proposal.attach(world.model)
    except TypeError as error:
        assert "needs a" in str(error) and "has Poisson. Use " in str(error)
    else:
        assert run(world, proposal).log_evidence.isfinite().all()


def test_linear_gaussian_refuses_spikes():
    with pytest.raises(TypeError, match="needs a GaussianSignal observation; this model has Poisson. Use Encoder"):
        LinearGaussian().attach(poisson_world().model)


def test_a_causal_encoder_never_looks_ahead():
    world = linear_world(trials=2, bins=30)
    for causal in (True, False):
        encoder = randomise(Encoder(causal=causal, kernel=3).attach(world.model).double(), seed=1)
        look = [encoder.look(world.model, y, world.u, world.mask) for y in (world.y, world.y + (torch.arange(30) > 20)[:, None])]
        earlier = [torch.equal(a[:21], b[:21]) for a, b in zip(*look)]
        assert all(earlier) == causal
        assert not torch.equal(look[0].shift[21:], look[1].shift[21:])


def test_the_encoder_starts_as_a_weak_opinion():
    """An untrained encoder's precision is the stated one where anything is seen: near zero, the prior proposes."""
    world = linear_world(trials=2)
    message = Encoder(precision=0.05).attach(world.model).double().look(world.model, world.y, world.u, world.mask)
    diagonal = message.precision.diagonal(dim1=-2, dim2=-1)
    expected = 0.05 * world.mask.any(-1).T[..., None].expand_as(diagonal).double()
    torch.testing.assert_close(diagonal.detach(), expected, rtol=1e-6, atol=0)  # the bias passes through float32


def test_an_even_kernel_is_refused_with_the_mend():
    with pytest.raises(ValueError, match="kernel must be odd; got 4. Use 5"):
        Encoder(kernel=4)
