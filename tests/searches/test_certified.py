"""Certified against brute force over all linear regions, and its honesty where nothing can be proved."""

import numpy as np
import pytest

from nwb_lowrank.fixed_points import find_fixed_points
from nwb_lowrank.nonlinearities import Identity, ReLU
from nwb_lowrank.nonlinearities.base import Nonlinearity
from nwb_lowrank.searches import Certified
from nwb_lowrank.searches.base import Dynamics
from nwb_lowrank.searches.boxes import look
from nwb_lowrank.searches.pieces import Pieces
from searches.brute import Bump, brute_force, build, network, random_networks, same_points

ROUNDING = 1e-12


class Cubic(Nonlinearity):
    """Smooth, and silent about where it has a given slope."""

    def forward(self, x):
        return (x + self.h) ** 3

    def slope(self, x):
        return 3 * (x + self.h) ** 2


def drives(model, u):
    return model.w.detach().double().numpy() @ u


def test_clipped_relu_equals_brute_force():
    several = on_kink = 0
    for model in random_networks(240):
        u = np.full(model.inputs, 0.7)
        truth, found = brute_force(model, drives(model, u)), find_fixed_points(model, u=u)
        assert found.complete and same_points(found.points, truth), found.certificate
        # With every h < 0 and no input, 0 is a fixed point on a kink of every unit: a root, but no degree.
        kinks = any(found.certificate["on_kink"])
        assert found.certificate["degree_sum"] == (None if kinks else 1)
        several, on_kink = several + (len(truth) > 1), on_kink + kinks
    assert several >= 50 and on_kink >= 3  # so that the test says something


def test_relu_equals_brute_force_inside_the_region():
    several = none = 0
    for model in random_networks(120, nonlinearity=ReLU()):
        u, box = np.full(model.inputs, 0.7), np.array([np.full(model.rank, -5.0), np.full(model.rank, 6.0)])
        truth = brute_force(model, drives(model, u), box)
        found = find_fixed_points(model, u=u, search=Certified(region=box.tolist()))
        assert found.complete and same_points(found.points, truth), found.certificate
        assert found.certificate["degree_sum"] is None and "not bounded" in found.certificate["degree_note"]
        several, none = several + (len(truth) > 1), none + (len(truth) == 0)
    assert several >= 15 and none >= 15


def test_a_nonlinearity_it_has_never_seen():
    several = 0
    for model in random_networks(60, nonlinearity=Bump(), most=4):
        truth, found = brute_force(model, drives(model, np.zeros(model.inputs))), find_fixed_points(model)
        assert found.complete and found.certificate["degree_sum"] == 1 and same_points(found.points, truth), found.certificate
        several += len(truth) > 1
    assert several >= 10


def test_lines_enclose_the_nonlinearity():
    """|φ(x) − line| ≤ spread at random points of random boxes: what the whole proof rests on."""
    random = np.random.default_rng(0)
    for nonlinearity in (ReLU(), Bump(), None):
        dynamics = Dynamics.of(network(3, 20, 0, nonlinearity=nonlinearity))
        centre, half = random.normal(size=(50, 3)), random.exponential(size=(50, 3))
        pieces = Pieces.of(dynamics, (centre - half).min(0), (centre + half).max(0))
        slope, value, spread, stray, bent = pieces.secants(centre, half)
        z = centre + half * random.uniform(-1, 1, size=(200, 50, 3))
        line = value + slope * ((z - centre) @ pieces.m.T)
        assert (np.abs(pieces.phi(z @ pieces.m.T + pieces.drive) - line) <= spread + ROUNDING).all()
        assert (spread[~bent] == 0).all() and (stray[~bent] == 0).all()
        whole = z @ pieces.linear.T + pieces.phi(z @ pieces.m.T + pieces.drive) @ pieces.n.T + pieces.constant
        np.testing.assert_allclose(whole, dynamics.change(z), atol=ROUNDING)


def test_shrinking_a_box_keeps_every_fixed_point_in_it():
    """Random boxes around known points, isolated ones and those of a continuum, where the linear system is singular."""
    random = np.random.default_rng(1)
    line = build(m=[[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]], n=[[0.5, -0.5, 0.0], [0.0, 0.0, 0.3]], h=np.ones(3), decay=0.5)
    on_line = np.stack([random.uniform(-1, 0, 20), np.full(20, 0.6)], 1)
    worlds = [(line, on_line)] + [(model, brute_force(model)) for model in (network(2, 6, seed, gain=8) for seed in range(20))]
    for model, truth in worlds:
        dynamics = Dynamics.of(model)
        assert np.abs(dynamics.change(truth)).max() < 1e-9
        pieces = Pieces.of(dynamics, *(truth.min(0) - 20, truth.max(0) + 20))
        for width in (1e-3, 0.1, 1.0, 10.0):
            low, high = truth - width * random.uniform(size=truth.shape), truth + width * random.uniform(size=truth.shape)
            seen = look(pieces, low, high)
            assert len(seen.kept) == len(truth)
            assert (seen.low <= truth + 1e-9).all() and (seen.high >= truth - 1e-9).all()


