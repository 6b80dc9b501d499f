"""Gaussian algebra against dense numpy, float64."""

import copy
import pickle

import numpy as np
import pytest
import torch
from oracles import condition, log_normal
from problems import generator, randomise

from nwb_lowrank.gaussian import DiagonalCovariance, FullCovariance, Gaussian, Message, ScalarCovariance, Scale

EXACT = 1e-10  # algebra on well-conditioned 3 x 3 matrices in float64 loses a few digits of 1e-16
KINDS = (ScalarCovariance, DiagonalCovariance, FullCovariance)


def random_chol(*shape, seed=0):
    A = torch.randn(*shape, generator=generator(seed), dtype=torch.float64)
    return torch.linalg.cholesky(A @ A.mT + 0.5 * torch.eye(shape[-1], dtype=torch.float64))


def random(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


@pytest.fixture(params=["one scale", "a scale a trial"])
def gaussian(request):
    """Means (K, B, R) = (4, 2, 3)."""
    chol = random_chol(3, 3) if request.param == "one scale" else random_chol(2, 3, 3)
    return Gaussian(random(4, 2, 3), Scale(chol))


def dense(gaussian, k, b):
    chol = gaussian.chol if gaussian.chol.dim() == 2 else gaussian.chol[b]
    return gaussian.mean[k, b].numpy(), (chol @ chol.mT).numpy()


def test_log_prob_is_the_definition(gaussian):
    z = random(4, 2, 3, seed=5)
    truth = [[log_normal(z[k, b].numpy(), *dense(gaussian, k, b)) for b in range(2)] for k in range(4)]
    np.testing.assert_allclose(gaussian.log_prob(z), truth, atol=EXACT)


def test_sampling_and_scoring_agree(gaussian):
    noise = random(4, 2, 3, seed=6)
    z = gaussian.sample(noise)
    np.testing.assert_allclose(gaussian.log_prob(z), gaussian.log_prob_of_noise(noise), atol=EXACT)
    for k, b in np.ndindex(4, 2):
        chol = gaussian.chol if gaussian.chol.dim() == 2 else gaussian.chol[b]
        np.testing.assert_allclose(z[k, b], gaussian.mean[k, b] + chol @ noise[k, b], atol=EXACT)


@pytest.mark.parametrize("rank_of_J", [0, 1, 3])
def test_product_with_a_message_is_conditioning(gaussian, rank_of_J):
    """exp(−½zᵀJz + hᵀz) with J = HᵀH, h = Hᵀy is the likelihood of y = Hz + N(0, I); J may be singular or zero."""
    H, y = random(2, rank_of_J, 3, seed=7), random(2, rank_of_J, seed=8)
    product = gaussian.times(Message(H.mT @ H, (H.mT @ y[..., None])[..., 0]))
    assert torch.equal(product.chol, product.chol.tril())
    assert (product.chol.diagonal(dim1=-2, dim2=-1) > 0).all()
    for k, b in np.ndindex(4, 2):
        mean, cov, _ = condition(*dense(gaussian, k, b), H[b].numpy(), 0.0, np.ones(rank_of_J), y[b].numpy())
        np.testing.assert_allclose(product.mean[k, b], mean, atol=EXACT)
        np.testing.assert_allclose(product.chol[b] @ product.chol[b].mT, cov, atol=EXACT)


def test_messages_add(gaussian):
    A, B = (random(2, 3, 3, seed=s) for s in (1, 2))
    first, second = Message(A @ A.mT, random(2, 3, seed=3)), Message(B @ B.mT, random(2, 3, seed=4))
    both = Message(first.precision + second.precision, first.shift + second.shift)
    stepwise, at_once = gaussian.times(first).times(second), gaussian.times(both)
    torch.testing.assert_close(stepwise.mean, at_once.mean, atol=EXACT, rtol=0)
    torch.testing.assert_close(stepwise.chol, at_once.chol, atol=EXACT, rtol=0)


def test_one_bin_of_a_prepared_update_is_that_bins_product():
    scale, A = Scale(random_chol(3, 3)), random(5, 2, 3, 3, seed=2)
    messages = Message(A @ A.mT, random(5, 2, 3, seed=3))
    update, mean, z = scale.times(messages), random(4, 2, 3), random(4, 2, 3, seed=9)
    update.scale.log_normaliser  # noqa: B018  computed ahead for all bins, as the filter does
    for t in range(5):
        alone = Gaussian(mean, scale).times(Message(messages.precision[t], messages.shift[t]))
        part = update.at(t).apply(mean)
        torch.testing.assert_close(part.mean, alone.mean, atol=EXACT, rtol=0)
        torch.testing.assert_close(part.log_prob(z), alone.log_prob(z), atol=EXACT, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_covariance_starts_at_identity_and_takes_on_its_projection(kind):
    covariance = kind().attach(3).double()
    # softplus' + 1e-6 floor of the full kind is the only inexactness
    np.testing.assert_allclose(covariance.scale().chol.detach(), np.eye(3), atol=2e-6)
    chol = random_chol(3, 3)
    target = chol @ chol.mT
    diagonal = target.diagonal()
    projected = {
        ScalarCovariance: diagonal.mean() * torch.eye(3).double(),
        DiagonalCovariance: diagonal.diag(),
        FullCovariance: target,
    }
    covariance.set(target)
    np.testing.assert_allclose((covariance.chol() @ covariance.chol().mT).detach(), projected[kind], atol=EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_covariance_survives_copies_and_its_gradient_is_right(kind):
    covariance = randomise(kind().attach(3).double())
    for twin in (copy.deepcopy(covariance), pickle.loads(pickle.dumps(covariance))):
        assert torch.equal(twin.chol(), covariance.chol())
        randomise(twin, seed=1)
        assert not torch.equal(twin.chol(), covariance.chol()), "a copy still reads the original's parameters"
    names, values = zip(*covariance.named_parameters())
    white = random(3)

    def log_prob(*parameters):
        state = dict(zip(names, parameters))
        chol = torch.func.functional_call(_Chol(covariance), {f"part.{name}": value for name, value in state.items()})
        return Gaussian(torch.zeros(3).double(), Scale(chol)).log_prob(white)

    assert torch.autograd.gradcheck(log_prob, values)


class _Chol(torch.nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self):
        return self.part.chol()
