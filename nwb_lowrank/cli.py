"""nwb-lowrank: the command line, a thin skin over the public functions."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

import nwb_lowrank as nl

DESCRIPTION = """Fit stochastic low-rank RNNs to recordings in NWB, find their fixed points, score them, and write all of it back into NWB.

Begin with:   nwb-lowrank info FILE      (what is in the file, and a fit command for it)
              nwb-lowrank demo           (the whole job on a simulated recording)"""
MOST_POINTS = 20  # printed
EXPECTED = (ValueError, KeyError, TypeError, OSError, MemoryError, RuntimeError)  # what the library raises for its users


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 0 done, 2 wrong input, 130 interrupted."""
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except KeyboardInterrupt as stop:
        print(f"\n{stop or 'interrupted'}", file=sys.stderr)
        if getattr(options, "checkpoint", None) and Path(options.checkpoint).exists():
            print("Go on with the same command and --resume.", file=sys.stderr)
        return 130
    except EXPECTED as error:
        if options.debug:
            raise
        message = error.args[0] if isinstance(error, KeyError) and error.args else str(error) or type(error).__name__
        print(f"nwb-lowrank: error: {message}", file=sys.stderr)
        return 2


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = argparse.ArgumentParser("nwb-lowrank", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"nwb-lowrank {nl.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_info_parser, _fit_parser, _evaluate_parser, _fixed_points_parser, _plot_parser, _demo_parser):
        command = add(commands)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def _info_parser(commands):
    command = commands.add_parser("info", help="what is in a file, and a fit command for it")
    command.set_defaults(run=_info)
    command.add_argument("file")
    return command


def _fit_parser(commands):
    command = commands.add_parser(
        "fit", help="fit a recording and write the results beside it",
        description="Cut a recording into trials, fit a low-rank RNN, score it on trials and neurons that it did not see, "
        "find its fixed points, and write a derived NWB file beside the source (which stays as it is).",
        epilog="example: nwb-lowrank fit session.nwb --align move_onset_time --window -0.25 0.45 --bin 0.02 --rank 5 "
        "--behavior hand_vel --units \"quality == 'good' and rate > 0.5\"",
    )  # fmt: skip
    command.set_defaults(run=_fit)
    command.add_argument("file")
    data = command.add_argument_group("data")
    data.add_argument("--bin", type=float, metavar="S", help="bin width, seconds; calcium traces may leave it out (one frame a bin)")
    data.add_argument("--table", help="interval table, by name ('trials'); 'none' cuts chunks")
    data.add_argument("--align", metavar="COLUMN", help="column of the table with the event's time (start_time)")
    data.add_argument("--window", type=float, nargs=2, metavar=("FROM", "TO"), help="seconds around the event (whole trials)")
    data.add_argument("--chunk", type=float, metavar="S", help="cut the recording into chunks of so many seconds instead of trials")
    data.add_argument("--trials", metavar="QUERY", help="pandas query on the interval table, such as \"result == 'R'\"")
    data.add_argument("--units", metavar="QUERY", help="pandas query on the units table with rate (Hz), n_spikes and location")
    data.add_argument("--signal", metavar="PATH", help="ROI response series to fit instead of spikes")
    data.add_argument("--behavior", nargs="+", metavar="SERIES", help="behaviour to decode, by name or path")
    data.add_argument("--mask-nan-behavior", action="store_true", help="leave bins with NaN behaviour out of decoding")
    split = command.add_argument_group("what is kept back for the scores")
    split.add_argument("--test", type=float, default=0.2, metavar="SHARE", help="of the trials (%(default)s)")
    split.add_argument("--held-out", type=float, default=0.2, metavar="SHARE",
                       help="of the active neurons, for co-smoothing (%(default)s); a `heldout` column of the file goes first")  # fmt: skip
    split.add_argument("--forecast", type=int, default=0, metavar="BINS", help="last bins of every trial, for forward prediction")
    model = command.add_argument_group("model")
    model.add_argument("--rank", type=int, required=True, help="R, latent dimensions")
    model.add_argument("--hidden", type=int, default=64, metavar="H", help="hidden units of the network (%(default)s)")
    model.add_argument("--nonlinearity", default="clipped_relu", help="clipped_relu, relu, tanh or identity (%(default)s)")
    model.add_argument("--observation", help="poisson or gaussian (by the data)")
    model.add_argument("--link", choices=("exp", "softplus"), default="exp", help="of Poisson rates (%(default)s)")
    model.add_argument("--noise", choices=("scalar", "diagonal", "full"), default="diagonal", help="covariance of the latent noise")
    model.add_argument("--proposal", default="encoder", help="encoder, bootstrap or linear_gaussian (%(default)s)")
    model.add_argument("--causal", action="store_true", help="the encoder looks at past and present bins only")
    _training_options(command.add_argument_group("training"))
    out = command.add_argument_group("output")
    out.add_argument("--output", metavar="FILE", help="written file (SOURCE_lowrank.nwb beside the source)")
    out.add_argument("--in-place", action="store_true", help="write into the source itself (by a verified copy)")
    out.add_argument("--run", dest="run_name", default="fit0", metavar="NAME", help="name of this run in the file (%(default)s)")
    out.add_argument("--overwrite", action="store_true", help="replace a run of that name")
    out.add_argument("--resume", action="store_true", help="go on from the checkpoint of an interrupted fit")
    return command


def _training_options(group) -> None:
    default = nl.FitSettings()
    for name, metavar, text in (
        ("warm_rounds", "N", "rounds of Monte Carlo EM before the gradient steps"),
        ("steps", "N", "gradient steps on the variational sequential Monte Carlo bound"),
        ("particles", "K", "particles a trial"),
        ("batch_size", "B", "trials a step"),
        ("learning_rate", "RATE", "of the gradient steps"),
        ("dropout", "SHARE", "of shown entries hidden from the encoder while it learns"),
    ):
        value = getattr(default, name)
        group.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, metavar=metavar, help=f"{text} (%(default)s)")
    group.add_argument("--segment", type=int, metavar="BINS", help="train on random pieces of this many bins")
    group.add_argument("--seed", type=int, default=0)
    group.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads (OMP_NUM_THREADS, else half of the cores, at most 4)")


