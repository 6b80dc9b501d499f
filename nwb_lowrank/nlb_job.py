"""A benchmark run as the command line does it: files -> tensors -> fits -> rates -> submission -> scores, resumable at every stage.

Each stage keeps its result in the run's folder under a name with a digest of everything that it depends on; a stage whose result is
there is not run again. A fit that was interrupted goes on from its checkpoint. What comes out is the same, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from . import __version__
from .nlb_recipe import Recipe, changed
from .results import Fit
from .sources._nlb_table import BIN_WIDTHS, PHASES, Dataset
from .trials import Trials

SMALLEST_RATE = 1e-6  # expected spikes per bin; a submission must not promise silence


@dataclass(frozen=True)
class Run:
    """One run of the benchmark: what to fit, on what, and where the results are kept."""

    dataset: Dataset
    files: tuple[Path, ...]  # the training file, and the test file where there is one
    folder: Path
    phase: str
    bin_width: int
    recipe: Recipe
    named: str  # what the recipe is called, with its changes
    ranks: tuple[int, ...]
    seeds: tuple[int, ...]
    device: str = "cpu"

    @property
    def group(self) -> str:
        return self.dataset.group(self.bin_width)

    @property
    def seeds_text(self) -> str:
        return " ".join(map(str, self.seeds))

    def fits(self) -> list[tuple[int, int]]:
        return [(rank, seed) for rank in self.ranks for seed in self.seeds]


@dataclass(frozen=True, eq=False)
class Tensors:
    """What fits and scores need of the files."""

    trials: Trials
    split: np.ndarray
    target: dict | None
    shapes: dict


def tensors(run: Run) -> Tensors:
    """Of the files, or of the cache of a run on files with the same content."""
    path = run.folder / f"tensors_{_digest(run.group, run.phase, [_sha256(file) for file in run.files])}.safetensors"
    if not path.exists():
        _save(path, *_packed(_read(run)))
    return _unpacked(*_load(path))


def _read(run: Run) -> Tensors:
    from .sources.nlb import read_nlb

    benchmark = read_nlb(run.dataset.name, *run.files, phase=run.phase, bin_width=run.bin_width)
    try:
        target = benchmark.target()
    except (ValueError, KeyError):  # the released test files keep it secret
        if run.phase == "val":
            raise
        target = None
    return Tensors(benchmark.trials, benchmark.split, target, benchmark.submission_shapes())


def fit_all(run: Run, jobs: int, tell) -> None:
    """Every fit and its rates, `jobs` at a time; `tell(line)` after each."""
    cut = tensors(run)
    missing = [pair for pair in run.fits() if not rates_path(run, cut.trials, *pair).exists()]
    if jobs <= 1 or len(missing) <= 1:
        for rank, seed in missing:
            tell(fit_one(run, rank, seed))
        return
    with ProcessPoolExecutor(min(jobs, len(missing)), mp_context=get_context("spawn")) as pool:
        try:
            for done in as_completed([pool.submit(fit_one, run, *pair, line % jobs) for line, pair in enumerate(missing)]):
                tell(done.result())
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


def fit_one(run: Run, rank: int, seed: int, line: int | None = None) -> str:
    """Fit, infer, and keep both; one thread. Returns a line to show; `line` of the terminal for the progress bars of one of many."""
    import torch

    from .infer import infer
    from .job import Bars

    torch.set_num_threads(1)
    cut = tensors(run)
    path, rates = fit_path(run, cut.trials, rank, seed), rates_path(run, cut.trials, rank, seed)
    spent = Spent(rates.with_suffix(".seconds"))
    with Bars(name="" if line is None else f"rank {rank} seed {seed}: ", position=line) as bars:
        if not path.exists():
            _fit(run, cut, rank, seed, path, lambda progress: spent.note(bars.step, progress))
        posterior = infer(
            Fit.load(path), cut.trials, **run.recipe.of_the_readout(), seed=seed, device=run.device,
            on_batch=lambda *progress: spent.note(bars.batch, *progress),
        )  # fmt: skip
    took = spent.so_far()
    _save(rates, dict(rates=posterior.rates, latents=posterior.latents), dict(seconds=took))
    spent.path.unlink(missing_ok=True)
    return f"rank {rank} seed {seed}: {took['wall']:.0f} s, {took['cpu']:.0f} s of one core"


def _fit(run: Run, cut: Tensors, rank: int, seed: int, path: Path, on_step) -> None:
    """The fit of the training trials, kept at `path`; goes on from its checkpoint where there is one."""
    import nwb_lowrank as nl

    recipe, train = run.recipe, cut.trials.select(cut.split == "train")
    covariance = dict(scalar=nl.ScalarCovariance, diagonal=nl.DiagonalCovariance, full=nl.FullCovariance)[recipe.noise]
    observation = nl.Poisson(nl.Exp() if recipe.link == "exp" else nl.Softplus())
    model = nl.LowRankRNN(rank=rank, units=max(recipe.hidden, rank), neurons=train.neurons, observation=observation, noise=covariance())
    checkpoint = path.with_suffix(".checkpoint")
    fitted = nl.fit(model, nl.Encoder(channels=recipe.channels), train, recipe.settings, seed=seed, device=run.device,
                    on_step=on_step, checkpoint=checkpoint, resume=checkpoint.exists())  # fmt: skip
    _into_place(path, fitted.save)
    checkpoint.unlink(missing_ok=True)


class Spent:
    """Seconds spent on a fit, those of runs that were killed included: noted in a file every few seconds."""

    def __init__(self, path: Path, every: float = 5.0):
        self.path, self.every = path, every
        try:
            self.before = json.loads(path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            self.before = dict(wall=0.0, cpu=0.0)
        self.began, self.used, self.noted = time.time(), time.process_time(), time.time()

    def so_far(self) -> dict[str, float]:
        """wall: on the clock;  cpu: of one core"""
        return dict(wall=self.before["wall"] + time.time() - self.began, cpu=self.before["cpu"] + time.process_time() - self.used)

    def note(self, show, *progress) -> None:
        """Called after every step, with what it reports, which is passed on to `show`."""
        show(*progress)
        if time.time() - self.noted > self.every:
            self.noted = time.time()
            self.path.write_text(json.dumps(self.so_far()))


def fit_path(run: Run, trials: Trials, rank: int, seed: int) -> Path:
    """Where the fit of this rank and seed is kept."""
    from .checks import fingerprint

    digest = _digest(fingerprint(trials), run.recipe.of_the_fit(), rank, seed, run.device)
    return run.folder / f"fit_rank{rank}_seed{seed}_{digest}.safetensors"


def rates_path(run: Run, trials: Trials, rank: int, seed: int) -> Path:
    """Where its rates are kept."""
    readout = _digest(fit_path(run, trials, rank, seed).name, run.recipe.of_the_readout())
    return run.folder / f"rates_rank{rank}_seed{seed}_{readout}.safetensors"


def submission_of(rates: np.ndarray, cut: Tensors) -> dict[str, np.ndarray]:
    """The arrays of a submission, of rates (B, T, N) of all trials."""
    rates = np.maximum(rates, SMALLEST_RATE).astype(np.float32)
    window, hidden = cut.trials.bins - cut.trials.forecast, cut.trials.held_out
    out = {}
    for kind, units in (("heldin", ~hidden), ("heldout", hidden)):
        for part, label in (("train", "train"), ("eval", "test")):
            out[f"{part}_rates_{kind}"] = rates[cut.split == label][:, :window, units]
        out[f"eval_rates_{kind}_forward"] = rates[cut.split == "test"][:, window:, units]
    return out


def submit(run: Run, rank: int) -> tuple[Path, list[dict[str, np.ndarray]], dict]:
    """Write the submission of one rank: rates averaged over its seeds. Returns it, each seed's arrays and the seconds of all seeds."""
    from .sinks.nlb import write_submission

    cut = tensors(run)
    loaded = [_load(rates_path(run, cut.trials, rank, seed)) for seed in run.seeds]
    seeds = [submission_of(arrays["rates"], cut) for arrays, _ in loaded]
    mean = submission_of(np.mean([arrays["rates"] for arrays, _ in loaded], axis=0, dtype=float), cut)
    about = dict(split=run.phase, model=f"low-rank RNN, rank {rank}", recipe=run.named, seeds=run.seeds_text, device=run.device)
    path = run.folder / f"submission_{run.group}_{run.phase}_rank{rank}.h5"
    write_submission(path, {run.group: mean}, cut.shapes, {run.group: about})
    return path, seeds, {kind: sum(about["seconds"][kind] for _, about in loaded) for kind in ("wall", "cpu")}


