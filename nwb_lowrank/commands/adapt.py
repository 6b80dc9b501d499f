"""nwb-lowrank adapt: a fitted network for another recording, its dynamics left as they are."""

from __future__ import annotations

import nwb_lowrank as nl

from . import fit
from ._texts import scores_text


def add(commands):
    command = commands.add_parser(
        "adapt", help="fit only readout and encoder of a fitted network to another recording",
        description="Take the network of a file that `fit` wrote, leave its dynamics to the last bit as they are, and fit readout and "
        "encoder to another recording. What --bin, --align, --window and --input do not say is taken from the fit.",
    )  # fmt: skip
    command.set_defaults(run=run, rank=1)
    command.add_argument("fitted", help="a file that `fit` wrote")
    command.add_argument("file", help="the new recording")
    command.add_argument("--fitted-run", metavar="NAME", help="when the fitted file holds several")
    fit.add_options(command, model=False, many=False)
    return command


def run(options) -> None:
    from .. import job

    known = nl.read_results(options.fitted, options.fitted_run)
    cut = known.trials.origin["cut"]
    for name, key in (("bin", "bin_width"), ("input", "inputs")):
        if getattr(options, name) is None:
            setattr(options, name, cut.get(key))
    if options.align is None and options.window is None and options.chunk is None:
        options.align, options.window = cut.get("align"), cut.get("window")
        options.chunk = cut.get("chunk") if options.table is None else None
    output = job.prepared_output(options)
    options.checkpoint = output.with_name(f".{output.name}.{options.run_name}.checkpoint")
    job.set_threads(options.threads)
    trials, split = job.cut(options)
    print(job.describe(trials, split))
    with job.Bars() as bars:
        fitted = nl.adapt(known.fit, trials.select(split == "train"), job.settings(options), seed=options.seed, device=options.device,
                          on_step=bars.step, checkpoint=options.checkpoint, resume=options.resume)  # fmt: skip
        results = job.conclude(options, fitted, trials, split, bars)
    path = nl.write_nwb(job.source_of(options), results, **job.where(options), backup=options.backup, run=options.run_name,
                        overwrite=options.overwrite)  # fmt: skip
    options.checkpoint.unlink(missing_ok=True)
    print(f"\n{scores_text(results.scores)}\n\nwritten: {path}")
