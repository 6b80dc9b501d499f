"""Continua of smooth networks, known in closed form: the search names them as sets, isolated points stay points."""

import numpy as np
import pytest

from nwb_lowrank.dynamics.portrait import portrait
from nwb_lowrank.fixed_points import find_fixed_points
from nwb_lowrank.nonlinearities import Softplus, Tanh
from nwb_lowrank.searches import Certified, Newton
from nwb_lowrank.sources.teachers import line_teacher, ring_teacher
from tests.dynamics.nets import net

REGION = ([-2.0, -2.0], [2.0, 2.0])
SEARCHES = [Newton(starts=300, region=REGION), Certified(max_boxes=3000, region=REGION)]


def softplus_line():
    """softplus(x) − softplus(−x) = x: z₁ stays where it is, z₂ follows it."""
    return net([[1, 0], [-1, 0], [0, 1.0]], [[0.5, -0.5, 0], [0.1, -0.1, -0.2]], np.zeros(3), kind=Softplus)


def on_line(z):
    """z₂ = 0.5 z₂ + 0.1 z₁ − 0.2 softplus(z₂), solved for z₁."""
    return np.abs(5 * z[:, 1] + 2 * np.logaddexp(0, z[:, 1]) - z[:, 0])


@pytest.mark.parametrize("search", SEARCHES, ids=["newton", "certified"])
def test_a_softplus_line_is_one_set(search):
    found = find_fixed_points(softplus_line(), search=search)
    (line,) = found.sets
    assert (line["dimension"], line["shape"], line["kind"]) == (1, "line", "attractor")
    assert not len(found.points) and not found.complete
    assert on_line(np.array(line["points"])).max() < 1e-12
    assert line["low"][0] <= -1.95 and line["high"][0] >= 1.95  # ends are known to a share of the first steps


@pytest.mark.parametrize("search", SEARCHES, ids=["newton", "certified"])
def test_a_tanh_ring_is_one_set_and_its_middle_a_point(search):
    found = find_fixed_points(ring_teacher(), search=search)
    (ring,) = found.sets
    assert (ring["dimension"], ring["shape"], ring["kind"]) == (1, "ring", "attractor")
    np.testing.assert_allclose(np.linalg.norm(ring["points"], axis=1), 1.0, atol=1e-9)
    assert ring["length"] == pytest.approx(2 * 2**0.5, rel=1e-3)  # of the diagonal of its box
    assert found.kinds == ["repeller"] and np.abs(found.points).max() < 1e-9


def test_newton_finds_the_set_of_a_network_with_kinks():
    """Few starts are told apart, because a linear region counts once: two of them are walked to the ends, which lie on kinks."""
    found = find_fixed_points(line_teacher(), search=Newton(starts=200))
    (line,) = found.sets
    np.testing.assert_allclose(line["high"], [1, 3 / 7], atol=1e-3)
    np.testing.assert_allclose(line["low"], [-1, -3 / 7], atol=1e-3)
    assert not len(found.points)


def test_a_double_root_is_no_set():
    """x − tanh x starts with x³/3: I − J is singular at 0, which is isolated all the same."""
    found = find_fixed_points(net([[1.0]], [[0.5]], [0.0], kind=Tanh), search=Newton(starts=50))
    assert not [one for one in found.sets if one["dimension"]]
    assert len(found.points) >= 1 and np.abs(found.points).max() < 1e-4


def test_a_set_that_no_orbit_reaches_is_an_attractor_of_the_portrait():
    model = ring_teacher()
    points = find_fixed_points(model, search=Newton(starts=300))
    still = np.zeros((2, 3, 2))  # latents that rest on the unstable middle
    found = portrait(model, still + 1e-300, bin_width=0.02, fixed_points=points, cycles=False, noise=False)
    (ring,) = [one for one in found.attractors if one.kind == "ring"]
    assert ring.evidence["length"] == pytest.approx(2 * np.pi, rel=0.02)
    assert found.name == "ring attractor"