def score(run: Run, arrays_or_path, target_file=None) -> dict[str, float] | None:
    """Metric -> value against the files' own target or `target_file`; None where neither is known."""
    from .metrics.nlb import score_group
    from .sinks.nlb import read_groups

    submission = arrays_or_path if isinstance(arrays_or_path, dict) else read_groups(arrays_or_path)[run.group]
    target = tensors(run).target if target_file is None else read_groups(target_file, (run.group,)).get(run.group)
    if target is None and target_file is not None:
        raise ValueError(f"nlb: '{target_file}' holds no target for '{run.group}'. Pass the target of this dataset and bin width.")
    return None if target is None else score_group(run.group, target, submission)


def dynamics_scores(run: Run, rank: int, shots) -> tuple[list[dict], np.ndarray | None]:
    """Few-shot co-smoothing of every seed's latents, and their cross-decoding (None for a single seed).

    Needs held-out spikes of the scored trials in the files themselves: phase 'val'.
    """
    from .metrics.cross_decoding import cross_decoding
    from .metrics.few_shot import few_shot_bits

    cut = tensors(run)
    window, hidden, train = cut.trials.bins - cut.trials.forecast, cut.trials.held_out, cut.split == "train"
    if not cut.trials.mask[~train][..., hidden].any():
        raise ValueError(
            "nlb run: few-shot scores need the held-out spikes of the scored trials; the files keep them secret. Use phase val."
        )
    latents = [_load(rates_path(run, cut.trials, rank, seed))[0]["latents"][:, :window] for seed in run.seeds]
    counts = cut.trials.counts[:, :window, hidden]
    rows = [dict(rank=rank, seed=seed, **row) for seed, z in zip(run.seeds, latents)
            for row in few_shot_bits(z[train], counts[train], z[~train], counts[~train], shots=shots).to_dict("records")]  # fmt: skip
    return rows, cross_decoding([z[train] for z in latents], [z[~train] for z in latents]) if len(latents) > 1 else None


