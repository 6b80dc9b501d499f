"""Cycles and rotation numbers of maps whose cycles are known."""

import numpy as np
import pytest
import torch

from nwb_lowrank.dynamics.circles import closed_curve, rotation, winding
from nwb_lowrank.dynamics.cycles import find_cycles, shoot
from nwb_lowrank.dynamics.orbits import orbit

from .nets import lozi, net, of, tent


def test_all_cycles_of_the_tent_map():
    """x ← 2 min(x, 1 − x) has 2^k points of F^k(x) = x, hence 1, 2, 3, 6 cycles of period 2, 3, 4, 5; every multiplier is ± 2^k."""
    random = np.random.default_rng(0)
    found = find_cycles(of(tent(2.0)), random.uniform(0, 1, (300, 1)), longest=5, steps=30)
    assert [sum(cycle.period == k for cycle in found) for k in (2, 3, 4, 5)] == [1, 2, 3, 6]
    for cycle in found:
        np.testing.assert_allclose(np.abs(cycle.multipliers), 2.0**cycle.period, rtol=1e-12)
        numerators = cycle.points * (2**cycle.period + 1), cycle.points * (2**cycle.period - 1)
        whole = [np.abs(x - np.round(x)).max() < 1e-12 for x in numerators]  # every such point is j / (2^k ± 1)
        assert any(whole) and not cycle.stable


@pytest.mark.parametrize("model, starts", [(lozi(), (60, 2)), (tent(1.9), (60, 1))], ids=["lozi", "tent"])
def test_every_cycle_closes_in_the_model_itself(model, starts):
    """Iterated by the torch model from each of its points, a cycle returns, and not earlier; none is given twice."""
    random = np.random.default_rng(1)
    found = find_cycles(of(model), random.uniform(0.2, 0.6, starts), longest=8, steps=100)
    assert len(found) >= 5
    for cycle in found:
        z = torch.from_numpy(cycle.points)
        for _ in range(cycle.period):
            z = model.step(z, z.new_zeros(len(z), 0)).detach()
        growth = np.abs(cycle.multipliers).max() + 1
        np.testing.assert_allclose(z.numpy(), cycle.points, atol=1e-13 * growth)
        assert cycle.residual < 1e-14
        apart = np.linalg.norm(cycle.points[:, None] - cycle.points[None], axis=-1)
        assert apart[~np.eye(cycle.period, dtype=bool)].min() > 1e-7
    firsts = [(cycle.period, *np.sort(cycle.points[:, 0]).round(8)) for cycle in found]
    assert len(set(firsts)) == len(firsts)


def test_the_two_cycle_of_a_flipped_tanh_map():
    """F(z) = z/2 − g tanh z: the 2-cycle ± z with 3/2 z = g tanh z, and its multiplier (1/2 − g (1 − tanh² z))²."""
    g = 1.8
    (cycle,) = find_cycles(of(net([[1.0]], [[-g]], [0.0])), np.array([[0.3], [0.8]]), longest=4, steps=60)
    z = abs(cycle.points[0, 0])
    assert cycle.period == 2 and cycle.stable
    assert abs(1.5 * z - g * np.tanh(z)) < 1e-13
    np.testing.assert_allclose(cycle.multipliers, (0.5 - g * (1 - np.tanh(z) ** 2)) ** 2, rtol=1e-10)


def test_a_turning_cycle_knows_its_turns():
    """Rotation by 2/7 of a turn onto radius 1: the orbit closes after 7 bins and two turns, so one turn takes 3.5 bins."""
    points = np.exp(2j * np.pi * 2 / 7 * np.arange(7))
    assert winding(np.stack([points.real, points.imag], 1)) == 2
    assert winding(np.stack([points.real, points.imag], 1)[::-1]) == 2
    assert winding(np.array([[0.0, 0.0], [1.0, 1.0]])) == 0


def test_shooting_gives_nothing_back_that_is_no_cycle():
    assert len(shoot(of(net([[1.0]], [[0.1]], [0.0])), np.random.default_rng(0).normal(size=(5, 3, 1)))) in range(6)
    path = shoot(of(net([[1.0]], [[0.1]], [0.0])), np.random.default_rng(0).normal(size=(5, 3, 1)))
    np.testing.assert_allclose(path, 0.0, atol=1e-12)  # its only cycle is the fixed point 0


@pytest.mark.parametrize("turns", [(5**0.5 - 1) / 20, 0.3, 1 / 33.3333])
def test_rotation_numbers(turns):
    """Of a deformed circle: to 1e-8 by the weighted average, and the curve through it is found."""
    phase = 2 * np.pi * turns * np.arange(4000)
    path = np.stack([2 * np.cos(phase) + 0.1 * np.cos(2 * phase), np.sin(phase), 0.3 * np.sin(3 * phase)], 1)
    found, error = rotation(path)
    assert abs(found - turns) < 1e-8 and error < 1e-6
    curve, residual = closed_curve(path, found)
    assert residual < 1e-6
    assert abs(np.abs(curve[:, 0]).max() - 2.1) < 0.01


def test_no_rotation_where_nothing_turns():
    line = np.linspace(-1, 1, 200)[:, None] * np.ones(2) + np.random.default_rng(0).normal(0, 0.01, (200, 2))
    assert np.isnan(rotation(line)[0]) and np.isnan(rotation(line[:, :1])[0])


def test_orbits_that_diverge_become_nan():
    path = orbit(of(net([[1.0]], [[3.0]], [0.0], kind=type(tent(1.5).nonlinearity))), np.array([[1.0], [-1.0]]), 200)
    assert np.isnan(path[-1, 0]).all() and np.isfinite(path[-1, 1]).all()
