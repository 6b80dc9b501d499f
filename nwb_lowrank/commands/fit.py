"""nwb-lowrank fit: a recording in, a derived file with the fit out."""

from __future__ import annotations

import shlex

import nwb_lowrank as nl

from ._many import run_many
from ._texts import fixed_points_text, scores_text


def add(commands):
    command = commands.add_parser(
        "fit", help="fit a recording and write the results beside it",
        description="Cut a recording into trials, fit a low-rank RNN, score it on trials and neurons that it did not see, "
        "find its fixed points, and write a derived NWB file beside the source (which stays as it is).",
        epilog="example: nwb-lowrank fit session.nwb --align move_onset_time --window -0.25 0.45 --bin 0.02 --rank 5 "
        "--behavior hand_vel --units \"quality == 'good' and rate > 0.5\"",
    )  # fmt: skip
    command.set_defaults(run=run)
    command.add_argument("file", nargs="+", help="NWB file, Zarr store, folder of sorted spikes (spikeinterface, Phy, Kilosort), or "
                         "place on DANDI; several: one fit each, in parallel")  # fmt: skip
    add_options(command)
    return command


def add_options(command, *, model: bool = True, many: bool = True, rank: bool = True, output: bool = True) -> None:
    """Every option of a fit.

    Commands that adapt a fit have its model already, and those that do not fit one recording each (`many`) take one rank and one seed;
    those that choose the rank have an option of their own for it, and those that write no file none for the `output`.
    """
    data = command.add_argument_group("data")
    data.add_argument("--bin", type=float, metavar="S", help="bin width, seconds; calcium traces may leave it out (one frame a bin)")
    data.add_argument("--table", help="interval table, by name ('trials'); 'none' cuts chunks")
    data.add_argument("--align", metavar="COLUMN", help="column of the table with the event's time (start_time)")
    data.add_argument("--window", type=float, nargs=2, metavar=("FROM", "TO"), help="seconds around the event (whole trials)")
    data.add_argument("--chunk", type=float, metavar="S", help="cut the recording into chunks of so many seconds instead of trials")
    data.add_argument("--trials", metavar="QUERY", help="pandas query on the interval table, such as \"result == 'R'\"")
    data.add_argument(
        "--units", metavar="QUERY", help="pandas query on the units table with rate (Hz), n_spikes, location, isi_violation and presence"
    )
    data.add_argument(
        "--signal", metavar="PATH", help="ROI response (or other) series to fit instead of spikes; a pattern takes one series a neuron"
    )
    data.add_argument("--behavior", nargs="+", metavar="SERIES", help="behaviour to decode, by name or path")
    data.add_argument("--input", nargs="+", metavar="NAME",
                      help="known inputs: event times of the table as steps (go_cue_time; go_cue_time:pulse), one-hot labels of a "
                      "column, or a behaviour series")  # fmt: skip
    data.add_argument("--mask-nan-behavior", action="store_true", help="leave bins with NaN behaviour out of decoding")
    data.add_argument("--average-behavior", action="store_true", help="means over each bin instead of values at its centre")
    data.add_argument("--neuropil", metavar="PATH", help="ROI series of the neuropil, a share of which is subtracted")
    data.add_argument("--neuropil-weight", type=float, default=0.7, metavar="SHARE", help="that share (%(default)s)")
    data.add_argument("--dff", type=float, metavar="S", help="take dF/F over a running baseline of so many seconds")
    data.add_argument("--dff-percentile", type=float, default=10.0, metavar="P", help="of the trace: the baseline (%(default)s)")
    split = command.add_argument_group("what is kept back for the scores")
    split.add_argument("--test", type=float, default=0.2, metavar="SHARE", help="of the trials (%(default)s)")
    split.add_argument("--held-out", type=float, default=0.2, metavar="SHARE",
                       help="of the active neurons, for co-smoothing (%(default)s); a `heldout` column of the file goes first")  # fmt: skip
    split.add_argument("--forecast", type=int, default=0, metavar="BINS", help="last bins of every trial, for forward prediction")
    if model:
        _model_options(command.add_argument_group("model"), many, rank)
    _training_options(command.add_argument_group("training"), many)
    if not output:
        return command.set_defaults(folder=None, stream=False, output=None, in_place=False)
    out = command.add_argument_group("output")
    out.add_argument("--reading", choices=("loadings", "units"), help="the basis in which latents and fixed points are shown: the one "
                     "in which these weights are orthonormal, ordered by variance")  # fmt: skip
    out.add_argument("--output", metavar="FILE", help="written file (SOURCE_lowrank.nwb beside the source)")
    out.add_argument("--in-place", action="store_true", help="write into the source itself (by a verified copy)")
    out.add_argument("--backup", action="store_true", help="keep the file that is replaced as FILE.bak")
    out.add_argument("--sidecar", action="store_true", help="write the results without the recording (read-only, streamed or huge sources)")
    out.add_argument("--run", dest="run_name", default="fit0", metavar="NAME", help="name of this run in the file (%(default)s)")
    out.add_argument("--overwrite", action="store_true", help="replace a run of that name")
    out.add_argument("--resume", action="store_true", help="go on from the checkpoint of an interrupted fit (several fits always do)")
    if not many:
        return command.set_defaults(folder=None, stream=False)
    out.add_argument("--folder", metavar="FOLDER", help="results go here, named for DANDI (sub-X/sub-X_..._desc-lowrank_ecephys.nwb)")
    out.add_argument("--dandiset", metavar="ID", help="write a dandiset.yaml of this dandiset of yours into --folder, for the upload")
    out.add_argument(
        "--stream", action="store_true", help="read only the bytes needed of a DANDI asset or URL; the results stand alone (sidecar)"
    )
    many = command.add_argument_group("several fits (Dask)")
    many.add_argument("--workers", type=int, metavar="N", help="processes on this machine (half of the cores)")
    many.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask scheduler instead, such as tcp://host:8786")