def make_run(dataset: Dataset, files, folder, *, phase: str, bin_width: int, recipe: str, ranks, seeds, changes: dict, device="cpu") -> Run:
    """A Run with a named recipe and changed settings; ValueError for what does not exist."""
    if phase not in PHASES or bin_width not in BIN_WIDTHS:
        raise ValueError(f"nlb run: phase is val or test and bins are 5 or 20 ms; got {phase!r} and {bin_width}. Choose from these.")
    chosen = changed(recipe, changes)
    ranks, seeds, files = tuple(ranks or (chosen.rank,)), tuple(seeds), tuple(map(Path, files))
    for name, values in (("ranks", ranks), ("seeds", seeds)):
        if len(set(values)) < len(values) or min(values) < (name == "ranks"):
            raise ValueError(f"nlb run: {name} must differ and be {'1' if name == 'ranks' else '0'} or more; got {values}. Name each once.")
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"nlb run: no file '{file}'. Check the path.")
    named = f"{recipe} recipe" + (" with " + ", ".join(f"{name}={value}" for name, value in changes.items()) if changes else "")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return Run(dataset, files, folder, phase, bin_width, chosen, named, ranks, seeds, device)


def _digest(*parts) -> str:
    return hashlib.sha256(json.dumps([__version__, *parts], sort_keys=True).encode()).hexdigest()[:12]


def _sha256(path: Path) -> str:
    about = path.stat()
    return _digest_of(path, about.st_size, about.st_mtime_ns)


@lru_cache
def _digest_of(path: Path, size: int, modified: int) -> str:
    """Of a file's content, read once as long as it stays as it is."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _packed(cut: Tensors) -> tuple[dict[str, np.ndarray], dict]:
    trials = cut.trials
    arrays = {name: np.ascontiguousarray(getattr(trials, name)) for name in ("counts", "mask", "starts", "unit_ids", "held_out")}
    ragged = {}
    for name, value in (cut.target or {}).items():
        if isinstance(value, list):
            ragged[name] = [len(part) for part in value]
            value = np.concatenate([*value, np.zeros(0, np.int64)]).astype(np.int64)
        arrays[f"target/{name}"] = np.ascontiguousarray(value)
    about = dict(bin_width=trials.bin_width, forecast=trials.forecast, split=cut.split.tolist(), shapes=cut.shapes, ragged=ragged,
                 origin=trials.origin, scored=cut.target is not None)  # fmt: skip
    return arrays, about


def _unpacked(arrays: dict[str, np.ndarray], about: dict) -> Tensors:
    parts = {name: arrays[name] for name in ("counts", "mask", "starts", "unit_ids", "held_out")}
    trials = Trials(**parts, bin_width=about["bin_width"], forecast=about["forecast"], origin=about["origin"])
    target = {name.removeprefix("target/"): value for name, value in arrays.items() if name.startswith("target/")}
    for name, lengths in about["ragged"].items():
        target[name] = np.split(target[name], np.cumsum(lengths)[:-1])
    return Tensors(trials, np.array(about["split"]), target if about["scored"] else None, about["shapes"])


def _save(path: Path, arrays: dict[str, np.ndarray], about: dict) -> None:
    from safetensors.numpy import save_file

    _into_place(path, lambda beside: save_file(arrays, str(beside), metadata={"about": json.dumps(about)}))


def _load(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    from safetensors import safe_open

    with safe_open(str(path), "numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["about"])


def _into_place(path: Path, save) -> None:
    """Write beside, then rename: a result is there whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
