"""The dynamics under noise against closed forms and linear algebra."""

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov
from scipy.stats import norm

from nwb_lowrank.dynamics.attractors import attractors_of
from nwb_lowrank.dynamics.base import Attractor
from nwb_lowrank.dynamics.transitions import _cores, _counts, _jackknife, _milestones, noisy_orbits, switching, visits
from nwb_lowrank.fixed_points import find_fixed_points
from nwb_lowrank.sources.synthetic import decision_teacher

from .nets import linear, net, of


def test_ornstein_uhlenbeck():
    """A linear system's stationary covariance solves P = A P Aᵀ + Q, and its density is that Gaussian: within 5 standard errors."""
    A, Q = np.array([[0.8, 0.3], [-0.2, 0.7]]), np.array([[0.04, 0.01], [0.01, 0.09]])
    point = Attractor("point", np.zeros((1, 2)), 1.0, 5.0)
    found = switching(of(linear(A)), Q, np.zeros((1, 2)), (point,), centre=np.zeros(2), axes=np.eye(2), walkers=400, bins=1000, seed=0)
    P = solve_discrete_lyapunov(A, Q)
    slow = -1 / np.log(np.abs(np.linalg.eigvals(A)).max())
    effective = found.bins / (2 * slow)  # independent draws in the simulation
    error = np.sqrt((P**2 + np.outer(np.diag(P), np.diag(P))) / effective)
    assert (np.abs(found.covariance - P) < 5 * error).all()
    assert (np.abs(found.mean) < 5 * np.sqrt(np.diag(P) / effective)).all()
    middle = (found.edges[:, 1:] + found.edges[:, :-1]) / 2
    z = np.stack(np.meshgrid(*middle, indexing="ij"), -1)
    exact = np.exp(-0.5 * np.einsum("...i,ij,...j", z, np.linalg.inv(P), z)) / (2 * np.pi * np.sqrt(np.linalg.det(P)))
    busy = exact > 0.3 * exact.max()
    off = (found.density - exact)[busy] / np.maximum(found.density_error[busy], 1e-9)
    # Ten groups give errors with 9 degrees of freedom: heavy tails, so the root mean square and not the largest.
    assert np.sqrt((off**2).mean()) < 1.8
    cell = np.prod(found.edges[:, 1] - found.edges[:, 0])
    assert found.density.sum() * cell == pytest.approx(1.0, abs=0.01)  # 0.2 % of the mass lies outside the grid
    assert found.occupancy == pytest.approx([1.0], abs=0.01) and np.isinf(found.dwell).all()


def double_well(noise=0.45):
    """z ← z/2 + tanh z: attractors ± z* and a gate at 0, symmetric."""
    dynamics = of(net([[1.0]], [[1.0]], [0.0]))
    random = np.random.default_rng(0)
    points = find_fixed_points(net([[1.0]], [[1.0]], [0.0]))
    attractors, _, _ = attractors_of(dynamics, random.normal(size=(50, 1)), points)
    assert len(attractors) == 2
    return dynamics, np.array([[noise**2]]), attractors


def test_two_states_obey_their_identities():
    """Transitions alternate, so on every path their two counts differ by at most one; the wells are alike, so are their shares."""
    dynamics, Q, attractors = double_well()
    starts = np.array([a.points[0] for a in attractors])
    found = switching(dynamics, Q, starts, attractors, walkers=200, bins=2000, burn_in=200, seed=1)
    assert found.counts.sum() > 1000 and abs(found.counts[0, 1] - found.counts[1, 0]) <= 200
    assert (np.abs(found.occupancy - 0.5) < 5 * found.occupancy_error).all()
    np.testing.assert_allclose(found.occupancy.sum(), 1.0, rtol=1e-12)
    # detailed balance of two states: π₀ k₀₁ = π₁ k₁₀
    flux = found.occupancy * np.array([found.rate[0, 1], found.rate[1, 0]])
    error = found.occupancy * np.array([found.rate_error[0, 1], found.rate_error[1, 0]])
    assert abs(flux[0] - flux[1]) < 5 * np.hypot(*error)
    np.testing.assert_allclose(found.dwell, 1 / found.rate[[0, 1], [1, 0]], rtol=1e-12)


