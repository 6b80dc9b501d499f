"""Eigenvalues per bin as seconds and hertz."""

from __future__ import annotations

import numpy as np


def time_constant(eigenvalues, bin_width: float) -> np.ndarray:
    """τ = −Δ / ln|λ|, seconds: a deviation along this mode shrinks by e in τ. Negative: it grows by e in |τ|; inf: |λ| = 1; 0: λ = 0."""
    with np.errstate(divide="ignore"):
        rate = np.log(np.abs(np.asarray(eigenvalues, complex))) / bin_width
        return -1.0 / np.where(rate == 0, -0.0, rate)


def frequency(eigenvalues, bin_width: float) -> np.ndarray:
    """f = |arg λ| / (2π Δ), hertz: how often this mode turns. λ < 0 alternates every bin, at 1 / (2 Δ), the fastest that bins can show."""
    return np.abs(np.angle(np.asarray(eigenvalues, complex))) / (2 * np.pi * bin_width)


def describe(eigenvalues, bin_width: float) -> str:
    """One row of eigenvalues in words: 'decays in 0.24 s; turns at 2.1 Hz, damped in 0.5 s; grows in 0.1 s'. One entry a conjugate pair."""
    said = []
    for value in np.asarray(eigenvalues, complex):
        if value.imag < -1e-12:
            continue
        tau, hertz = float(time_constant(value, bin_width)), float(frequency(value, bin_width))
        if abs(value.imag) > 1e-12:
            said.append(f"turns at {hertz:.3g} Hz, " + _fate(tau, "damped", "growing"))
        else:
            said.append(("alternates every bin, " if value.real < 0 else "") + _fate(tau, "decays", "grows"))
    return "; ".join(said)


def duration(seconds: float) -> str:
    """'0.24 s', '12 ms', '3e+04 s'."""
    return f"{seconds * 1e3:.3g} ms" if abs(seconds) < 0.1 else f"{seconds:.3g} s"


def _fate(tau: float, down: str, up: str) -> str:
    if abs(tau) > 1e7:
        return "neutral"
    return f"{down} in {duration(tau)}" if tau >= 0 else f"{up} in {duration(-tau)}"
