"""nwb-lowrank fixed-points: the fixed points of the fit in a written file."""

from __future__ import annotations

import json

import nwb_lowrank as nl

from ._texts import fixed_points_text, results_options


def add(commands):
    command = commands.add_parser("fixed-points", help="find the fixed points of the fit in a written file")
    command.set_defaults(run=run)
    results_options(command)
    command.add_argument("--search", help="certified or newton (by the nonlinearity)")
    command.add_argument("--input", type=float, nargs="+", metavar="U", help="constant input (zero)")
    return command


def run(options) -> None:
    from .. import job

    results = nl.read_results(options.file, options.run_name)
    search = None if options.search is None else job.member("searches", options.search)()
    points = nl.find_fixed_points(results.fit.model, u=options.input, search=search)
    points = points if results.reading is None else results.reading.fixed_points(points)
    if options.json:
        values = dict(points=points.points.tolist(), residual=points.residual.tolist(), kinds=points.kinds, complete=points.complete,
                      eigenvalues=[[[v.real, v.imag] for v in row] for row in points.eigenvalues.tolist()],
                      certificate=points.certificate)  # fmt: skip
        print(json.dumps(values))
    else:
        print(fixed_points_text(points))