def _evaluate_parser(commands):
    command = commands.add_parser("evaluate", help="score the fit in a written file", description="Score the fit in a written file: "
                                  "everything comes from that file alone.")  # fmt: skip
    command.set_defaults(run=_evaluate)
    _results_options(command)
    command.add_argument("--infer", action="store_true", help="infer again with the stored model instead of using the stored rates")
    return command


def _fixed_points_parser(commands):
    command = commands.add_parser("fixed-points", help="find the fixed points of the fit in a written file")
    command.set_defaults(run=_fixed_points)
    _results_options(command)
    command.add_argument("--search", help="certified or newton (by the nonlinearity)")
    command.add_argument("--input", type=float, nargs="+", metavar="U", help="constant input (zero)")
    return command


def _plot_parser(commands):
    command = commands.add_parser("plot", help="one page that shows whether the fit in a written file is good")
    command.set_defaults(run=_plot)
    _results_options(command, json_too=False)
    command.add_argument("--output", metavar="FILE", help="PNG, PDF or SVG (FILE_RUN.png beside the file)")
    command.add_argument("--trial", type=int, help="trial shown in full (the test trial with the most spikes)")
    command.add_argument("--condition", metavar="COLUMN", help="column of the trial table that colours the trials")
    return command


def _demo_parser(commands):
    command = commands.add_parser("demo", help="the whole job on a simulated recording")
    command.set_defaults(run=_demo)
    command.add_argument("--output", default="demo_output", metavar="FOLDER", help="(%(default)s)")
    command.add_argument("--quick", action="store_true", help="a tenth of the training: only to see that it works")
    command.add_argument("--seed", type=int, default=0)
    return command


def _results_options(command, json_too: bool = True) -> None:
    command.add_argument("file", help="a file that `fit` wrote")
    command.add_argument("--run", dest="run_name", metavar="NAME", help="when the file holds several")
    if json_too:
        command.add_argument("--json", action="store_true", help="print JSON")


def _info(options) -> None:
    found = nl.inventory(options.file)
    print(found.text())
    if found.units is None and not len(found.signals):
        print("\nnothing here can be fitted: neither spike times nor ROI response series")
        return
    suggestion = nl.suggest(found)
    print("\nsuggested fit    " + "\n                 ".join(suggestion["reasons"]))
    print(f"\n{suggested_command(options.file, suggestion['options'])}")


