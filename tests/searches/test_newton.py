"""Newton finds what Certified proves, and the roots of tanh networks that scalar root finding gives."""

import numpy as np
import pytest
from scipy.optimize import brentq

from nwb_lowrank.fixed_points import find_fixed_points
from nwb_lowrank.nonlinearities import ReLU, Tanh
from nwb_lowrank.searches import Certified, Newton
from nwb_lowrank.searches.newton import capture
from searches.brute import build, network, random_networks, same_points

ROUNDING = 1e-12


def test_finds_what_certified_proves():
    several = 0
    for model in random_networks(40):
        truth, found = find_fixed_points(model), find_fixed_points(model, search=Newton())
        if any(truth.certificate["on_kink"]):
            continue  # where no unit is on a side of its kink, Newton's slope may lead nowhere
        assert same_points(found.points, truth.points), (truth.points, found.points)
        assert not found.complete and found.certificate["degree_sum"] == 1
        several += len(truth.points) > 1
    assert several >= 8


def test_relu_in_a_region():
    box = [[-5.0] * 2, [6.0] * 2]
    for seed in range(6):
        model = network(2, 5, seed, nonlinearity=ReLU())
        truth = find_fixed_points(model, search=Certified(region=box)).points
        found = find_fixed_points(model, search=Newton(starts=300, region=box)).points
        inside = found[(np.abs(found - 0.5) <= 5.5).all(1)]
        assert same_points(inside, truth)


@pytest.mark.parametrize("gain", [0.4, 1.0, 3.0])
def test_one_tanh_unit(gain):
    """z/2 = gain tanh z: 0 alone up to gain 1/2, then a pair beside it."""
    truth = [0.0]
    if gain > 0.5:
        side = brentq(lambda z: -0.5 * z + gain * np.tanh(z), 1e-3, 2 * gain + 1, xtol=1e-14)
        truth = [-side, side, 0.0]
    found = find_fixed_points(build(m=[[1.0]], n=[[gain]], h=[0.0], decay=0.5, nonlinearity=Tanh()), search=Newton())
    np.testing.assert_allclose(found.points[:, 0], truth, atol=ROUNDING)
    slopes = 0.5 + gain * (1 - np.tanh(truth) ** 2)
    np.testing.assert_allclose(found.eigenvalues[:, 0], slopes, atol=ROUNDING)
    assert found.stable.tolist() == (slopes < 1).tolist()
    assert found.certificate["degree_sum"] == 1 and not found.complete and "other points may exist" in found.certificate["reason"]


def test_independent_tanh_units_multiply():
    """Two uncoupled bistable units: 3 × 3 points, degree sum (1 − 1 + 1)²."""
    found = find_fixed_points(build(m=np.eye(2), n=np.eye(2), h=[0.0, 0.0], decay=0.5, nonlinearity=Tanh()))
    side = brentq(lambda z: -0.5 * z + np.tanh(z), 1, 3, xtol=1e-14)
    grid = np.array([[a, b] for a in (-side, 0, side) for b in (-side, 0, side)])
    assert same_points(found.points, grid) and found.certificate["degree_sum"] == 1
    assert sorted(found.kinds) == sorted(["attractor"] * 4 + ["repeller"] + ["saddle (1 unstable)"] * 4)


@pytest.mark.parametrize("above", [1e-6, 1e-10])
def test_a_pair_about_to_meet_stays_a_pair(above):
    """−z/2 + tanh z + c, a hair above its fold: two points 2 √(above / curvature) apart, to first order."""
    fold = -np.arctanh(np.sqrt(0.5))
    lift = 0.5 * fold - np.tanh(fold) - above
    model = build(m=[[1.0], [0.0]], n=[[1.0, 1.0]], h=[0.0, np.arctanh(lift)], decay=0.5, nonlinearity=Tanh())
    model_below = build(m=[[1.0], [0.0]], n=[[1.0, 1.0]], h=[0.0, np.arctanh(lift + 2 * above)], decay=0.5, nonlinearity=Tanh())
    counts = sorted(len(find_fixed_points(each).points) for each in (model, model_below))
    assert counts == [1, 3]
    pair = max((find_fixed_points(each).points for each in (model, model_below)), key=len)
    near = np.sort(pair[np.abs(pair - fold) < 0.1])
    curvature = abs(np.tanh(fold) * (1 - np.tanh(fold) ** 2))  # half the second derivative
    np.testing.assert_allclose(near[1] - near[0], 2 * np.sqrt(above / curvature), rtol=5e-3)


def test_a_missing_point_shows_in_the_degree():
    """From the origin alone only the middle point of a bistable unit is found; its sign is −1."""
    model = build(m=[[1.0]], n=[[1.0]], h=[0.0], decay=0.5, nonlinearity=Tanh())
    found = find_fixed_points(model, search=Newton(starts=1))
    assert found.points.tolist() == [[0.0]] and found.certificate["degree_sum"] == -1
    assert "at least one fixed point is missing" in found.certificate["reason"]


def test_a_continuum_is_a_set():
    """Every z in [−1, 0] is fixed: −z/2 + (z + 1)/2 − 1/2 = 0."""
    model = build(m=[[1.0], [0.0]], n=[[0.5, -0.5]], h=[1.0, 1.0], decay=0.5)
    found = find_fixed_points(model, search=Newton(starts=200))
    (line,) = found.sets
    assert not len(found.points) and found.certificate["degree_sum"] is None
    np.testing.assert_allclose([line["low"], line["high"]], [[-1], [0]], atol=1e-3)  # ends are known to a share of the first steps


def test_seed_decides_the_starts():
    model = network(2, 6, 3, nonlinearity=Tanh(), gain=4)
    first, again = (find_fixed_points(model, search=Newton(starts=50, seed=7)) for _ in range(2))
    np.testing.assert_array_equal(first.points, again.points)
    assert first.certificate == again.certificate
    with pytest.raises(ValueError, match="starts must be at least 1"):
        Newton(starts=0)


def test_starts_from_latents_and_what_was_missed():
    """Starts beside one attractor find it alone; how often each point was found adds up; Chao's and Good's estimates by hand."""
    model = build(m=[[1.0]], n=[[1.0]], h=[0.0], decay=0.5, nonlinearity=Tanh())
    near = np.full((3, 5, 1), 1.9)
    found = find_fixed_points(model, search=Newton(starts=400, latents=near))
    assert sum(found.certificate["captured"]) == found.certificate["arrived"] and found.certificate["captured"][1] > 200
    assert found.certificate["missed"] == 0.0 and "about 0.0 more are expected" in found.certificate["reason"]
    assert capture(np.array([1, 1, 1, 2, 5])) == dict(found_once=3, missed=3 * 2 / (2 * 2), coverage=1 - 3 / 10)
    with pytest.raises(ValueError, match=r"latents must be \(..., 1\); got shape \(3, 2\)"):
        find_fixed_points(model, search=Newton(latents=np.zeros((3, 2))))


def test_levenberg_marquardt_reaches_what_newton_steps_over():
    """−z/2 + tanh z at a hair below its fold: no root there, a slow place, told apart from a start that is merely lost."""
    fold = -np.arctanh(np.sqrt(0.5))
    lift = 0.5 * fold - np.tanh(fold) + 1e-7
    model = build(m=[[1.0], [0.0]], n=[[1.0, 1.0]], h=[0.0, np.arctanh(lift)], decay=0.5, nonlinearity=Tanh())
    found = find_fixed_points(model, search=Newton(starts=300))
    assert len(found.points) == 1 and found.certificate["slow"] + found.certificate["arrived"] <= 300
    assert found.certificate["slow"] > 0
