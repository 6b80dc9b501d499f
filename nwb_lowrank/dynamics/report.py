"""A phase portrait as text: what it is called, why, and everything in seconds and hertz."""

from __future__ import annotations

import numpy as np

from .base import Branches, Cycle, Portrait, Switching
from .readings import duration

MOST = 12  # cycles, slow points and events listed


def report(found: Portrait) -> str:
    """Several paragraphs; the first line is the name."""
    where = "" if not len(found.input) else f" at input ({', '.join(f'{value:.4g}' for value in found.input)})"
    starts = "latents of the data" if found.settings.get("from_data") else "latents that the model simulates"
    lines = [f"portrait{where}: {found.name}", *(f"  {reason}" for reason in found.reasons)]
    lines.append(f"  (orbits without noise from {found.settings.get('starts')} {starts}; positions and lengths in {_basis(found)})")
    lines += _cycle_lines(found.cycles, found.bin_width) if found.settings.get("cycles_searched") or found.cycles else []
    if len(found.slow.points):
        shown = list(zip(found.slow.points, found.slow.relative))[:MOST]
        lines.append(f"{len(found.slow.points)} slow points that are no fixed points (speed against the median at the data):")
        lines += [f"  z = ({_numbers(z)})  {ratio:.2g} times the median" for z, ratio in shown]
    if found.switching is not None:
        lines += _switching_lines(found, found.switching)
    if found.visits is not None:
        lines += _visit_lines(found)
    if found.branches is not None:
        lines += branch_lines(found.branches)
    return "\n".join(lines)


def cycles_text(cycles: tuple[Cycle, ...], bin_width: float) -> str:
    """The cycles alone."""
    return "\n".join(_cycle_lines(cycles, bin_width))


def branch_lines(branches: Branches) -> list[str]:
    """How many branches, and what happens along them."""
    count = len(np.unique(branches.branch))
    value = branches.value if len(branches.value) else np.zeros(1)
    named = f"{count} branch{'es' if count != 1 else ''} of fixed points along {branches.parameter}"
    lines = [f"{named} from {value.min():.4g} to {value.max():.4g}:"]
    plain = [event for event in branches.event if event.endswith("persistence")]
    shown = [i for i, event in enumerate(branches.event) if event and not event.endswith("persistence") and event != "end"]
    lines += [f"  {branches.event[i]} at {branches.value[i]:.6g}, z = ({_numbers(branches.points[i])})" for i in shown[:MOST]]
    lines += [f"  … and {len(shown) - MOST} more (stored, and in --json)"] * (len(shown) > MOST)
    lines += [f"  {len(plain)} border collisions that change nothing (persistence)"] * bool(plain)
    missing = [(v, f, b) for v, f, b in zip(*(branches.checks[name] for name in ("values", "found", "on_branches"))) if f != b]
    lines += [f"  at {v:.4g}: {f} fixed points were found by a fresh search, {b} lie on the branches" for v, f, b in missing]
    if not missing and branches.checks["values"]:
        sure = "complete ones" if all(branches.checks["complete"]) else "not all of them complete"
        lines.append(f"  fresh searches at {len(branches.checks['values'])} values ({sure}) found exactly the points on these branches")
    return lines


def _cycle_lines(cycles: tuple[Cycle, ...], bin_width: float) -> list[str]:
    lines = [f"{len(cycles) or 'no'} cycle{'s' if len(cycles) != 1 else ''} of the map found{':' if cycles else ''}"]
    for cycle in cycles[:MOST]:
        turn = f", one turn in {duration(cycle.turn * bin_width)} ({1 / (cycle.turn * bin_width):.3g} Hz)" if cycle.turns else ""
        multipliers = ", ".join(f"{abs(value):.3g}" for value in cycle.multipliers)
        kind = "attracting" if cycle.stable else "unstable"
        lines.append(f"  {kind} cycle of {cycle.period} bins = {duration(cycle.period * bin_width)}{turn}; "
                     f"|Floquet multipliers| {multipliers}; residual {cycle.residual:.1e}")  # fmt: skip
    return lines + [f"  … and {len(cycles) - MOST} more"] * (len(cycles) > MOST)


def _switching_lines(found: Portrait, s: Switching) -> list[str]:
    width = found.bin_width
    sd = ", ".join(f"{value:.3g}" for value in np.sqrt(np.diag(np.atleast_2d(s.covariance))))
    lines = [f"under noise ({duration(s.bins * width)} simulated): stationary standard deviation ({sd})"]
    if len(s.occupancy) < 2:
        return lines
    for i in range(min(len(s.occupancy), MOST)):
        gone = (f"stays {duration(s.dwell[i] * width)} ± {_error(s.dwell_error[i] * width)}" if np.isfinite(s.dwell[i]) else
                f"was never left: less than {3 / max(s.occupancy[i] * s.bins * width, 1e-300):.2g} departures per s (95 %)")  # fmt: skip
        lines.append(f"  attractor {i}: {s.occupancy[i]:.1%} ± {s.occupancy_error[i]:.1%} of the time; {gone}")
    pairs = [(i, j) for i, j in zip(*np.nonzero(s.counts))]
    lines += [
        f"  {i} → {j}: {s.rate[i, j] / width:.3g} ± {s.rate_error[i, j] / width:.2g} per s ({s.counts[i, j]} seen)" for i, j in pairs[:MOST]
    ]
    if any(not np.isfinite(value) for value in s.dwell):
        lines.append("  so rarely left that the shares of the time still depend on where the walkers began")
    return lines


def _visit_lines(found: Portrait) -> list[str]:
    v, count = found.visits, len(found.attractors)
    if count < 2 or not len(v.trial):
        return []
    bins, trials = v.last - v.first + 1, len(np.unique(v.trial))
    share = [bins[v.attractor == i].sum() / bins.sum() for i in range(count)]
    ends = [((v.attractor == i) & np.append(v.trial[1:] != v.trial[:-1], True)).sum() for i in range(count)]
    changed = len(np.unique(v.trial[1:][v.trial[1:] == v.trial[:-1]]))
    lines = [f"{trials} trials; {changed} change basins on the way:"]
    if found.settings.get("inputs_in_time"):
        lines[0] = f"{trials} trials, each with the inputs that it has still to come; {changed} change basins on the way:"
    return lines + [
        f"  basin of attractor {i}: {share[i]:.0%} of the bins; {ends[i]} trials end there" for i in range(count) if share[i] > 0
    ]


def _basis(found: Portrait) -> str:
    return "the basis of the reading stored with the fit" if found.settings.get("basis") == "reading" else "the network's own basis"


def _error(seconds: float) -> str:
    return duration(seconds) if np.isfinite(seconds) else "? (seen once)"


def _numbers(z: np.ndarray) -> str:
    return ", ".join(f"{value:.4g}" for value in z)