def test_counts_of_every_walker_alternate():
    dynamics, Q, attractors = double_well()
    random = np.random.default_rng(3)
    chol = np.linalg.cholesky(Q)
    path = noisy_orbits(dynamics, chol, np.zeros((50, 1)), 1000, random)
    counts, spent = _counts(_milestones(path, attractors, _cores(dynamics, chol, attractors, random)), 2)
    assert (np.abs(counts[:, 0, 1] - counts[:, 1, 0]) <= 1).all()
    assert (counts[:, [0, 1], [0, 1]] == 0).all() and (spent.sum(1) <= len(path)).all()


def test_dwell_times_agree_with_linear_algebra():
    """The same milestones on a grid: the mean time from core to core is the solution of a linear system, without simulation."""
    dynamics, Q, attractors = double_well()
    sd, cores = float(np.sqrt(Q[0, 0])), np.array([0.4, 0.4])
    path = noisy_orbits(dynamics, np.sqrt(Q), np.zeros((400, 1)), 2000, np.random.default_rng(5))
    counts, spent = _counts(_milestones(path, attractors, cores), 2)
    z = np.linspace(-6, 6, 1201)
    mean = (z[:, None] + dynamics.change(z[:, None]))[:, 0]
    P = norm.pdf(z[None], mean[:, None], sd)
    P /= P.sum(1, keepdims=True)
    inside = [np.abs(z - a.points[0, 0]) <= r for a, r in zip(attractors, cores)]
    for i, j in ((0, 1), (1, 0)):
        dwell = spent[:, i].sum() / counts[:, i, j].sum()
        error = _jackknife(spent[:, i], counts[:, i, j])
        free, outside = ~inside[j], ~inside[i]
        time = np.zeros(len(z))  # mean bins until core j
        time[free] = np.linalg.solve(np.eye(free.sum()) - P[np.ix_(free, free)], np.ones(free.sum()))
        hit = np.linalg.solve(np.eye(outside.sum()) - P[np.ix_(outside, outside)], P[np.ix_(outside, inside[i])])
        entry = hit[inside[j][outside]].mean(0)  # where core i is entered, coming from core j
        exact = entry / entry.sum() @ time[inside[i]]
        # Where in core j the path set out shifts its entry a little: 2 % beside the sampling error.
        assert abs(dwell - exact) < 5 * error + 0.02 * exact


def test_visits_say_where_every_bin_is():
    """The runs cover every recorded bin once, and each bin's basin is that of a noise-free orbit of the model itself."""
    model = decision_teacher()
    dynamics = of(model)
    z, _ = model.simulate(model.m.new_zeros(12, 30, 0), seed=0)
    latents, lengths = z.numpy().astype(float), np.array([30, 20, 1] * 4)
    attractors, _, _ = attractors_of(dynamics, latents.reshape(-1, 2), find_fixed_points(model))
    found = visits(dynamics, latents, lengths, attractors)
    label = np.full(latents.shape[:2], -9)
    for trial, attractor, first, last in zip(found.trial, found.attractor, found.first, found.last):
        assert (label[trial, first : last + 1] == -9).all()
        label[trial, first : last + 1] = attractor
    inside = np.arange(30) < lengths[:, None]
    assert (label[~inside] == -9).all()
    end = z
    for _ in range(600):
        end = model.step(end, end.new_zeros(12, 30, 0)).detach()
    nearest = np.argmin([np.linalg.norm(end.numpy() - a.points[0], axis=-1) for a in attractors], axis=0)
    np.testing.assert_array_equal(label[inside], nearest[inside])
    neighbours = (found.trial[1:] == found.trial[:-1]) & (found.attractor[1:] == found.attractor[:-1])
    assert not neighbours.any()  # runs are as long as they can be
