"""The main job as the command line runs it: cut, split, fit, infer, fixed points, scores. No step of it is only here."""

from __future__ import annotations

import importlib
import inspect
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm import tqdm

import nwb_lowrank as nl

from .families import members
from .results import FitSettings
from .trials import Trials

BASES = {
    "nonlinearities": "Nonlinearity",
    "observations": "Observation",
    "proposals": "Proposal",
    "searches": "Search",
    "readouts": "Readout",
}
MOST_THREADS = 4
COVARIANCES = {"scalar": "ScalarCovariance", "diagonal": "DiagonalCovariance", "full": "FullCovariance"}


def member(family: str, name: str) -> type:
    """The class of a family folder by its command-line name."""
    package = importlib.import_module(f"nwb_lowrank.{family}")
    base = getattr(importlib.import_module(f"nwb_lowrank.{family}.base"), BASES[family])
    known = members(package, base)
    if name not in known:
        raise ValueError(f"nwb-lowrank: {family} are {', '.join(sorted(known))}; got {name!r}. Use one of these.")
    return known[name]


def single(options):
    """The options of one fit, from a command line that may ask for several."""
    options.file, options.rank, options.seed = options.file[0], options.rank[0], options.seed[0]
    return options


def fit_one(options, *, progress: bool = True, checkpoint: Path | None = None, say: Callable[[str], None] | None = None):
    """The whole job of one recording: path of the written file, and the results.

    A DANDI address in `options.file` becomes the one that names the version, and is downloaded or streamed.
    """
    with located(options, progress=progress) as (source, origin):
        output = prepared_output(options, source)
        options.checkpoint = checkpoint or output.with_name(f".{output.name}.{options.run_name}.checkpoint")
        options.resume = options.resume or (checkpoint is not None and checkpoint.exists())
        set_threads(options.threads)
        trials, split = cut(options, source)
        trials = replace(trials, origin=trials.origin | origin)
        if say:
            say(describe(trials, split))
        results = analyse(options, trials, split, progress=progress)
        with _turn(output):
            path = nl.write_nwb(source, results, **where(options, output), run=options.run_name, overwrite=options.overwrite,
                                backup=options.backup)  # fmt: skip
    options.checkpoint.unlink(missing_ok=True)
    return path, results


@contextmanager
def _turn(output: Path) -> Iterator[None]:
    """Several runs of one file may end at the same time, and writing a large one takes long: one after the other."""
    output.parent.mkdir(parents=True, exist_ok=True)
    turn = output.with_name(f".{output.name}.turn")
    with FileLock(turn):
        try:
            yield
        finally:
            turn.unlink(missing_ok=True)  # while it is held: filelock notices that its file is gone, and makes it anew


@contextmanager
def located(options, *, progress: bool = True) -> Iterator[tuple[object, dict]]:
    """What `read_nwb` reads, and what its origin is besides: a path, or the file-like object of a streamed asset.

    Sets where the results go: below a folder and named for DANDI when the recording comes from there or --folder asks.
    """
    from .sources.remote import find_remote, is_remote

    name, folder, asset = None, options.folder, None
    source = options.file if is_remote(options.file) else source_of(options)
    if is_remote(options.file):
        if options.in_place:
            raise ValueError("nwb-lowrank fit: --in-place writes into a file of yours; one on DANDI or the web is not. Leave it out.")
        asset = find_remote(options.file)
        options.file, name, folder = asset.url, asset.path, folder or "."
        source = None if options.stream else asset.download(progress=progress)
    elif options.stream:
        raise ValueError("nwb-lowrank fit: --stream is for places on DANDI and URLs; got a file. Leave it out.")
    if options.output is None and not options.in_place and folder is not None and (source or name):
        from .sinks.names import upload_path

        options.output = str(Path(folder) / upload_path(source, name))
    if asset is None or source is not None:
        yield source and Path(source), asset.origin() if asset else {}
        return
    with asset.stream() as file:
        yield file, {}