def _model_options(model, many: bool, rank: bool) -> None:
    several = "; several: one fit each" if many else ""
    if rank:
        model.add_argument("--rank", type=int, nargs="+" if many else None, required=True, help=f"R, latent dimensions{several}")
    model.add_argument("--hidden", type=int, default=64, metavar="H", help="hidden units of the network (%(default)s)")
    model.add_argument("--nonlinearity", default="clipped_relu", help="clipped_relu, relu, tanh, softplus or identity (%(default)s)")
    model.add_argument("--observation", help="poisson, negative_binomial, bernoulli, gaussian, calcium or zero_inflated_gamma "
                       "(counts: poisson, else gaussian)")  # fmt: skip
    model.add_argument("--link", choices=("exp", "softplus"), help="of rates (exp for spikes, softplus for calcium)")
    model.add_argument("--readout", default="affine", help="affine, mlp, unit_rates or unit_currents (%(default)s)")
    model.add_argument("--history", type=int, metavar="BINS", help="spike history of every neuron, so many bins back")
    model.add_argument("--biases", action="store_true", help="a bias of every hidden unit's current")
    model.add_argument("--filter-inputs", action="store_true", help="the network filters its inputs with its own decay")
    model.add_argument("--full-rank", action="store_true", help="the control: one latent a hidden unit (--rank only starts it)")
    model.add_argument("--noise", choices=("scalar", "diagonal", "full"), default="diagonal", help="covariance of the latent noise")
    model.add_argument(
        "--proposal", default="encoder", help="encoder, laplace, encoder_laplace, bootstrap or linear_gaussian (%(default)s)"
    )
    model.add_argument("--causal", action="store_true", help="the encoder looks at past and present bins only")


def _training_options(group, many: bool) -> None:
    default = nl.FitSettings()
    for name, metavar, text in (
        ("warm_rounds", "N", "rounds of smoothing and climbing before the gradient steps"),
        ("steps", "N", "gradient steps on the variational sequential Monte Carlo bound"),
        ("particles", "K", "particles a trial"),
        ("batch_size", "B", "trials a step"),
        ("learning_rate", "RATE", "of the gradient steps"),
        ("dropout", "SHARE", "of shown entries hidden from the encoder while it learns"),
    ):
        value = getattr(default, name)
        group.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, metavar=metavar, help=f"{text} (%(default)s)")
    group.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="every other number of a fit, as nwb_lowrank.FitSettings names it: "
        "resample_threshold=1 (every bin; 0: never), multinomial=true, resampling_gradient=false, patience=9, …",
    )  # fmt: skip
    group.add_argument("--segment", type=int, metavar="BINS", help="train on random pieces of this many bins")
    seed = dict(nargs="+", default=[0], help="several: one fit each (0)") if many else dict(default=0, help="(%(default)s)")
    group.add_argument("--seed", type=int, **seed)
    group.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads (OMP_NUM_THREADS, else half of the cores, at most 4)")


def run(options) -> None:
    from .. import job

    if len(options.file) * len(options.rank) * len(options.seed) > 1 or options.scheduler:
        return run_many(options, options.file)
    options = job.single(options)
    path, results = job.fit_one(options, say=print)
    if options.dandiset:
        from ..sinks.dandi import write_yaml

        write_yaml(options.folder or ".", options.dandiset)
    print(f"\n{scores_text(results.scores)}\n\n{fixed_points_text(results.read()[1])}\n\nwritten: {path}")
    print(f"look at it: nwb-lowrank plot {shlex.quote(str(path))}")
