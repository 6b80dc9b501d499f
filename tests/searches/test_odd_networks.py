"""Certified on networks with something special about them: no point lost, none invented, every continuum named."""

import numpy as np
import pytest

from nwb_lowrank.fixed_points import find_fixed_points
from nwb_lowrank.nonlinearities import ClippedReLU, ReLU
from nwb_lowrank.searches import Certified
from searches.brute import brute_force_sets, odd_network, same_points


def check(seed, nonlinearity, **options):
    """Raise unless Certified and brute force agree on one network; the number of isolated points and of sets."""
    model = odd_network(seed, nonlinearity)
    box = None
    if isinstance(nonlinearity, ReLU):
        box = [[-5.03] * model.rank, [6.01] * model.rank]
    truth, lines = brute_force_sets(model, box=None if box is None else np.array(box))
    found = find_fixed_points(model, search=Certified(region=box, **options))
    sets = [one for one in found.sets if one["dimension"]]
    assert same_points(found.points, truth, 1e-7), (seed, found.points, truth, found.certificate["reason"])
    assert found.complete == (not lines) and bool(sets) == bool(lines), (seed, found.certificate["reason"], lines)
    for low, high in lines:  # each piece lies in one of the sets
        assert any((low >= np.array(one["low"]) - 1e-4).all() and (high <= np.array(one["high"]) + 1e-4).all() for one in sets), seed
    for one in sets:  # and no set reaches further than the pieces
        low, high = np.min([low for low, _ in lines], 0), np.max([high for _, high in lines], 0)
        assert (np.array(one["low"]) >= low - 1e-4).all() and (np.array(one["high"]) <= high + 1e-4).all(), seed
    return len(truth), len(sets)


@pytest.mark.parametrize("kind", [ClippedReLU, ReLU])
def test_some(kind):
    counts = np.array([check(seed, kind()) for seed in range(32)])
    assert (counts[:, 0] > 1).sum() >= 3 and (counts[:, 1] > 0).sum() >= 3  # so that the test says something


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ClippedReLU, ReLU])
def test_a_thousand_each(kind):
    counts = np.array([check(seed, kind()) for seed in range(1000)])
    assert (counts[:, 0] > 1).sum() >= 100 and (counts[:, 1] > 0).sum() >= 100