def test_bistable():
    """−z/2 + φ/2 − 1/2 with φ rising from 0 to 2 over [−1/2, 0]: −1 and 1 attract, −1/3 parts them."""
    found = find_fixed_points(build(m=[[4.0], [0.0]], n=[[0.5, -0.5]], h=[2.0, 1.0], decay=0.5))
    np.testing.assert_allclose(found.points[:, 0], [-1, 1, -1 / 3], atol=ROUNDING)
    np.testing.assert_allclose(found.eigenvalues[:, 0], [0.5, 0.5, 2.5], atol=ROUNDING)
    assert found.complete and found.stable.tolist() == [True, True, False] and found.certificate["degree_sum"] == 1


@pytest.mark.parametrize("rank", [2, 3])
def test_independent_bistable_units_multiply(rank):
    """3^rank points; by symmetry the first secant systems are singular, which may cost boxes but no point."""
    one = np.array([-1, 1, -1 / 3])
    m, n, h = np.zeros((rank + 1, rank)), np.full((rank, rank + 1), -0.5), np.full(rank + 1, 2.0)
    m[:rank], n[:, :rank], h[rank] = 4 * np.eye(rank), 0.5 * np.eye(rank), 1.0
    found = find_fixed_points(build(m=m, n=n, h=h, decay=0.5))
    assert found.complete and found.certificate["degree_sum"] == 1
    assert same_points(found.points, np.stack(np.meshgrid(*[one] * rank), -1).reshape(-1, rank))


def test_boxes_left_unsettled_are_undecided(monkeypatch):
    monkeypatch.setattr("nwb_lowrank.searches.settle.MOST_SETTLED", 0)
    found = find_fixed_points(build(m=[[1.0]], n=[[0.7]], h=[0.0], decay=0.5, nonlinearity=ReLU(), extent=[1.0]))
    assert not found.complete and found.certificate["undecided"] > 0


def test_relu_without_a_fixed_point():
    found = find_fixed_points(build(m=[[1.0]], n=[[1.0]], h=[1.0], decay=0.5, nonlinearity=ReLU(), extent=[2.0]))
    assert found.complete and found.points.shape == (0, 1) and found.jacobian.shape == (0, 1, 1)
    assert found.certificate["region"] == dict(low=[-6.0], high=[6.0])  # three times the extent


def test_identity_is_one_linear_system():
    model = network(3, 5, 1, nonlinearity=Identity(), inputs=2, gain=0.3)
    u = np.array([0.3, -2.0])
    A = 0.8 * np.eye(3) + (model.n @ model.m).detach().numpy()
    b = model.n.detach().numpy() @ (model.nonlinearity.h.detach().numpy() + drives(model, u))
    found = find_fixed_points(model, u=u)
    np.testing.assert_allclose(found.points, np.linalg.solve(np.eye(3) - A, b)[None], atol=1e-10)
    assert found.complete and found.certificate["region"] is None


@pytest.mark.parametrize("h, count", [(0.0, 1), (1.0, 0)])
def test_identity_with_a_singular_system(h, count):
    """z = z/2 + (z + h)/2: every z or none."""
    found = find_fixed_points(build(m=[[1.0]], n=[[0.5]], h=[h], decay=0.5, nonlinearity=Identity()))
    assert not found.complete and len(found.points) == count and "singular" in found.certificate["reason"]


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_isolated_point_on_a_kink_is_proved(side):
    """−z/2 + n max(z, 0): 0 is the only root, on the kink, whether G changes sign there (n < 1/2) or just touches (n > 1/2)."""
    model = build(m=[[1.0]], n=[[0.5 + 0.2 * side]], h=[0.0], decay=0.5, nonlinearity=ReLU(), extent=[1.0])
    found = find_fixed_points(model)
    assert found.complete and found.points.tolist() == [[0.0]] and found.certificate["on_kink"] == [True]


def test_origin_on_every_kink():
    """With every h < 0 all units bend at 0, a fixed point that no linear region has in its inside."""
    several = 0
    for seed in range(30):
        weak = network(1 + seed % 3, 5, seed, gain=6)
        model = build(m=weak.m.detach().numpy(), n=weak.n.detach().numpy(), h=-weak.nonlinearity.h.detach().abs().numpy(), decay=0.8)
        truth, found = brute_force(model), find_fixed_points(model)
        assert found.complete and same_points(found.points, truth), found.certificate
        assert (np.abs(found.points[found.certificate["on_kink"]]) < 1e-300).all() and any(found.certificate["on_kink"])
        several += len(truth) > 1
    assert several >= 10


