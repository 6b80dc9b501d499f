"""Every search of the folder is examined."""

import json

import numpy as np
import pytest
import torch

import nwb_lowrank.searches
from nwb_lowrank.families import members
from nwb_lowrank.fixed_points import find_fixed_points
from nwb_lowrank.nonlinearities import ClippedReLU
from nwb_lowrank.recipe import build as rebuild
from nwb_lowrank.recipe import recipe
from nwb_lowrank.searches.base import Dynamics, Search
from searches.brute import brute_force, build, network

SEARCHES = list(members(nwb_lowrank.searches, Search).values())
pytestmark = pytest.mark.parametrize("search", SEARCHES, ids=lambda cls: cls.__name__)


def test_every_point_is_one_and_complete_means_all(search):
    """Against brute force: no search may invent a point, and only one that found all may say so."""
    for seed in range(8):
        model = network(2, 5, seed, gain=4)
        truth, found = brute_force(model), find_fixed_points(model, search=search())
        distance = np.abs(found.points[:, None] - truth[None]).max(2)
        assert (distance.min(1) < 1e-9).all() and len(set(distance.argmin(1))) == len(found.points)
        assert not found.complete or len(found.points) == len(truth)
        known = ~np.isnan(found.boxes).any((1, 2))  # each in its own box, where one was proved
        inside = ((found.points[known] >= found.boxes[known, 0] - 1e-9) & (found.points[known] <= found.boxes[known, 1] + 1e-9)).all(1)
        assert inside.all()


def test_candidates_are_arrays_with_a_json_certificate(search):
    dynamics = Dynamics.of(network(2, 5, 0, dtype=torch.float32))
    found = search().candidates(dynamics)
    assert found.points.shape[1:] == (2,) and found.points.dtype == np.float64 and isinstance(found.complete, bool)
    assert json.loads(json.dumps(found.certificate)) == found.certificate
    assert {"region", "reason"} <= found.certificate.keys()
    low, high = (np.array(found.certificate["region"][side]) for side in ("low", "high"))
    assert ((found.points >= low) & (found.points <= high)).all()


def test_no_fixed_point_in_the_region(search):
    """z = z/2 + max(z + 1, 0) − max(z, 0) has only z = 2, which no search may find in [−4, −3] or call complete elsewhere."""
    model = build(m=[[1.0]], n=[[1.0]], h=[1.0], decay=0.5)
    found = find_fixed_points(model, search=search(region=[[-4.0], [-3.0]]))
    assert found.points.shape in ((0, 1), (1, 1)) and np.allclose(found.points, 2.0)
    assert found.certificate["degree_sum"] is None  # the region leaves out the point


def test_a_region_that_does_not_fit_is_refused(search):
    model = build(m=[[1.0]], n=[[1.0]], h=[1.0], decay=0.5)
    for region in ([[1.0], [-1.0]], [[0.0, 0.0], [1.0, 1.0]], [[0.0], [np.inf]]):
        with pytest.raises(ValueError, match=r"region must be \(low, high\), each 1 finite numbers"):
            find_fixed_points(model, search=search(region=region))


def test_same_result_twice_and_no_global_randomness(search):
    model = network(2, 5, 1, gain=4)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, again = (find_fixed_points(model, search=search()) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state()) and (numpy_before == np.random.get_state()[1]).all()
    np.testing.assert_array_equal(first.points, again.points)
    assert first.certificate == again.certificate


def test_a_network_that_does_nothing(search):
    """n = 0, as a fresh model is: the invariant box is the origin alone."""
    model = build(m=[[1.0, 2.0]] * 3, n=np.zeros((2, 3)), h=[1.0, -1.0, 0.0], decay=0.5, nonlinearity=ClippedReLU())
    found = find_fixed_points(model, search=search())
    assert found.points.tolist() == [[0.0, 0.0]] and found.stable.tolist() == [True]


def test_recipe_round_trip(search):
    """A search can be written down and built again, arguments and all."""
    assert recipe(rebuild(recipe(search(region=[[0.0], [1.0]])))) == recipe(search(region=[[0.0], [1.0]]))
