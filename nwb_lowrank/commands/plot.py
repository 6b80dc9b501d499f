"""nwb-lowrank plot: one page that shows whether a fit is good, or a figure of its dynamics."""

from __future__ import annotations

from pathlib import Path

import nwb_lowrank as nl

from ._texts import results_options, writable

KINDS = {"summary": "plot_summary", "portrait": "plot_portrait", "eigenvalues": "plot_eigenvalues", "bifurcation": "plot_bifurcation",
         "3d": "plot_space"}  # fmt: skip


def add(commands):
    command = commands.add_parser("plot", help="one page that shows whether the fit in a written file is good, or a figure of its dynamics")
    command.set_defaults(run=run)
    results_options(command, json_too=False)
    command.add_argument("--output", metavar="FILE", help="PNG, PDF or SVG (FILE_RUN.png beside the file)")
    command.add_argument("--kind", choices=sorted(KINDS), default="summary",
                         help="summary page, phase portrait, eigenvalues, bifurcation diagram, or space (%(default)s)")  # fmt: skip
    command.add_argument("--trial", type=int, help="trial shown in full (the test trial with the most spikes)")
    command.add_argument("--condition", metavar="COLUMN", help="column of the trial table that colours the trials")
    return command


def run(options) -> None:
    results = nl.read_results(options.file, options.run_name)
    source, which = Path(options.file), "" if options.kind == "summary" else f"_{options.kind}"
    path = (
        Path(options.output)
        if options.output
        else source.with_name(f"{source.stem}{'_' + options.run_name if options.run_name else ''}{which}.png")
    )
    writable(path, "plot")
    only = dict(trial=options.trial, column=options.condition) if options.kind == "summary" else {}
    getattr(nl, KINDS[options.kind])(results, **only).savefig(path, dpi=110)
    print(f"figure: {path}")
