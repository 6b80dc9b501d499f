"""A phase portrait as core NWB tables of its run, and back.

<run>_portrait       dotted keys: name, reasons, input, settings, evidence, stationary moments
<run>_attractors     one row an attractor, with its points; <run>_cycles likewise
<run>_slow_points, _branches, _portrait_fixed_points   one row a point
<run>_switching      one row an ordered pair of attractors; <run>_density   the stationary density, a row of the grid each
<run>_visits         TimeIntervals: in whose basin each trial's latent is, from when to when
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from hdmf.common import DynamicTable, VectorData, VectorIndex
from pynwb.epoch import TimeIntervals

from ..dynamics.base import Attractor, Branches, Cycle, Portrait, SlowPoints, Spectrum, Switching, Visits
from ..sources._nwb_file import frame, read
from ._flat import flatten, unflatten

PORTRAIT_TABLES = ("portrait", "attractors", "cycles", "slow_points", "branches", "switching", "density", "visits", "portrait_fixed_points")


def portrait_objects(found: Portrait | None, trials, run: str) -> list:
    """The tables of a portrait (but for its fixed points); none without one."""
    if found is None:
        return []
    makers = (_attractors, _cycles, _slow, _branches, _switching, _density)
    tables = [made for maker in makers for made in maker(found, run)]
    return [_keys(found, run), *tables, *_visits(found, trials, run)]


def portrait_of(tables: dict, points, trials) -> Portrait | None:
    """The inverse of `portrait_objects`; `points` are its fixed points."""
    if "portrait" not in tables:
        return None
    rows = frame(tables["portrait"])
    keys = unflatten(dict(zip(rows["key"], rows["value"])))
    attractors = _attractors_of(tables, keys)
    return Portrait(
        name=keys["name"], reasons=keys["reasons"], input=np.array(keys["input"], float), bin_width=keys["bin_width"],
        centre=np.array(keys["centre"]), axes=np.array(keys["axes"]), fixed_points=points, attractors=attractors,
        cycles=_cycles_of(tables), slow=_slow_of(tables, keys), switching=_switching_of(tables, keys),
        visits=_visits_of(tables, keys), branches=_branches_of(tables, keys), settings=keys["settings"],
    )  # fmt: skip


def _keys(found: Portrait, run: str) -> DynamicTable:
    switching, branches = found.switching, found.branches
    points = found.fixed_points
    nested = dict(
        name=found.name, reasons=list(found.reasons), input=found.input, bin_width=found.bin_width, centre=found.centre, axes=found.axes,
        settings=found.settings, evidence={f"attractor {i}": a.evidence for i, a in enumerate(found.attractors) if a.evidence},
        fixed_points=dict(count=len(points.points), complete=bool(points.complete), certificate=points.certificate),
        has_visits=found.visits is not None,
        switching=None if switching is None else dict(bins=switching.bins, mean=switching.mean, covariance=switching.covariance,
                                                      edges=switching.edges),
        branches=None if branches is None else dict(parameter=branches.parameter, checks=branches.checks),
    )  # fmt: skip
    rows = flatten(nested)
    columns = [_column("key", "Dotted name", list(rows)), _column("value", "JSON number, text, list or null", list(rows.values()))]
    return _table(run, "portrait", "Name of the phase portrait, the reasons for it, and single numbers", columns)


def _attractors(found: Portrait, run: str) -> list[DynamicTable]:
    if not found.attractors:
        return []
    R, width = len(found.centre), found.bin_width
    spectra = [a.spectrum or Spectrum(np.full(R, np.nan), np.full(R, np.nan), -1) for a in found.attractors]
    bins = np.array([[a.timescale, a.period, a.rotation] for a in found.attractors])
    columns = [
        _column("kind", "point, cycle, invariant circle, torus, chaos, line, ring or sheet", [a.kind for a in found.attractors]),
        _column(
            "share", "Of the orbits started at latents of the data, how many settle here", np.array([a.share for a in found.attractors])
        ),
        _column("time_constant", "Seconds in which a deviation shrinks by e", bins[:, 0] * width),
        _column("period", "Seconds of one turn; NaN without rotation", bins[:, 1] * width),
        _column("frequency", "Hz; NaN without rotation", bins[:, 2] / width),
        _column("bins", "The last three per bin: time constant and period in bins, turns per bin", bins),
        _column("lyapunov", "Lyapunov exponents per bin (divide by the bin width for 1/s)", np.stack([s.exponents for s in spectra])),
        _column("lyapunov_error", "Their standard errors; 0: from eigenvalues", np.stack([s.errors for s in spectra])),
        _column("lyapunov_steps", "Bins averaged over; 0: from eigenvalues; -1: not computed", np.array([s.steps for s in spectra])),
    ]
    if found.switching is not None:
        s = found.switching
        columns += [
            _column("occupancy", "Share of the time under noise", s.occupancy),
            _column("occupancy_error", "Standard error over walkers", s.occupancy_error),
            _column("dwell", "Mean bins from entry to leaving under noise; inf: none left", s.dwell),
            _column("dwell_error", "Standard error over walkers", s.dwell_error),
            _column("dwell_seconds", "The same in seconds", s.dwell * width),
        ]
    return [_table(run, "attractors", "What noise-free orbits settle on", columns, [a.points for a in found.attractors])]


def _cycles(found: Portrait, run: str) -> list[DynamicTable]:
    cycles = found.cycles
    if not cycles:
        return []
    multipliers = np.stack([cycle.multipliers for cycle in cycles])
    columns = [
        _column("period", "Bins after which the orbit closes", np.array([cycle.period for cycle in cycles])),
        _column("turns", "Turns around its centre before it closes", np.array([cycle.turns for cycle in cycles])),
        _column("turn_seconds", "Seconds of one turn", np.array([cycle.turn for cycle in cycles]) * found.bin_width),
        _column("stable", "Every Floquet multiplier inside the unit circle", np.array([cycle.stable for cycle in cycles])),
        _column("residual", "max |F(z_i) - z_i+1|", np.array([cycle.residual for cycle in cycles])),
        _column("multipliers_real", "Floquet multipliers, real part, by falling modulus", multipliers.real),
        _column("multipliers_imag", "Imaginary part", multipliers.imag),
    ]
    return [_table(run, "cycles", "Cycles of the noise-free map", columns, [cycle.points for cycle in cycles])]


def _slow(found: Portrait, run: str) -> list[DynamicTable]:
    slow = found.slow
    if not len(slow.points):
        return []
    columns = [
        _column("kappa", "Slow point in latent space", slow.points),
        _column("speed", "|F(z) - z| per bin", slow.speed),
        _column("relative_speed", "Over the median speed at the data", slow.relative),
        _column("eigenvalues_real", "Of the Jacobian there", slow.eigenvalues.real),
        _column("eigenvalues_imag", "Imaginary part", slow.eigenvalues.imag),
    ]
    return [_table(run, "slow_points", "Local minima of the speed that are no fixed points", columns)]


def _branches(found: Portrait, run: str) -> list[DynamicTable]:
    branches = found.branches
    if branches is None or not len(branches.value):
        return []
    columns = [
        _column("value", f"Value of the parameter '{branches.parameter}'", branches.value),
        _column("kappa", "Fixed point in latent space", branches.points),
        _column("branch", "Number of the branch", branches.branch),
        _column("stable", "Every eigenvalue inside the unit circle", branches.stable),
        _column("eigenvalues_real", "Of the Jacobian, by falling modulus", branches.eigenvalues.real),
        _column("eigenvalues_imag", "Imaginary part", branches.eigenvalues.imag),
        _column("event", "Bifurcation or border collision at this row; empty: none", [str(event) for event in branches.event]),
    ]
    return [_table(run, "branches", "Fixed points as functions of one parameter", columns)]


def _switching(found: Portrait, run: str) -> list[DynamicTable]:
    s = found.switching
    if s is None:
        return []
    start, stop = (grid.ravel() for grid in np.indices(s.rate.shape))
    columns = [
        _column("from_attractor", "Row of the attractors table", start),
        _column("to_attractor", "Row of the attractors table", stop),
        _column("transitions", "Counted in the simulation", s.counts.ravel()),
        _column("rate", "Transitions per bin spent in the first", s.rate.ravel()),
        _column("rate_error", "Standard error over walkers", s.rate_error.ravel()),
        _column("rate_per_second", "The rate in 1/s", s.rate.ravel() / found.bin_width),
    ]
    return [_table(run, "switching", "Transitions of the stochastic latents among attractors, simulated", columns)]


def _density(found: Portrait, run: str) -> list[DynamicTable]:
    s = found.switching
    if s is None:
        return []
    columns = [
        _column("density", "Per unit area of the first (rows) and second principal coordinate; edges in the portrait table", s.density),
        _column("density_error", "Standard error over walkers", s.density_error),
    ]
    return [_table(run, "density", "Stationary density of the stochastic latents, simulated", columns)]


def _visits(found: Portrait, trials, run: str) -> list[TimeIntervals]:
    visits = found.visits
    if visits is None or not len(visits.trial):
        return []
    left = trials.starts[visits.trial]
    start, stop = left + visits.first * trials.bin_width, left + (visits.last + 1) * trials.bin_width
    order = np.argsort(start, kind="stable")
    columns = [
        _column("start_time", "Seconds", start[order]),
        _column("stop_time", "Seconds", stop[order]),
        _column("window", "Row of the windows table", visits.trial[order]),
        _column("attractor", "Row of the attractors table; -1: none known", visits.attractor[order]),
        _column("first_bin", "Of the window", visits.first[order]),
        _column("last_bin", "Of the window, included", visits.last[order]),
    ]
    about = "In whose attractor's basin the posterior mean of each window is"
    return [TimeIntervals(name=f"{run}_visits", description=about, columns=columns, colnames=[column.name for column in columns])]


def _arrays(table) -> dict[str, np.ndarray]:
    return {name: read(table[name].data) for name in table.colnames if name != "points"}


def _ragged(table) -> list[np.ndarray]:
    """Points of every row."""
    values, ends = read(table["points"].target.data), read(table["points"].data).astype(np.int64)
    return np.split(values, ends[:-1])


def _attractors_of(tables: dict, keys: dict) -> tuple[Attractor, ...]:
    if "attractors" not in tables:
        return ()
    column, points, evidence = _arrays(tables["attractors"]), _ragged(tables["attractors"]), keys.get("evidence") or {}
    spectra = [None if steps < 0 else Spectrum(exponents, errors, int(steps)) for exponents, errors, steps in
               zip(column["lyapunov"], column["lyapunov_error"], column["lyapunov_steps"])]  # fmt: skip
    return tuple(
        Attractor(str(column["kind"][i]), points[i], float(column["share"][i]), *map(float, column["bins"][i]), spectra[i],
                  evidence.get(f"attractor {i}", {})) for i in range(len(points))
    )  # fmt: skip


def _cycles_of(tables: dict) -> tuple[Cycle, ...]:
    if "cycles" not in tables:
        return ()
    column, points = _arrays(tables["cycles"]), _ragged(tables["cycles"])
    multipliers = column["multipliers_real"] + 1j * column["multipliers_imag"]
    return tuple(Cycle(p, float(r), m, int(t)) for p, r, m, t in zip(points, column["residual"], multipliers, column["turns"]))


def _slow_of(tables: dict, keys: dict) -> SlowPoints:
    if "slow_points" not in tables:
        none = np.zeros((0, len(keys["centre"])))
        return SlowPoints(none, none[:, 0], none[:, 0], none.astype(complex))
    c = _arrays(tables["slow_points"])
    return SlowPoints(c["kappa"], c["speed"], c["relative_speed"], c["eigenvalues_real"] + 1j * c["eigenvalues_imag"])


def _branches_of(tables: dict, keys: dict) -> Branches | None:
    about = keys.get("branches")
    if about is None:
        return None
    if "branches" not in tables:
        none = np.zeros((0, len(keys["centre"])))
        return Branches(about["parameter"], none[:, 0], none, np.zeros(0, int), none.astype(complex), np.zeros(0, str), about["checks"])
    c = _arrays(tables["branches"])
    values, events = c["eigenvalues_real"] + 1j * c["eigenvalues_imag"], np.array([str(event) for event in c["event"]])
    return Branches(about["parameter"], c["value"], c["kappa"], c["branch"], values, events, about["checks"])


def _switching_of(tables: dict, keys: dict) -> Switching | None:
    about = keys.get("switching")
    if about is None:
        return None
    c, a, d = (_arrays(tables[name]) for name in ("switching", "attractors", "density"))
    square = (len(a["dwell"]),) * 2
    return Switching(
        a["occupancy"], a["occupancy_error"], a["dwell"], a["dwell_error"], c["transitions"].reshape(square), c["rate"].reshape(square),
        c["rate_error"].reshape(square), about["bins"], *(np.array(about[name]) for name in ("mean", "covariance", "edges")),
        d["density"], d["density_error"],
    )  # fmt: skip


def _visits_of(tables: dict, keys: dict) -> Visits | None:
    if not keys["has_visits"]:
        return None
    if "visits" not in tables:
        return Visits(*(np.zeros(0, int) for _ in range(4)))
    table: pd.DataFrame = frame(tables["visits"]).sort_values(["window", "first_bin"])
    return Visits(*(table[name].to_numpy(np.int64) for name in ("window", "attractor", "first_bin", "last_bin")))


def _table(run: str, name: str, description: str, columns: list, ragged: list[np.ndarray] | None = None) -> DynamicTable:
    names = [column.name for column in columns]
    if ragged is not None:
        ends = np.cumsum([len(points) for points in ragged]).astype(np.uint64)
        points = VectorData(name="points", description="Points in latent space", data=np.concatenate(ragged))
        columns, names = [*columns, points, VectorIndex(name="points_index", target=points, data=ends)], [*names, "points"]
    return DynamicTable(name=f"{run}_{name}", description=description, columns=columns, colnames=names)


def _column(name: str, description: str, data) -> VectorData:
    return VectorData(name=name, description=description, data=np.ascontiguousarray(data) if isinstance(data, np.ndarray) else data)
