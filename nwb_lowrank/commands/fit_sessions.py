"""nwb-lowrank fit-sessions: several recordings, one dynamics."""

from __future__ import annotations

import argparse

import nwb_lowrank as nl

from . import fit
from ._texts import fixed_points_text, scores_text


def add(commands):
    command = commands.add_parser(
        "fit-sessions", help="fit several recordings with one dynamics and write the results beside each",
        description="Fit several recordings by one network: dynamics and noise are shared, readouts and the encoder's input layer belong "
        "to a session's neurons. Every file is cut by the same options; each gets a derived file with its own fit.",
        epilog="example: nwb-lowrank fit-sessions monday.nwb tuesday.nwb --align go_cue_time --window -0.1 0.6 --bin 0.02 --rank 5",
    )  # fmt: skip
    command.set_defaults(run=run)
    command.add_argument("files", nargs="+", metavar="FILE")
    command.add_argument("--condition", metavar="COLUMN", help="of the trial tables: trials that are comparable between sessions")
    fit.add_options(command, many=False)
    return command


def run(options) -> None:
    from .. import job

    if len(options.files) < 2 or options.output:
        raise ValueError("nwb-lowrank fit-sessions: expected two files or more and no --output (each derived file is written beside its "
                         f"source); got {len(options.files)} files. Use fit for one.")  # fmt: skip
    each = [argparse.Namespace(**{**vars(options), "file": file}) for file in options.files]
    outputs = [job.prepared_output(one) for one in each]
    checkpoint = outputs[0].with_name(f".{outputs[0].name}.{options.run_name}.checkpoint")
    options.checkpoint = checkpoint  # named when a fit is interrupted
    job.set_threads(options.threads)
    cuts = [job.cut(one) for one in each]
    for file, (trials, split) in zip(options.files, cuts):
        print(f"{file}: {job.describe(trials, split)}")
    model, proposal = job.build(options, cuts[0][0], neurons=sum(trials.neurons for trials, _ in cuts))
    train = [trials.select(split == "train") for trials, split in cuts]
    with job.Bars() as bars:
        fits = nl.fit_sessions(model, proposal, train, job.settings(options), seed=options.seed, condition=options.condition,
                               device=options.device, on_step=bars.step, checkpoint=checkpoint, resume=options.resume)  # fmt: skip
    for one, fitted, (trials, split) in zip(each, fits, cuts):
        with job.Bars() as bars:
            results = job.conclude(one, fitted, trials, split, bars)
        path = nl.write_nwb(job.source_of(one), results, **job.where(one), backup=one.backup, run=one.run_name, overwrite=one.overwrite)
        print(f"\n{one.file}\n{scores_text(results.scores)}\nwritten: {path}")
    checkpoint.unlink(missing_ok=True)
    print(f"\n{fixed_points_text(results.read()[1])}")
