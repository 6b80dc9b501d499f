"""Planes, basins and slow points where geometry is known."""

import numpy as np
import pytest

from nwb_lowrank.dynamics.attractors import attractors_of
from nwb_lowrank.dynamics.flow import basins, flow_in_plane
from nwb_lowrank.dynamics.slow import find_slow_points
from nwb_lowrank.fixed_points import find_fixed_points
from nwb_lowrank.sources.synthetic import decision_teacher, random_teacher

from .nets import net, of


def distance(points, curves):
    """(P,) from each point to the nearest vertex of the curves."""
    vertices = np.concatenate(curves)
    return np.linalg.norm(points[:, None] - vertices[None], axis=-1).min(1)


@pytest.mark.parametrize("seed", range(3))
def test_nullclines_cross_at_the_fixed_points(seed):
    """In two dimensions both pass through every fixed point, to a grid cell; and the velocity is the map's step in seconds."""
    model = random_teacher(rank=2, units=24, gain=1.5, seed=seed)
    dynamics, points = of(model), find_fixed_points(model).points
    low, high = points.min(0) - 1, points.max(0) + 1
    plane = flow_in_plane(dynamics, np.zeros(2), np.eye(2), low, high, bin_width=0.05, grid=300)
    cell = np.hypot(*((high - low) / 299))
    for curves in plane.nullclines():
        assert (distance(points, curves) < 1.5 * cell).all()
    np.testing.assert_allclose(plane.velocity * 0.05, dynamics.change(plane.z), atol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(plane.velocity, axis=-1), plane.speed, rtol=1e-10)


def test_basins_of_the_switch():
    """The decision network is odd, F(−z) = −F(z): so are its basins; and a basin is where the orbit of the map itself goes."""
    model = decision_teacher()
    dynamics = of(model)
    random = np.random.default_rng(0)
    attractors, _, _ = attractors_of(dynamics, random.normal(size=(50, 2)), find_fixed_points(model))
    plane = flow_in_plane(dynamics, np.zeros(2), np.eye(2), [-2, -2], [2, 2], bin_width=0.02, grid=40)
    owner = basins(dynamics, plane, attractors)
    assert set(np.unique(owner)) == {0, 1}
    np.testing.assert_array_equal(owner[::-1, ::-1], 1 - owner)
    end = plane.z
    for _ in range(1000):
        end = end + dynamics.change(end)
    np.testing.assert_allclose(end, np.stack([a.points[0] for a in attractors])[owner], atol=1e-6)


def test_the_ghost_of_a_saddle_node():
    """z ← z/2 + tanh(z + u) past its fold has one slow point where 2 sech²(z + u) = 1: there F(z) − z is stationary."""
    u = 0.6  # the fold is at 0.5328
    found = find_slow_points(of(net([[1.0]], [[1.0]], [0.0], w=[[1.0]]), [u]), np.random.default_rng(0).uniform(-3, 3, (60, 1)))
    z = -np.arctanh(1 / np.sqrt(2)) - u
    assert len(found.points) == 1 and abs(found.points[0, 0] - z) < 1e-4
    np.testing.assert_allclose(found.speed, abs(-0.5 * z + np.tanh(z + u)), rtol=1e-6)
    np.testing.assert_allclose(found.eigenvalues, 1.0, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_slow_points_are_minima_and_no_roots(seed):
    """Of a piecewise-linear network: none of 2,000 places around is clearly slower, and Newton goes elsewhere."""
    model = random_teacher(rank=2, units=24, gain=1.5, seed=seed)
    dynamics = of(model)
    random = np.random.default_rng(seed)
    found = find_slow_points(dynamics, random.normal(0, 2, (100, 2)))
    roots = find_fixed_points(model).points
    for z, speed in zip(found.points, found.speed):
        around = z + 2e-3 * random.normal(size=(2000, 2))
        assert np.linalg.norm(dynamics.change(around), axis=1).min() > speed * (1 - 1e-4)
        assert np.linalg.norm(roots - z, axis=1).min() > 1e-2 and speed > 1e-6


def test_planes_that_are_none_are_refused():
    dynamics = of(decision_teacher())
    with pytest.raises(ValueError, match="axes"):
        flow_in_plane(dynamics, np.zeros(2), np.eye(3), [0, 0], [1, 1], bin_width=0.02)
    with pytest.raises(ValueError, match="low < high"):
        flow_in_plane(dynamics, np.zeros(2), np.eye(2), [1, 0], [1, 1], bin_width=0.02)
