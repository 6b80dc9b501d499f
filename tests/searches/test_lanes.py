"""What compiled code sums over all units at once is what NumPy sums, with all units in its table or only those that bend."""

import numpy as np
import pytest

from nwb_lowrank.nonlinearities import ReLU
from nwb_lowrank.searches import bisection
from nwb_lowrank.searches.base import Dynamics
from nwb_lowrank.searches.pieces import LANES, NOWHERE, Pieces
from searches.brute import network

pytestmark = pytest.mark.skipif(not bisection.compiled(), reason="numba is not here")


def with_numpy(field, centre, half):
    slope, value, spread, stray, _ = field.secants(centre[None], half[None])
    A = field.linear + field.n * slope @ field.m
    return A, field.linear @ centre + field.n @ value[0] + field.constant, np.abs(field.n) @ spread[0], spread[0], stray[0] * (
        np.abs(field.m) @ half + field.slack
    )  # fmt: skip


def room(table, rank):
    return (np.empty(rank), np.empty(rank**2), np.empty(rank)), (np.empty(table.shape[1]), np.empty(table.shape[1]))


@pytest.mark.parametrize("rank, units", [(1, 3), (2, 8), (3, 41), (4, 64), (5, 97)])
@pytest.mark.parametrize("kind", ["clipped_relu", "relu"])
def test_lines_and_smaller_tables(rank, units, kind):
    """In a box, then in a part of it with a table of the units that bend in the whole; up to rounding."""
    from nwb_lowrank.searches import lanes

    random = np.random.default_rng(rank)
    dynamics = Dynamics.of(network(rank, units, 0, **({"nonlinearity": ReLU()} if kind == "relu" else {})))
    field = Pieces.of(dynamics, np.full(rank, -4.0), np.full(rank, 4.0))
    table, dims, kinks = field.table(), (0.0,) * rank, (0.0,) * len(field.kinks)
    for width in 10 ** random.uniform(-3, 0.3, size=8):
        centre, half = random.uniform(-2, 2, size=rank), width * random.uniform(0.2, 1, size=rank)
        settled, blocks = np.append(field.linear.ravel(), field.constant), -(-len(field.m) // LANES)
        units_now = table
        for box in ((centre, half), (centre + half / 4, half / 3)):
            sums, bends = room(table, rank)
            many = lanes.secants(dims, kinks, units_now, blocks, box, settled, sums, bends)
            A, value, spread, off, loose = with_numpy(field, *box)
            assert many == (loose > 0).sum()
            for mine, true in ((sums[1].reshape(rank, rank), A), (sums[0], value), (sums[2], spread)):
                np.testing.assert_allclose(mine, true, rtol=1e-11, atol=1e-11)
            for mine, true in zip(bends, (off, loose), strict=True):
                assert np.allclose(np.sort(mine[: LANES * blocks][bends[1][: LANES * blocks] > 0]), np.sort(true[loose > 0]), atol=1e-11)
            smaller = np.empty_like(table)
            lanes.settle(dims, kinks, units_now, blocks, box[0], bends[1], settled)
            blocks, units_now = lanes.gather(units_now, blocks, bends[1], smaller), smaller
            assert blocks == -(-many // LANES)


def test_gathering_in_place_and_idle_units():
    """Gathering may overwrite what it reads, and fills up with units that do nothing."""
    from nwb_lowrank.searches import lanes

    field = Pieces.of(Dynamics.of(network(2, 30, 1)), np.full(2, -4.0), np.full(2, 4.0))
    table = field.table()
    assert table.shape[1] // LANES % 2 == 1 and table.shape[1] > 30
    loose = np.zeros(table.shape[1])
    kept = [1, 4, 5, 9, 12, 13, 20, 21, 22, 28, 29]
    loose[kept] = 1.0
    other = np.empty_like(table)
    assert lanes.gather(table, 4, loose, other) == lanes.gather(table, 4, loose, table) == 2
    columns = [*range(16), -1]
    np.testing.assert_array_equal(other[:, columns], table[:, columns])
    np.testing.assert_array_equal(table[:, :11], field.table()[:, kept])
    idle = table[:, [11, 12, 13, 14, 15, -1]]
    assert (idle[[0, 1, 2, 3, 4, 6, 7]] == 0).all() and (idle[5] == 1).all() and (idle[8:10] == NOWHERE).all() and (idle[10:] == 0).all()


@pytest.mark.parametrize("rank, units", [(1, 3), (2, 30), (4, 97)])
@pytest.mark.parametrize("kind", ["clipped_relu", "relu"])
def test_plane_lies_above(rank, units, kind):
    """y · (F(z) − z) ≤ the plane at corners and inside of boxes of any size; without a bend they are equal."""
    from nwb_lowrank.searches import lanes

    random = np.random.default_rng(rank)
    dynamics = Dynamics.of(network(rank, units, 0, **({"nonlinearity": ReLU()} if kind == "relu" else {})))
    field = Pieces.of(dynamics, np.full(rank, -9.0), np.full(rank, 9.0))
    settled, blocks = np.append(field.linear.ravel(), field.constant), -(-len(field.m) // LANES)
    dims, kinks, above = (0.0,) * rank, (0.0,) * len(field.kinks), np.empty(rank + 1)
    gaps = []
    for width in 10 ** random.uniform(-9, 0.8, size=60):
        centre, half, y = random.uniform(-2, 2, size=rank), width * random.uniform(0.2, 1, size=rank), random.normal(size=rank)
        lanes.envelope(dims, kinks, field.table(), blocks, (centre, half), settled, y, above)
        inside = np.concatenate([random.uniform(-1, 1, (40, rank)), random.choice([-1.0, 1.0], (40, rank))]) * half
        gap = above[0] + inside @ above[1:] - dynamics.change(centre + inside) @ y
        assert gap.min() > -1e-12
        gaps.append(np.abs(gap).max())
    assert min(gaps) < 1e-12
