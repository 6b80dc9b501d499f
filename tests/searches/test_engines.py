"""Compiled code and NumPy give the same answers; a search can be stopped, watched and gone on with."""

import json

import numpy as np
import pytest
from scipy.optimize import brentq

from nwb_lowrank.fixed_points import find_fixed_points
from nwb_lowrank.nonlinearities import ReLU, Softplus, Tanh
from nwb_lowrank.searches import Certified, Newton, Regions, bisection
from nwb_lowrank.searches.base import Dynamics
from nwb_lowrank.searches.curves import Curves
from searches.brute import build, network, same_points

numba = pytest.mark.skipif(not bisection.compiled(), reason="numba is not here")


@numba
@pytest.mark.parametrize("rank, units, gain", [(2, 200, 20), (2, 90, 40)])
def test_compiled_and_numpy_agree(rank, units, gain):
    several = 0
    for seed in range(6):
        model = network(rank, units, seed, gain=gain)
        one, other = (find_fixed_points(model, search=Certified(compile=flag)) for flag in (True, False))
        assert one.complete and other.complete and same_points(one.points, other.points)
        assert one.certificate["degree_sum"] == other.certificate["degree_sum"] == 1
        several += len(one.points) > 1
    assert several >= 2


@numba
def test_compiled_from_the_first_box(monkeypatch):
    """Small networks too, on kinks and with ReLU, for which NumPy alone is used otherwise."""
    from searches.test_odd_networks import check

    monkeypatch.setattr(bisection, "SMALL_UNITS", 0)
    for seed in range(1, 48, 2):  # rank 2
        check(seed, None)


def test_without_numba_nothing_is_missing(monkeypatch):
    monkeypatch.setattr(bisection, "find_spec", {}.get)
    found = find_fixed_points(network(2, 100, 3, gain=20))
    assert found.complete and found.certificate["degree_sum"] == 1