def suggested_command(path: str, options: dict) -> str:
    """One line for a shell."""
    words = ["nwb-lowrank", "fit", str(path)]
    for name, flag in (("bin_width", "--bin"), ("table", "--table"), ("align", "--align"), ("window", "--window"), ("chunk", "--chunk"),
                       ("units", "--units"), ("signal", "--signal"), ("behavior", "--behavior"), ("rank", "--rank")):  # fmt: skip
        value = options.get(name)
        if value is not None and value != []:
            values = value if isinstance(value, (list, tuple)) else [value]
            words += [flag, *(f"{item:.10g}" if isinstance(item, float) else str(item) for item in values)]
    return " ".join(shlex.quote(word) for word in words)


def _fit(options) -> None:
    from . import job

    output = job.prepared_output(options)
    options.checkpoint = output.with_name(f".{output.name}.{options.run_name}.checkpoint")
    job.set_threads(options.threads)
    trials, split = job.cut(options)
    print(job.describe(trials, split))
    results = job.analyse(options, trials, split)
    path = nl.write_nwb(options.file, results, output=options.output, in_place=options.in_place, run=options.run_name,
                        overwrite=options.overwrite)  # fmt: skip
    options.checkpoint.unlink(missing_ok=True)
    print(f"\n{scores_text(results.scores)}\n\n{fixed_points_text(results.fixed_points)}\n\nwritten: {path}")
    print(f"look at it: nwb-lowrank plot {shlex.quote(str(path))}")


def _evaluate(options) -> None:
    results = nl.read_results(options.file, options.run_name)
    posterior = results.posterior
    if options.infer:
        posterior = nl.infer(results.fit, results.trials, **posterior.settings)
    scores = nl.evaluate(posterior, results.trials, results.split)
    if options.json:
        print(json.dumps([vars(score) for score in scores]))
    else:
        print(scores_text(scores))


def _fixed_points(options) -> None:
    from . import job

    results = nl.read_results(options.file, options.run_name)
    search = None if options.search is None else job.member("searches", options.search)()
    points = nl.find_fixed_points(results.fit.model, u=options.input, search=search)
    if options.json:
        values = dict(points=points.points.tolist(), residual=points.residual.tolist(), kinds=points.kinds, complete=points.complete,
                      eigenvalues=[[[v.real, v.imag] for v in row] for row in points.eigenvalues.tolist()],
                      certificate=points.certificate)  # fmt: skip
        print(json.dumps(values))
    else:
        print(fixed_points_text(points))


def _plot(options) -> None:
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


def _demo(options) -> None:
    from . import demo

    demo.run(Path(options.output), seed=options.seed, quick=options.quick)


def scores_text(scores) -> str:
    if not scores:
        return "no score: nothing was held out and there is no behaviour to decode"
    lines = [f"{'metric':<14}{'value':>9}  split  bin     of"]
    lines += [f"{s.metric:<14}{s.value:>9.4f}  {s.split:<5}  {s.bin_width * 1e3:.4g} ms  {s.note}" for s in scores]
    return "\n".join(lines)


def fixed_points_text(points) -> str:
    found = len(points.points)
    lines = [f"{found} fixed point{'s' if found != 1 else ''}; {'complete: every one in the region' if points.complete else 'maybe more'}"
             f" ({points.certificate.get('reason', '')})"]  # fmt: skip
    for kind, point, values, residual in list(zip(points.kinds, points.points, points.eigenvalues, points.residual))[:MOST_POINTS]:
        where = ", ".join(f"{x:.4g}" for x in point)
        spectrum = ", ".join(f"{v.real:.4g}" if abs(v.imag) < 1e-12 else f"{v.real:.4g}{v.imag:+.4g}i" for v in values)
        lines.append(f"  {kind:<27} z = ({where})  eigenvalues {spectrum}  residual {residual:.1e}")
    return "\n".join(lines + [f"  … and {found - MOST_POINTS} more (--json lists all)"] * (found > MOST_POINTS))


if __name__ == "__main__":
    sys.exit(main())
