"""What can happen along a branch of fixed points: functions that are zero there, and names."""

from __future__ import annotations

import numpy as np

FOLD, BRANCH, FLIP, SACKER = "fold", "branch point", "flip (period doubling)", "Neimark–Sacker"
BORDER = "border collision: "


def tests(values: np.ndarray, tangent: np.ndarray, augmented: float) -> dict[str, float]:
    """One number for each event; its sign changes where the event happens.

    Parameters
    ----------
    values : complex array (R,)
        Eigenvalues of dF/dz.
    tangent : array (R + 1,)
        Of the branch; its last entry is the parameter's.
    augmented : float
        Determinant of the derivative of F(z, p) − z with the tangent below it: it keeps its sign through a fold.
    """
    pairs = np.multiply.outer(values, values)[np.triu_indices(len(values), 1)]
    return {
        FOLD: float(tangent[-1]),
        BRANCH: float(augmented),
        FLIP: float(np.prod(1 + values).real),
        SACKER: float(np.prod(pairs - 1).real) if len(pairs) else 1.0,
    }


def genuine(event: str, values: np.ndarray) -> bool:
    """Whether a zero of the test is the event: λ λ' = 1 of a real pair is no Neimark–Sacker point."""
    if event == SACKER:
        complex_ones = values[np.abs(values.imag) > 1e-7]
        return len(complex_ones) > 0 and float(np.abs(np.abs(complex_ones) - 1).min()) < 1e-3
    if event == FLIP:
        return float(np.abs(values + 1).min()) < 1e-3
    return True


def border(before: np.ndarray, after: np.ndarray, turned: bool) -> str:
    """The name of a border collision, from the eigenvalues on its two sides (Feigin's signs; di Bernardo et al. 1999).

    An odd number of real eigenvalues that jump across +1 makes two branches meet (nonsmooth fold), an odd number across −1 a flip.
    `turned`: the parameter turns back there.
    """
    if turned or _parity(before - 1) != _parity(after - 1):
        return BORDER + "nonsmooth fold"
    if _parity(before + 1) != _parity(after + 1):
        return BORDER + "flip (period doubling)"
    unstable = [int((np.abs(values) >= 1).sum()) for values in (before, after)]
    if unstable[0] != unstable[1]:
        return BORDER + ("Neimark–Sacker" if abs(unstable[0] - unstable[1]) == 2 else "change of stability")
    return BORDER + "persistence"


def _parity(shifted: np.ndarray) -> float:
    """Sign of the determinant whose eigenvalues these are."""
    return float(np.sign(np.prod(shifted).real))
