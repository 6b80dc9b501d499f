"""Eigenvalues as seconds and hertz."""

import numpy as np
import pytest

from nwb_lowrank.dynamics.readings import describe, duration, frequency, time_constant


def test_a_decaying_oscillation_reads_as_it_was_made():
    """λ = exp(Δ (−1/τ + 2πi f)) gives back τ and f, for either sign of the phase."""
    tau, hertz, width = 0.35, 2.5, 0.02
    value = np.exp(width * (-1 / tau + 2j * np.pi * hertz))
    assert time_constant(value, width) == pytest.approx(tau)
    assert frequency([value, value.conjugate()], width) == pytest.approx([hertz, hertz])


def test_edges():
    assert time_constant(1.0, 0.1) == np.inf
    assert time_constant(0.0, 0.1) == 0
    assert time_constant(1.2, 0.1) < 0
    assert frequency(-0.5, 0.02) == pytest.approx(25.0)  # every other bin: the fastest that bins of 20 ms show
    assert frequency(0.5, 0.02) == 0


def test_words():
    pair = np.exp(0.02 * (-1 / 0.5 + 2j * np.pi * 2))
    assert describe([pair, pair.conjugate(), 0.9], 0.02) == "turns at 2 Hz, damped in 0.5 s; decays in 0.19 s"
    assert describe([1.1], 0.02) == "grows in 0.21 s"
    assert describe([1.0], 0.02) == "neutral"
    assert describe([-0.5], 0.02) == "alternates every bin, decays in 28.9 ms"
    assert duration(0.0123) == "12.3 ms"