def where(options, output=None) -> dict:
    """What `write_nwb` is told of the place; a streamed recording is not copied, its results stand alone."""
    output = None if options.in_place else output or options.output
    return dict(output=output, in_place=options.in_place, sidecar=options.sidecar or options.stream)


def prepared_output(options, source=None):
    """Where the results will go, after making sure before a long fit that they can."""
    from .sinks.nwb import check_output

    source = source_of(options) if source is None else source
    if source is None:  # a sorter's folder is no NWB file that could be copied
        options.sidecar = True
        options.output = options.output or Path(options.file).with_name(f"{Path(options.file).name}_lowrank.nwb")
    return check_output(source, **where(options), run=options.run_name, overwrite=options.overwrite)


def source_of(options):
    """The NWB file that is fitted; None for a folder of sorted spikes."""
    from .sources.sorting import is_sorting

    return None if is_sorting(Path(options.file)) else options.file


def _read(options, source) -> Trials:
    """Trials of an NWB file or Zarr store, or of a folder that spikeinterface, Phy or Kilosort wrote."""
    same = dict(bin_width=options.bin, align=options.align, window=options.window and tuple(options.window), table=options.table,
                trials=options.trials, units=options.units, chunk=options.chunk)  # fmt: skip
    if source is None:
        unknown = [f"--{name}" for name in ("signal", "behavior", "input", "neuropil", "dff") if getattr(options, name)]
        if unknown:
            raise ValueError(f"nwb-lowrank fit: a sorting has spikes only; got {', '.join(unknown)}. Leave it out, or pass an NWB file.")
        return nl.read_sorting(options.file, **same)
    return nl.read_nwb(
        source, **same, signal=options.signal, behavior=options.behavior, mask_nan_behavior=options.mask_nan_behavior,
        average_behavior=options.average_behavior, neuropil=options.neuropil, neuropil_weight=options.neuropil_weight, dff=options.dff,
        dff_percentile=options.dff_percentile, inputs=options.input,
    )  # fmt: skip


