"""Bifurcations of normal forms embedded in small networks: where they are is known in closed form."""

import numpy as np
import pytest

from nwb_lowrank.dynamics.continuation import continue_fixed_points
from nwb_lowrank.dynamics.parameters import along, model_at
from nwb_lowrank.fixed_points import find_fixed_points
from nwb_lowrank.nonlinearities import ClippedReLU
from nwb_lowrank.searches.base import Dynamics
from nwb_lowrank.sources.synthetic import random_teacher

from .nets import net


def events(branches, word):
    """(value, point) of every event with that word in its name."""
    return [(v, z) for v, z, e in zip(branches.value, branches.points, branches.event) if word in str(e)]


def on_equation(model, branches, name):
    """Every row of the branches solves F(z, p) = z for the model that has p set."""
    family = along(model, name)
    for value, point in zip(branches.value[::7], branches.points[::7]):
        assert np.abs(family.at(value).change(point)).max() < 1e-9


def test_saddle_nodes():
    """z ← z/2 + tanh(z + u): folds where 2 sech²(z + u) = 1, that is z = ∓ √2, u = ± (√2 − artanh(1/√2))."""
    model = net([[1.0]], [[1.0]], [0.0], w=[[1.0]])
    found = continue_fixed_points(model, "input 0", -2, 2)
    at = np.sqrt(2) - np.arctanh(1 / np.sqrt(2))
    folds = sorted((v, z[0]) for v, z in events(found, "fold"))
    np.testing.assert_allclose(folds, [(-at, np.sqrt(2)), (at, -np.sqrt(2))], atol=1e-6)
    assert len(np.unique(found.branch)) == 1 and found.checks["found"] == found.checks["on_branches"] == [1, 1, 3, 1, 1]
    between = (found.value > -at + 1e-3) & (found.value < at - 1e-3) & (np.abs(found.points[:, 0]) < np.sqrt(2) - 1e-2)
    assert between.any() and not found.stable[between].any()
    on_equation(model, found, "input 0")


def test_pitchfork():
    """z ← z/2 + g tanh z: at g = 1/2 the origin loses its stability and two points leave it."""
    found = continue_fixed_points(net([[1.0]], [[1.0]], [0.0]), "gain", 0.1, 2)
    assert found.checks["found"] == found.checks["on_branches"] == [1, 3, 3, 3, 3]
    assert {event for event in found.event if event and event != "end"} == {"branch point"}
    for value, point in events(found, "branch point"):
        assert abs(value - 0.5) < 1e-6 and abs(point[0]) < 2e-3  # z grows with the root of g − 1/2
    origin = np.abs(found.points[:, 0]) < 1e-12
    np.testing.assert_array_equal(found.stable[origin], found.value[origin] < 0.5)


def test_period_doubling():
    """z ← z/2 − g tanh z: the eigenvalue 1/2 − g at the origin is −1 at g = 3/2."""
    found = continue_fixed_points(net([[1.0]], [[-1.0]], [0.0]), "gain", 0.1, 2)
    ((value, point),) = events(found, "flip")
    assert abs(value - 1.5) < 1e-9 and abs(point[0]) < 1e-9


@pytest.mark.parametrize("angle", [0.6, 1.0, 2.0])
def test_neimark_sacker(angle):
    """z ← z/2 + g R(θ) tanh z: |1/2 + g e^{iθ}| = 1 at g = −cos θ / 2 + √(cos² θ / 4 + 3/4)."""
    c, s = np.cos(angle), np.sin(angle)
    found = continue_fixed_points(net(np.eye(2), [[c, -s], [s, c]], [0.0, 0.0]), "gain", 0.1, 2, searches=1)
    ((value, _),) = events(found, "Neimark")
    assert abs(value - (-c / 2 + np.sqrt(c**2 / 4 + 0.75))) < 1e-9


