"""Lyapunov exponents of maps whose exponents are known."""

import numpy as np
import pytest

from nwb_lowrank.dynamics.base import Spectrum
from nwb_lowrank.dynamics.lyapunov import lyapunov
from nwb_lowrank.dynamics.orbits import orbit

from .nets import linear, lozi, of, tent


def test_tent_map():
    """|F'| is 1.9 everywhere: the exponent is ln 1.9, without error."""
    (found,) = lyapunov(of(tent(1.9)), np.array([[0.3]]), steps=200, transient=10)
    np.testing.assert_allclose(found.exponents, np.log(1.9), rtol=1e-13)
    assert found.errors.max() < 1e-13


@pytest.mark.parametrize("radius, angle", [(0.9, 0.7), (1.0, 1.0), (1.02, 0.1)])
def test_rotation_with_growth(radius, angle):
    """A rotation times r: both exponents are ln r."""
    c, s = radius * np.cos(angle), radius * np.sin(angle)
    (found,) = lyapunov(of(linear([[c, -s], [s, c]])), np.array([[1.0, 0.0]]), steps=300, transient=0)
    np.testing.assert_allclose(found.exponents, np.log(radius), atol=1e-12)


def test_exponents_fall_and_are_those_of_the_eigenvalues():
    basis = np.array([[1.0, 0.3, 0.0], [0.0, 1.0, -0.5], [0.2, 0.0, 1.0]])
    matrix = basis @ np.diag([0.5, -0.9, 0.2]) @ np.linalg.inv(basis)
    (found,) = lyapunov(of(linear(matrix)), np.zeros((1, 3)), steps=400, transient=200)
    np.testing.assert_allclose(found.exponents, np.log([0.9, 0.5, 0.2]), atol=1e-10)


def test_lozi_map():
    """Areas shrink by b in every step: Σ λ = ln b exactly. λ₁ agrees with the parting of two near orbits, followed without QR."""
    dynamics = of(lozi(1.7, 0.5))
    (found,) = lyapunov(dynamics, np.array([[0.1, 0.1]]), steps=8000, transient=500)
    np.testing.assert_allclose(found.exponents.sum(), np.log(0.5), atol=1e-12)
    start, shift, growth = orbit(dynamics, np.array([[0.1, 0.1]]), 500)[-1], np.array([[1e-9, 0.0]]), []
    for _ in range(4000):
        pair = np.concatenate([start, start + shift])
        after = pair + dynamics.change(pair)
        apart = after[1:] - after[:1]
        growth.append(np.log(np.linalg.norm(apart) / 1e-9))
        start, shift = after[:1], 1e-9 * apart / np.linalg.norm(apart)
    blocks = np.array(growth).reshape(20, 200).mean(1)
    error = np.hypot(blocks.std(ddof=1) / 20**0.5, found.errors[0])
    assert abs(np.mean(growth) - found.exponents[0]) < 5 * error
    assert 0 < found.exponents[0] < np.log(1.7 + 0.5)


def test_kaplan_yorke():
    """j + Σ λ / |λ_{j+1}|; an exponent within its error of 0 counts as 0."""
    dimension = lambda *values: Spectrum(np.array(values), np.full(len(values), 1e-3), 100).kaplan_yorke  # noqa: E731
    assert dimension(0.9, 0.001, -14.4) == pytest.approx(2 + 0.9 / 14.4)
    assert dimension(-0.1, -0.2) == 0.0
    assert dimension(0.0005, -0.2) == 1.0
    assert dimension(0.5, 0.2) == 2.0


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="lyapunov: steps must be"):
        lyapunov(of(tent(1.9)), np.array([[0.3]]), steps=10)
