"""nwb-lowrank generate: activity that the fit in a written file makes up by itself, beside the recording."""

from __future__ import annotations

import numpy as np

import nwb_lowrank as nl

from ._texts import results_options, scores_text, writable


def add(commands):
    command = commands.add_parser(
        "generate", help="let the fit run freely and compare with the recording",
        description="Generate as many trials as were kept out of the fit, with their inputs, and compare them with these: rates, "
        "intervals, correlations, spectra (D_H), the population, the state space (D_stsp), each beside its train-test ceiling.",
        epilog="example: nwb-lowrank generate session_lowrank.nwb --draws 20 --output generated.npz",
    )  # fmt: skip
    command.set_defaults(run=run)
    results_options(command, json_too=False)
    command.add_argument("--draws", type=int, default=10, metavar="S", help="independent repeats of all trials (%(default)s)")
    command.add_argument(
        "--start", choices=("posterior", "prior"), default="posterior", help="of z_1: given the trial, or not (%(default)s)"
    )
    command.add_argument("--output", metavar="FILE", help="write latents (S, B, T, R) and observations (S, B, T, N) there, as .npz")
    command.add_argument("--seed", type=int, default=0)
    return command


def run(options) -> None:
    from .. import job

    output = options.output and writable(options.output, "generate")
    if output and output.suffix != ".npz":
        output = output.with_name(f"{output.name}.npz")  # as numpy does
    results = nl.read_results(options.file, options.run_name)
    generated, scores = job.generate(results, draws=options.draws, prior=options.start == "prior", seed=options.seed)
    print(scores_text(scores))
    if output:
        np.savez_compressed(output, latents=generated.latents, observations=generated.observations)
        print(f"\nwritten: {output}")