def test_border_collisions_of_a_ramp():
    """z ← z/2 + ramp(z + u), ramp(x) = min(max(x, −1), 1): z = ± 2 outside, z = −2u inside, which meet at kinks at u = ∓ 1."""
    model = net([[1.0], [1.0], [0.0]], [[1.0, -1.0, -1.0]], [1.0, -1.0, 1.0], w=[[1.0], [1.0], [0.0]], kind=ClippedReLU)
    found = continue_fixed_points(model, "input 0", -2, 2)
    folds = sorted((v, z[0]) for v, z in events(found, "border collision: nonsmooth fold"))
    np.testing.assert_allclose(folds, [(-1, 2), (1, -2)], atol=1e-10)
    assert len(np.unique(found.branch)) == 1
    assert not events(found, "persistence")  # at the ramp's middle two kinks cancel
    assert found.checks["found"] == found.checks["on_branches"]
    on_equation(model, found, "input 0")


def test_border_collision_flip():
    """z ← z/2 − 2 relu(z + u) (and −1): the slope jumps from 1/2 through −1 to −3/2 where the point meets the kink."""
    from nwb_lowrank.nonlinearities import ReLU
    from nwb_lowrank.searches import Certified

    model = net([[1.0], [0.0]], [[-2.0, -1.0]], [0.0, 1.0], w=[[1.0], [0.0]], kind=ReLU)
    found = continue_fixed_points(model, "input 0", 0, 4, search=Certified(region=([-20], [20])))
    ((value, point),) = events(found, "border collision")
    assert "flip" in [str(e) for e in found.event if "border" in str(e)][0]
    assert abs(value - 2) < 1e-10 and abs(point[0] + 2) < 1e-10  # z = −2 below, so it meets the kink at u = 2


@pytest.mark.parametrize("seed", range(3))
def test_no_fixed_point_is_missed_between_the_searches(seed):
    """At values where no branch was started, a fresh certified search finds exactly the points on the branches."""
    model = random_teacher(rank=2, units=24, gain=2.0, seed=seed)
    found = continue_fixed_points(model, "gain", 0.4, 1.6, searches=7)
    assert all(found.checks["complete"]) and found.checks["found"] == found.checks["on_branches"]
    family = along(model, "gain")
    for value in (0.55, 0.93, 1.31):
        changed, u = model_at(model, "gain", value)
        points = find_fixed_points(changed, u=u).points
        crossing = 0
        for branch in np.unique(found.branch):
            q = found.value[found.branch == branch] - value
            crossing += int((q[:-1] * q[1:] < 0).sum())
        assert crossing == len(points)
        assert np.abs(family.at(value).change(points)).max() < 1e-9


@pytest.mark.parametrize("name", ["input 1", "decay", "gain", "h 2", "m 1 0", "n 1 2"])
def test_families_are_the_model_with_one_number_changed(name):
    """Their dynamics equal those of a model with the number set, and `slope` is the derivative in it."""
    random = np.random.default_rng(0)
    model = net(random.normal(size=(4, 2)), random.normal(size=(2, 4)), random.normal(size=4), w=random.normal(size=(4, 2)), a=0.7)
    u, z = np.array([0.3, -0.2]), random.normal(size=2)
    family = along(model, name, u)
    for value in (family.now, 0.4):
        changed, at = model_at(model, name, value, u)
        np.testing.assert_allclose(family.at(value).change(z), Dynamics.of(changed, at).change(z), atol=1e-14)
        step = 1e-6
        difference = (family.at(value + step).change(z) - family.at(value - step).change(z)) / (2 * step)
        np.testing.assert_allclose(family.at.slope(family.at(value), z), difference, atol=1e-8)
    np.testing.assert_allclose(family.at(family.now).change(z), Dynamics.of(model, u).change(z), atol=1e-14)


@pytest.mark.parametrize("name", ["input 0", "speed", "h", "m 9 0", "h x"])
def test_unknown_parameters_are_refused(name):
    with pytest.raises(ValueError, match="along: expected one of"):
        along(net([[1.0]], [[1.0]], [0.0]), name)


def test_a_range_that_is_none_is_refused():
    with pytest.raises(ValueError, match="low < high"):
        continue_fixed_points(net([[1.0]], [[1.0]], [0.0]), "gain", 1, 1)