def test_units_that_do_nothing_or_do_the_same():
    """Silent, deaf and doubled units and kinks that cancel (h = 0) change nothing but the cost."""
    for seed in range(20):
        small = network(2, 4, seed, gain=5)
        m, n, h = (part.detach().numpy() for part in (small.m, small.n, small.nonlinearity.h))
        zero = np.zeros((1, 2))
        model = build(
            m=np.vstack([m, m, zero, m[:1], m[:1]]), n=np.hstack([n / 2, n / 2, n[:, :1], 0 * zero.T, n[:, 1:2]]),
            h=np.concatenate([h, h, [-1.0], h[:1], [0.0]]), decay=0.8,
        )  # fmt: skip
        one, other = find_fixed_points(small), find_fixed_points(model)
        assert one.complete and other.complete and same_points(other.points, one.points)
        assert one.certificate["degree_sum"] == other.certificate["degree_sum"]


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_of_the_latents_do_not_matter(scale):
    for seed in range(10):
        model = network(3, 6, seed, gain=6)
        m, n, h = (part.detach().numpy() for part in (model.m, model.n, model.nonlinearity.h))
        scaled = find_fixed_points(build(m=m / scale, n=n * scale, h=h, decay=0.8))
        assert scaled.complete and same_points(scaled.points / scale, find_fixed_points(model).points)


@pytest.mark.parametrize("h, complete, count", [(-1e-6, True, 2), (-1e-12, False, None), (1e-6, True, 0)])
def test_a_pair_that_is_born_on_a_kink(h, complete, count):
    """−z/2 + max(z + h, 0): 0 and −2h if h < 0, nothing if h > 0. Found while apart; said to be undecided when too close."""
    found = find_fixed_points(build(m=[[1.0]], n=[[1.0]], h=[h], decay=0.5, nonlinearity=ReLU(), extent=[1.0]))
    assert found.complete == complete
    if complete:
        truth = np.array([[0.0], [-2 * h]])[:count]
        assert same_points(found.points / abs(h), truth / abs(h), 1e-6)  # relative to their distance
    else:
        assert found.certificate["undecided"] > 0 and "could not be decided" in found.certificate["reason"]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_line_of_fixed_points_is_one_set(rank):
    """Every z_1 in [−1, 0] is fixed: −z/2 + (z + 1)/2 − 1/2 = 0."""
    m, n = np.zeros((4, rank)), np.zeros((rank, 4))
    m[0, 0], n[0, :2] = 1.0, [0.5, -0.5]
    if rank > 1:  # a second direction that is not idle
        m[2, 1], n[1, 2] = 1.0, 0.3
    found = find_fixed_points(build(m=m, n=n, h=np.ones(4), decay=0.5), search=Certified(max_boxes=50_000))
    (line,) = found.sets
    assert line["dimension"] == 1 and line["shape"] == "line" and line["kind"] == "attractor"
    np.testing.assert_allclose([line["low"][0], line["high"][0], line["length"]], [-1, 0, 1], atol=1e-6)
    assert len(found.points) == 0 and len(line["points"]) >= 2
    assert not found.complete and found.certificate["undecided"] > 0 and found.certificate["degree_sum"] is None
    assert "a line of fixed points" in found.certificate["reason"] and found.certificate["boxes"] < 5000  # not cut to dust


def test_stopping_early_is_said():
    model = network(3, 6, 3, gain=8)
    all_points, some = find_fixed_points(model), find_fixed_points(model, search=Certified(max_boxes=40))
    assert not some.complete and some.certificate["boxes"] == 40 and some.certificate["unexamined"] > 0
    assert "Raise max_boxes" in some.certificate["reason"] and 0 < some.certificate["left"] < 1
    # What Newton finds from the boxes that were left counts, but proves nothing.
    assert all(np.abs(all_points.points - point).max(1).min() < 1e-9 for point in some.points)


def test_faces_neither_lose_nor_double_a_point():
    """The bistable point 1 and −1/3 on a face, a corner or a cut of the region, and just outside."""
    model = build(m=[[4.0], [0.0]], n=[[0.5, -0.5]], h=[2.0, 1.0], decay=0.5)
    for region, count in [([[-1.0], [1.0]], 3), ([[-3.0], [1.0]], 3), ([[1.0], [1.0]], 1), ([[-1 + 1e-9], [1 - 1e-9]], 1)]:
        found = find_fixed_points(model, search=Certified(region=region))
        assert found.complete and len(found.points) == count, region
    assert "leaves out" in found.certificate["degree_note"]


def test_errors_name_the_mend():
    with pytest.raises(ValueError, match=r"never fitted. Pass a search with region="):
        find_fixed_points(network(2, 4, 0, nonlinearity=ReLU()))
    with pytest.raises(ValueError, match=r"piecewise linear or has `touching`; Cubic is not. Use Newton"):
        find_fixed_points(network(2, 4, 0, nonlinearity=Cubic()), search=Certified())
    with pytest.raises(ValueError, match=r"region must be \(low, high\), each 2 finite"):
        find_fixed_points(network(2, 4, 0), search=Certified(region=[[0.0], [1.0]]))
    with pytest.raises(ValueError, match="0 < tolerance < 1"):
        Certified(tolerance=0.0)
