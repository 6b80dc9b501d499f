"""What several commands share: options of written files, and scores and fixed points as text."""

from __future__ import annotations

import os
from pathlib import Path

from ..dynamics.readings import describe

MOST_POINTS = 20  # printed


def results_options(command, json_too: bool = True) -> None:
    command.add_argument("file", help="a file that `fit` wrote")
    command.add_argument("--run", dest="run_name", metavar="NAME", help="when the file holds several")
    if json_too:
        command.add_argument("--json", action="store_true", help="print JSON")


def writable(path, who: str) -> Path:
    """`path`, after making sure before anything long that a file can be written there."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        reason = "is a folder" if path.is_dir() else None if os.access(path.parent, os.W_OK) else "the folder is read-only"
    except OSError as error:
        reason = error.strerror
    if reason:
        raise ValueError(f"nwb-lowrank {who}: cannot write '{path}': {reason}. Name another file.")
    return path


def scores_text(scores) -> str:
    if not scores:
        return "no score: nothing was held out and there is no behaviour to decode"
    lines = [f"{'metric':<14}{'value':>9}  split    bin     of"]
    lines += [f"{s.metric:<14}{s.value:>9.4f}  {s.split:<7}  {s.bin_width * 1e3:.4g} ms  {s.note}" for s in scores]
    return "\n".join(lines)


def fixed_points_text(points, bin_width: float | None = None) -> str:
    """Count, certificate and one line a point; with a bin width (s) its eigenvalues also in seconds and hertz."""
    found = len(points.points)
    lines = [f"{found} fixed point{'s' if found != 1 else ''}; {'complete: every one in the region' if points.complete else 'maybe more'}"
             f" ({points.certificate.get('reason', '')})"]  # fmt: skip
    for kind, point, values, residual in list(zip(points.kinds, points.points, points.eigenvalues, points.residual))[:MOST_POINTS]:
        where = ", ".join(f"{x:.4g}" for x in point)
        spectrum = ", ".join(f"{v.real:.4g}" if abs(v.imag) < 1e-12 else f"{v.real:.4g}{v.imag:+.4g}i" for v in values)
        lines.append(f"  {kind:<27} z = ({where})  eigenvalues {spectrum}  residual {residual:.1e}")
        if bin_width is not None:
            lines.append(f"    {describe(values, bin_width)}")
    lines[1:1] = [_set_text(one) for one in points.sets]
    return "\n".join(lines + [f"  … and {found - MOST_POINTS} more (--json lists all)"] * (found > MOST_POINTS))


def _set_text(one: dict) -> str:
    """One set of fixed points that are not isolated."""
    kind = f" {one['kind']}" if one["kind"] else ""
    if one["low"] is None:
        return f"  {one['shape']}{kind} (continuous: {one['dimension']}-dimensional)"
    reach = ", ".join(f"{a:.4g} to {b:.4g}" for a, b in zip(one["low"], one["high"]))
    if one["dimension"] == 0:
        return f"  a point that is not proved isolated (I − J is singular there)  z in ({reach})"
    return f"  {one['shape']}{kind} (continuous: {one['dimension']}-dimensional)  z in ({reach}), {one['length']:.4g} across"