@pytest.mark.slow
def test_regions_and_certified_agree():
    """200 networks of rank 2 with 8 to 128 units: independent ways to the same points."""
    several = 0
    for seed in range(200):
        model = network(2, (8, 16, 32, 64, 128)[seed % 5], seed, gain=(2, 8, 16, 32)[seed // 5 % 4])
        one, other = find_fixed_points(model, search=Regions()), find_fixed_points(model)
        assert one.complete and other.complete and same_points(one.points, other.points), seed
        several += len(one.points) > 1
    assert several >= 60


def test_regions_keeps_what_the_vertices_lose():
    """All h < 0: H lines through the origin, each with a parallel one; the origin itself is a fixed point on all of them."""
    for seed in range(12):
        weak = network(2, 8, seed, gain=8)
        model = build(m=weak.m.detach().numpy(), n=weak.n.detach().numpy(), h=-weak.nonlinearity.h.detach().abs().numpy(), decay=0.8)
        one, other = find_fixed_points(model, search=Regions()), find_fixed_points(model)
        assert same_points(one.points, other.points) and one.complete


def test_regions_errors_name_the_mend():
    for model, got in ((network(3, 5, 0), "ClippedReLU, rank 3"), (network(2, 5, 0, nonlinearity=Tanh()), "Tanh, rank 2")):
        with pytest.raises(ValueError, match=rf"this model has {got}. Use Certified\(\)"):
            find_fixed_points(model, search=Regions())


@pytest.mark.parametrize("kind", [Tanh, Softplus])
def test_lines_enclose_a_smooth_nonlinearity(kind):
    """|φ(x) − line| ≤ spread and |φ'(x) − slope| ≤ stray at many points of random boxes, from tiny to far into saturation."""
    random = np.random.default_rng(0)
    dynamics = Dynamics.of(network(2, 20, 0, nonlinearity=kind()))
    centre, half = 3 * random.normal(size=(300, 2)), 10 ** random.uniform(-9, 2, size=(300, 1)) * random.uniform(size=(300, 2))
    field = Curves.of(dynamics, (centre - half).min(0), (centre + half).max(0))
    slope, value, spread, stray, _ = field.secants(centre, half)
    t = np.concatenate([random.uniform(-1, 1, size=(400, 1, 2)), [[[-1.0, -1.0]], [[1.0, 1.0]], [[0.0, 0.0]]]])
    x = dynamics.currents(centre + half * t)
    line = value + slope * (x - dynamics.currents(centre))
    assert (np.abs(dynamics.rates(x) - line) <= spread).all()
    assert (np.abs(dynamics.slopes(x) - slope) <= stray + 1e-12).all()
    small = half.max(1) < 1e-4  # the gap closes with the square of the box
    assert (spread[small] <= (np.abs(field.m) @ half[small].T).T ** 2 + 1e-12 * (1 + np.abs(x).max())).all()


@pytest.mark.parametrize("kind", [Tanh, Softplus])
def test_smooth_networks_are_complete(kind):
    """Newton from a thousand starts finds no point that the proof leaves out, and the proof adds some."""
    several = 0
    for seed in range(12):
        model = network(1 + seed % 2, 12, seed, nonlinearity=kind(), gain=5)
        box = [[-6.0] * model.rank, [7.0] * model.rank]
        proved = find_fixed_points(model, search=Certified(region=box))
        found = find_fixed_points(model, search=Newton(region=box))
        inside = found.points[((found.points >= -6) & (found.points <= 7)).all(1)]
        assert proved.complete and same_points(proved.points, inside, 1e-8), (seed, proved.certificate["reason"])
        several += len(proved.points) > 1
    assert several >= (3 if kind is Tanh else 0)


def test_softplus_by_scalar_roots():
    """−z/2 + 3 softplus(z − 1) − 2: two roots, by bisection of the scalar equation."""
    model = build(m=[[1.0], [0.0]], n=[[3.0, -2.0 / np.log(1 + np.e)]], h=[-1.0, 1.0], decay=0.5, nonlinearity=Softplus(), extent=[5.0])
    truth = [brentq(lambda z: -0.5 * z + 3 * np.log1p(np.exp(z - 1)) - 2, *ends, xtol=1e-14) for ends in ((-15, -1), (-1, 15))]
    found = find_fixed_points(model)
    assert found.complete and same_points(found.points, np.array(truth)[:, None], 1e-11)
    assert not np.isnan(found.boxes).any()


def test_stopped_and_gone_on_with(tmp_path):
    """What a stopped search leaves in its file ends in the same points; another model's file is refused."""
    model, path = network(3, 6, 3, gain=8), str(tmp_path / "left.npz")
    whole, rounds = find_fixed_points(model), []
    first = find_fixed_points(model, search=Certified(max_boxes=60, state=path))
    assert not first.complete and 0 < first.certificate["left"] <= 1
    second = find_fixed_points(model, search=Certified(state=path), on_round=rounds.append)
    assert second.complete and same_points(second.points, whole.points) and second.certificate["boxes"] > 60
    assert rounds[-1].waiting == 0 and rounds[-1].left == 0 and rounds[-1].boxes == second.certificate["boxes"]
    with pytest.raises(ValueError, match="the same dynamics, input, region and tolerance"):
        find_fixed_points(network(3, 6, 4), search=Certified(state=path))


def test_a_time_limit_gives_what_there_is():
    model = network(3, 40, 3, gain=10)
    whole, some = find_fixed_points(model), find_fixed_points(model, search=Certified(budget=1e-6))
    assert not some.complete and "Stopped after 1e-06 seconds" in some.certificate["reason"]
    assert all(np.abs(whole.points - point).max(1).min() < 1e-9 for point in some.points)
    assert json.loads(json.dumps(some.certificate)) == some.certificate


def test_stability_on_a_kink_is_proved_or_left_open():
    """−z/2 + n max(z, 0) at 0: slopes 1/2 on the left, 1/2 + n on the right."""
    for n, kind, stable in ((0.3, "attractor, on a kink", True), (0.7, "undetermined, on a kink (0 to 1 unstable)", False)):
        found = find_fixed_points(build(m=[[1.0]], n=[[n]], h=[0.0], decay=0.5, nonlinearity=ReLU(), extent=[1.0]))
        assert found.kinds == [kind] and found.stable.tolist() == [stable]
    both = build(m=[[1.0], [-1.0]], n=[[1.0, -1.0]], h=[0.0, 0.0], decay=0.5, nonlinearity=ReLU(), extent=[1.0])
    assert find_fixed_points(both).stable.tolist() == [False]  # slope 3/2 on both sides


def test_a_plane_and_a_ring():
    """Two independent integrators: a square of fixed points. Its edge alone, as cells, closes on itself; half of it does not."""
    from nwb_lowrank.searches.continua import _curve

    m, n = np.array([[1.0, 0], [0, 0], [0, 1], [0, 0]]), np.array([[0.5, -0.5, 0, 0], [0, 0, 0.5, -0.5]])
    found = find_fixed_points(build(m=m, n=n, h=np.ones(4), decay=0.5), search=Certified(compile=False))
    (square,) = found.sets
    assert square["dimension"] == 2 and square["kind"] == "attractor" and not found.complete
    np.testing.assert_allclose([square["low"], square["high"]], [[-1, -1], [0, 0]], atol=1e-3)
    corners = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
    sides = [corners[i : i + 2] for i in range(4)]
    assert _curve(sides, np.zeros(2), np.ones(2)) == "ring" and _curve(sides[:3], np.zeros(2), np.ones(2)) == "line"