def set_threads(threads: int | None) -> None:
    """CPU threads of PyTorch; by default half of the cores and at most MOST_THREADS, unless OMP_NUM_THREADS says otherwise.

    The filter is a chain of small operations: more threads gain little, and on a busy machine they wait for one another.
    """
    import torch

    if threads is not None and threads < 1:
        raise ValueError(f"nwb-lowrank fit: --threads must be at least 1; got {threads}. Leave it out for the default.")
    if threads is None and "OMP_NUM_THREADS" in os.environ:
        return
    torch.set_num_threads(threads or max(1, min(MOST_THREADS, (os.cpu_count() or 1) // 2)))


def cut(options, source=None) -> tuple[Trials, np.ndarray]:
    """Trials with held-out neurons and forecast bins marked, and the split of the trials."""
    for name, least in (("hidden", 1), ("seed", 0), ("history", 0), ("forecast", 0)):
        value = getattr(options, name, None)  # `adapt` has no model of its own
        if value is not None and value < least:
            raise ValueError(f"nwb-lowrank fit: --{name} must be at least {least}; got {value}. Leave it out for the default.")
    trials = _read(options, source_of(options) if source is None else source)
    for name in ("test", "held_out"):
        if not 0 <= getattr(options, name) < 1:
            raise ValueError(
                f"nwb-lowrank fit: --{name.replace('_', '-')} must be a share from 0 to below 1; got {getattr(options, name)}. "
                "Leave it out for a fifth."
            )
    if options.rank > trials.neurons:
        raise ValueError(f"nwb-lowrank fit: --rank must not exceed the number of neurons ({trials.neurons}); got {options.rank}. Lower it.")
    if options.held_out > 0 and not trials.held_out.any():
        trials = trials.hide(choose_held_out(trials, options.held_out, options.seed))
    return trials.forecast_last(options.forecast), trials.split_labels(options.test, seed=options.seed)


def choose_held_out(trials: Trials, share: float, seed: int) -> np.ndarray:
    """Indices of a random share of the active neurons, at least one (a silent neuron tells nothing about co-smoothing)."""
    active = np.flatnonzero((trials.counts * trials.mask).any((0, 1)))
    size = min(max(1, round(share * len(active))), trials.neurons - 1)
    return np.sort(np.random.default_rng(seed).permutation(active)[:size])


def describe(trials: Trials, split: np.ndarray) -> str:
    """One paragraph on what is about to be fitted."""
    entries = trials.mask.mean()
    total = f"{trials.counts.sum():.0f} spikes" if trials.is_counts else "continuous signal"
    dropped = Counter(trial["reason"] for trial in trials.origin.get("dropped") or [])
    gone = Counter(roi["reason"] for roi in trials.origin.get("dropped_rois") or [])
    return (f"{len(trials)} trials ({(split == 'test').sum()} test) x {trials.bins} bins of {trials.bin_width * 1e3:.4g} ms x "
            f"{trials.neurons} neurons ({trials.held_out.sum()} held out); {total}; {entries:.0%} of the entries recorded"
            + _lost("trials", dropped) + _lost("ROIs", gone))  # fmt: skip


def _lost(what: str, reasons: Counter) -> str:
    """'; 3 trials dropped (2 cue is NaN, 1 outside the recording)', or nothing."""
    listed = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
    return f"; {reasons.total()} {what} dropped ({listed})" if reasons else ""


def build(options, trials: Trials, neurons: int | None = None):
    """Model and proposal that the options ask for; `neurons` when there are other sessions' as well."""
    neurons = neurons or trials.neurons
    observation = build_observation(options, trials)
    units = max(options.hidden, options.rank)
    if isinstance(observation.readout, nl.UnitCurrents):
        units = max(units, neurons)  # one unit a neuron
    model = nl.LowRankRNN(
        rank=units if options.full_rank else options.rank, units=units, neurons=neurons, inputs=trials.inputs.shape[-1],
        observation=observation, nonlinearity=member("nonlinearities", options.nonlinearity)(),
        noise=getattr(nl, COVARIANCES[options.noise])(), biases=options.biases, filtered=options.filter_inputs, full=options.full_rank,
    )  # fmt: skip
    proposal = member("proposals", options.proposal)
    if options.causal and "causal" not in inspect.signature(proposal).parameters:
        raise ValueError(
            f"nwb-lowrank fit: --causal is for the encoders; got --proposal {options.proposal}, which is causal as it is. Drop it."
        )
    return model, proposal(causal=True) if options.causal else proposal()


def build_observation(options, trials: Trials):
    """The observation model with its link, readout and spike history; by the data: counts are Poisson, else Gaussian."""
    name = options.observation or ("poisson" if trials.is_counts else "gaussian")
    kind = member("observations", name)
    takes = inspect.signature(kind.__init__).parameters
    arguments = dict(readout=member("readouts", options.readout)())
    if "link" in takes:
        exp = options.link == "exp" or (options.link is None and kind.counts)
        arguments["link"] = nl.Exp() if exp else nl.Softplus()
    elif options.link is not None:
        raise ValueError(f"nwb-lowrank fit: --observation {name} has no --link. Leave it out.")
    if options.history:
        if "history" not in takes:
            raise ValueError(f"nwb-lowrank fit: --history is for spike counts; --observation {name} takes none. Leave it out.")
        arguments["history"] = nl.SpikeHistory(bins=options.history, basis=min(5, options.history))
    return kind(**arguments)


def settings(options) -> FitSettings:
    """FitSettings with every field that is an option of the same name, and those of --set."""
    given = {field.name: getattr(options, field.name) for field in fields(FitSettings) if hasattr(options, field.name)}
    return FitSettings(**given | dict(_setting(word) for word in options.set))


def _setting(word: str) -> tuple[str, object]:
    """NAME=VALUE of --set, the value of the field's own type."""
    name, _, text = word.partition("=")
    known = {field.name: type(field.default) for field in fields(FitSettings) if field.name != "segment"}
    if name not in known:
        raise ValueError(f"nwb-lowrank fit: --set takes {', '.join(sorted(known))}; got {name!r}. Use NAME=VALUE with one of these.")
    try:
        return name, {"true": True, "false": False}[text.lower()] if known[name] is bool else known[name](text)
    except (KeyError, ValueError):
        kind = {bool: "true or false", int: "a whole number", float: "a number"}[known[name]]
        raise ValueError(f"nwb-lowrank fit: --set {name} must be {kind}; got {text!r}. Write {name}=VALUE.") from None


def analyse(options, trials: Trials, split: np.ndarray, *, progress: bool = True) -> nl.Results:
    """Fit the training trials, then infer, score and search on what was fitted."""
    model, proposal = build(options, trials)
    with Bars(progress) as bars:
        fit = nl.fit(model, proposal, trials.select(split == "train"), settings(options), seed=options.seed, device=options.device,
                     on_step=bars.step, checkpoint=options.checkpoint, resume=options.resume)  # fmt: skip
        return conclude(options, fit, trials, split, bars)


def conclude(options, fit, trials: Trials, split: np.ndarray, bars) -> nl.Results:
    """Infer, search and score with a fit."""
    posterior = nl.infer(fit, trials, seed=options.seed, device=options.device, on_batch=bars.batch)
    points = nl.find_fixed_points(fit.model, search=nl.Newton() if fit.model.full else None)  # no box of 64 dimensions is searched through
    scores = nl.evaluate(posterior, trials, split) if (split == "test").any() else ()
    reading = None if options.reading is None else getattr(nl.Reading, f"of_{options.reading}")(fit, posterior.latents)
    return nl.Results(fit, trials, posterior, split, points, scores, reading)


def rows_of(posterior: nl.Posterior, rows: np.ndarray) -> nl.Posterior:
    """The posterior of some of its trials (bool array (B,))."""
    draws = None if posterior.draws is None else posterior.draws[:, rows]
    parts = {name: getattr(posterior, name)[rows] for name in ("latents", "latents_sd", "rates", "log_evidence")}
    return replace(posterior, **parts, ess=posterior.ess[:, rows], draws=draws)


def generate(results: nl.Results, *, draws: int, prior: bool, seed: int):
    """What the fit makes up for the test trials, and its scores against them."""
    test = results.split == "test"
    if not test.any():
        raise ValueError("generate: it is compared with test trials; this fit kept none back. Fit with --test above 0.")
    posterior = None if prior else rows_of(results.posterior, test)
    generated = nl.generate(results.fit, results.trials.select(test), posterior=posterior, draws=draws, seed=seed)
    metric = nl.Generative(generated.observations, seed=seed)
    return generated, nl.evaluate(results.posterior, results.trials, results.split, metrics=[metric])


class Bars:
    """Progress bars of the warm start, the gradient steps and the inference, one after the other.

    name, position : what is said before the stage, and the line of the terminal: for several processes at a time
    """

    def __init__(self, shown: bool = True, *, name: str = "", position: int | None = None):
        self.bar, self.stage, self.shown, self.name, self.position = None, None, shown, name, position

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *error) -> None:
        if self.bar is not None:
            self.bar.close()

    def step(self, progress) -> None:
        bar = self._bar(progress.stage, progress.steps, "round" if progress.stage == "warm start" else "step")
        bar.update(progress.step - bar.n)
        bar.set_postfix_str(f"bound/bin {progress.bound:.3f}, validation {progress.validation:.3f}, ESS {progress.ess:.0%}", refresh=False)

    def batch(self, done: int, total: int) -> None:
        bar = self._bar("infer", total, "batch")
        bar.update(done - bar.n)

    def count(self, stage: str, done: int, total: int) -> None:
        bar = self._bar(stage, total, "fit")
        bar.update(done - bar.n)

    def say(self, line: str) -> None:
        """A line above the bars."""
        self.__exit__()
        self.stage = self.bar = None
        tqdm.write(line)

    def _bar(self, stage: str, total: int, unit: str) -> tqdm:
        if stage != self.stage:
            self.__exit__()
            self.stage, self.bar = stage, tqdm(total=total, desc=f"{self.name}{stage:>10}", unit=unit, dynamic_ncols=True,
                                               disable=not self.shown, position=self.position, leave=self.position is None)  # fmt: skip
        return self.bar
