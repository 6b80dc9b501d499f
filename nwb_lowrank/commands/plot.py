"""nwb-lowrank plot: one page that shows whether a fit is good."""

from __future__ import annotations

from pathlib import Path

import nwb_lowrank as nl

from ._texts import results_options


def add(commands):
    command = commands.add_parser("plot", help="one page that shows whether the fit in a written file is good")
    command.set_defaults(run=run)
    results_options(command, json_too=False)
    command.add_argument("--output", metavar="FILE", help="PNG, PDF or SVG (FILE_RUN.png beside the file)")
    command.add_argument("--trial", type=int, help="trial shown in full (the test trial with the most spikes)")
    command.add_argument("--condition", metavar="COLUMN", help="column of the trial table that colours the trials")
    return command


def run(options) -> None:
    results = nl.read_results(options.file, options.run_name)
    source = Path(options.file)
    path = (
        Path(options.output)
        if options.output
        else source.with_name(f"{source.stem}{'_' + options.run_name if options.run_name else ''}.png")
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    nl.plot_summary(results, trial=options.trial, column=options.condition).savefig(path, dpi=110)
    print(f"figure: {path}")
