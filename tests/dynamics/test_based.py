"""A portrait in another basis is that of the network in that basis; inputs in time decide basins."""

import copy

import numpy as np
import pytest
import torch

from nwb_lowrank.dynamics.based import in_basis
from nwb_lowrank.dynamics.portrait import portrait
from nwb_lowrank.reading import Reading
from nwb_lowrank.sources.synthetic import decision_teacher
from nwb_lowrank.sources.teachers import line_teacher

from .nets import net

A = np.array([[2.0, 1.0], [-0.5, 1.5]])


def turned(model):
    """The same network in x = A z."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        model.m.copy_(model.m @ torch.from_numpy(np.linalg.inv(A)).to(model.m))
        model.n.copy_(torch.from_numpy(A).to(model.n) @ model.n)
    return model


@pytest.mark.parametrize("make", [decision_teacher, line_teacher])
def test_it_is_the_portrait_of_the_turned_network(make):
    model = make().double()
    z = np.random.default_rng(0).normal(size=(6, 20, 2))
    here = in_basis(portrait(model, z, bin_width=0.02, cycles=False, noise=False), Reading(A))
    there = portrait(turned(model), z @ A.T, bin_width=0.02, cycles=False, noise=False)
    assert here.name == there.name
    np.testing.assert_allclose(np.sort(here.fixed_points.points, 0), np.sort(there.fixed_points.points, 0), atol=1e-9)
    for one, other in zip(here.attractors, there.attractors):
        assert one.share == other.share
        if "length" in one.evidence:  # each walked in its own steps
            assert one.evidence["length"] == pytest.approx(other.evidence["length"], rel=0.05)
        else:
            assert one.evidence == other.evidence
    assert "the reading stored with the fit" in here.text() and "the network's own basis" in there.text()
    np.testing.assert_allclose((z @ A.T - here.centre) @ here.axes.T, (z - portrait_centre(z)) @ (here.axes @ A).T, atol=1e-9)


def portrait_centre(z):
    return z.reshape(-1, 2).mean(0)


def test_inputs_that_are_still_to_come_decide_the_basin():
    """x ← 0.5 x + 0.6 tanh(2 x + u): two attractors; from the lower one a late push goes to the upper one, an early one is over."""
    model = net([[2.0]], [[0.6]], [0.0], w=[[5.0]], a=0.5)
    z = np.full((3, 12, 1), -1.0)
    inputs = np.zeros((3, 12, 1))
    inputs[1, 6:9] = 2.0  # up, in the middle of trial 1
    inputs[2, 0] = 2.0  # the input of bin 0 is part of z_0 already
    found = portrait(model, z, inputs=inputs, bin_width=0.1, cycles=False, noise=False)
    upper = int(np.argmax([one.points[0, 0] for one in found.attractors]))
    assert found.settings["inputs_in_time"]
    rows = list(zip(found.visits.trial.tolist(), (found.visits.attractor == upper).tolist(), found.visits.first.tolist()))
    assert rows == [(0, False, 0), (1, True, 0), (1, False, 8), (2, False, 0)]
    with pytest.raises(ValueError, match="inputs must be"):
        portrait(model, z, inputs=inputs[:2], bin_width=0.1)
