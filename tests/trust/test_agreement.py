"""Two descriptions of the same system agree perfectly; two systems do not."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from problems import generator

import nwb_lowrank as nl
from nwb_lowrank.alignment import affine_r2
from nwb_lowrank.searches import Newton
from nwb_lowrank.sources.synthetic import decision_teacher
from nwb_lowrank.trust.agreement import agreement, eigenvalue_distance, spectra_distance


def outcome(model, latents):
    rates = model.observation.mean(torch.as_tensor(latents).to(model.m)).detach().numpy()
    posterior = SimpleNamespace(latents=latents, rates=rates)
    return SimpleNamespace(
        fit=SimpleNamespace(model=model), posterior=posterior, points=nl.find_fixed_points(model, search=Newton(starts=200))
    )


@torch.no_grad()
def transformed(model, A):
    """The same system in coordinates A z."""
    other = copy.deepcopy(model)
    inverse = torch.linalg.inv(A)
    other.m.copy_(model.m @ inverse)
    other.n.copy_(A @ model.n)
    other.observation.loadings.copy_(model.observation.loadings @ inverse)
    other.noise = nl.FullCovariance().attach(model.rank).to(model.m)
    L = A @ model.noise.chol()
    other.noise.set(L @ L.mT)
    return other


@pytest.fixture
def teacher():
    return decision_teacher().double()


@pytest.fixture
def latents(teacher):
    return teacher.simulate(torch.zeros(20, 40, 0), seed=0)[0].numpy()


def test_a_linear_map_of_the_latents_changes_nothing_that_is_compared(teacher, latents):
    A = torch.tensor([[1.3, -0.4], [0.7, 0.9]], dtype=torch.float64)
    found = agreement(outcome(teacher, latents), outcome(transformed(teacher, A), latents @ A.numpy().T))
    assert found["decay"] == 0 and found["points"] == 0 and found["stable"] == 0
    assert found["noise"] < 1e-5 and found["spectra"] < 1e-6  # FullCovariance keeps 1e-6 on its diagonal
    assert found["rates"] > 1 - 1e-6 and found["latents"] > 1 - 1e-9


def test_another_system_is_told_apart(teacher, latents):
    other = copy.deepcopy(teacher)
    with torch.no_grad():
        other.decay_logit.sub_(1.0)
        other.n.mul_(0.5)
        other.noise.set(4 * torch.eye(2).double())
    found = agreement(outcome(teacher, latents), outcome(other, np.random.default_rng(0).normal(size=latents.shape)))
    assert found["decay"] > 0.1 and found["noise"] > 0.5 and found["spectra"] > 0.05
    assert found["rates"] < 0.1 and found["latents"] < 0.1


def test_affine_r2_is_one_for_affine_maps_and_low_for_noise():
    z = torch.randn(5, 30, 3, generator=generator()).numpy()
    assert affine_r2(z, z @ np.array([[1, 2, 0], [0, 1, 0], [1, 0, 3.0]]) + 4) == pytest.approx(1)
    assert affine_r2(z, torch.randn(5, 30, 3, generator=generator(1)).numpy()) < 0.2


def test_eigenvalues_are_paired_by_nearness_not_by_order():
    values = np.array([0.9 + 0.2j, 0.9 - 0.2j, 0.5])
    assert eigenvalue_distance(values, values[[2, 0, 1]]) == 0
    assert eigenvalue_distance(values, 1.1 * values) == pytest.approx(0.1)


def test_no_fixed_point_gives_no_number():
    none = SimpleNamespace(points=np.zeros((0, 2)), eigenvalues=np.zeros((0, 2), complex))
    assert np.isnan(spectra_distance(none, none, np.zeros((3, 2))))
