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
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from . import __version__
from .results import Fit, FitSettings
from .sources._nlb_table import BIN_WIDTHS, PHASES, Dataset
from .trials import Trials

SMALLEST_RATE = 1e-6  # expected spikes per bin; a submission must not promise silence


@dataclass(frozen=True)
class Recipe:
    """How a dataset is fitted and read out: everything but rank and seed."""

    hidden: int = 64
    link: str = "exp"
    noise: str = "diagonal"
    channels: int = 64
    settings: FitSettings = field(default_factory=FitSettings)
    readout_particles: int = 128
    readout_draws: int = 64
    readout_repeats: int = 2


RECIPES = {
    # The defaults of any fit here; they were not tuned on the benchmark.
    "default": Recipe(),
    # Pals et al. 2024: both model and encoder climb the bound from random weights with RAdam; no warm start, no prior.
    "paper": Recipe(
        hidden=512, link="softplus", channels=64, readout_particles=192, readout_draws=64, readout_repeats=32,
        settings=FitSettings(
            steps=150_000, batch_size=16, particles=64, learning_rate=1e-3, final_learning_rate=1e-5, warmup=0, rectified=True,
            warm_rounds=0, averaging=0.0, dropout=0.0, prior=0.0, wake=False, initialise=False,
            resampling_gradient=False, resample_threshold=1.0, patience=50, validate_every=100,
        ),
    ),
}  # fmt: skip
RANKS = {"default": 6, "paper": 36}


@dataclass(frozen=True)
class Run:
    """One run of the benchmark: what to fit, on what, and where the results are kept."""

    dataset: Dataset
    files: tuple[Path, ...]  # the training file, and the test file where there is one
    folder: Path
    phase: str
    bin_width: int
    recipe: Recipe
    ranks: tuple[int, ...]
    seeds: tuple[int, ...]
    device: str = "cpu"

    @property
    def group(self) -> str:
        return self.dataset.group(self.bin_width)

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
            tell(fit_one(run, rank, seed, show=True))
        return
    with ProcessPoolExecutor(min(jobs, len(missing)), mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(fit_one, run, rank, seed) for rank, seed in missing]):
            tell(done.result())


def fit_one(run: Run, rank: int, seed: int, show: bool = False) -> str:
    """Fit, infer, and keep both; one thread. Returns a line to show; `show`: progress bars meanwhile."""
    import torch

    from .fit import fit
    from .infer import infer
    from .job import Bars
    from .model import LowRankRNN

    torch.set_num_threads(1)
    cut = tensors(run)
    trials, began, used = cut.trials, time.time(), time.process_time()
    path, rates = fit_path(run, trials, rank, seed), rates_path(run, trials, rank, seed)
    with Bars() as bars:
        if not path.exists():
            checkpoint = path.with_suffix(".checkpoint")
            model = LowRankRNN(rank=rank, units=max(run.recipe.hidden, rank), neurons=trials.neurons, **_parts(run.recipe))
            fitted = fit(model, _encoder(run.recipe), trials.select(cut.split == "train"), run.recipe.settings, seed=seed,
                         device=run.device, on_step=bars.step if show else None,
                         checkpoint=checkpoint, resume=checkpoint.exists())  # fmt: skip
            _into_place(path, fitted.save)
            checkpoint.unlink(missing_ok=True)
        posterior = infer(
            Fit.load(path), trials, **_readout(run.recipe), seed=seed, device=run.device, on_batch=bars.batch if show else None
        )
    took = dict(wall=time.time() - began, cpu=time.process_time() - used)
    _save(rates, dict(rates=posterior.rates, latents=posterior.latents), dict(seconds=took))
    return f"rank {rank} seed {seed}: {took['wall']:.0f} s, {took['cpu']:.0f} s of one core"


def _parts(recipe: Recipe) -> dict:
    import nwb_lowrank as nl

    covariance = dict(scalar=nl.ScalarCovariance, diagonal=nl.DiagonalCovariance, full=nl.FullCovariance)[recipe.noise]
    return dict(observation=nl.Poisson(nl.Exp() if recipe.link == "exp" else nl.Softplus()), noise=covariance())


def _readout(recipe: Recipe) -> dict:
    return {name: getattr(recipe, f"readout_{name}") for name in ("particles", "draws", "repeats")}


def _encoder(recipe: Recipe):
    import nwb_lowrank as nl

    return nl.Encoder(channels=recipe.channels)


def fit_path(run: Run, trials: Trials, rank: int, seed: int) -> Path:
    """Where the fit of this rank and seed is kept."""
    from .checks import fingerprint

    recipe = {name: value for name, value in asdict(run.recipe).items() if not name.startswith("readout_")}
    return run.folder / f"fit_rank{rank}_seed{seed}_{_digest(fingerprint(trials), recipe, rank, seed, run.device)}.safetensors"


def rates_path(run: Run, trials: Trials, rank: int, seed: int) -> Path:
    """Where its rates are kept."""
    readout = _digest(fit_path(run, trials, rank, seed).name, _readout(run.recipe))
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
    path = write_submission(run.folder / f"submission_{run.group}_{run.phase}_rank{rank}.h5", {run.group: mean}, cut.shapes)
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
    chosen = RECIPES[recipe]
    known = {**asdict(chosen.settings), **{name: getattr(chosen, name) for name in Recipe.__dataclass_fields__ if name != "settings"}}
    for name in changes:
        if name not in known:
            raise ValueError(f"nlb run: no setting {name!r}; there are {', '.join(known)}. Use one of these in --set.")
    inner = {name: value for name, value in changes.items() if name in FitSettings.__dataclass_fields__}
    outer = {name: value for name, value in changes.items() if name not in inner}
    chosen = replace(chosen, settings=replace(chosen.settings, **inner), **outer)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return Run(dataset, tuple(map(Path, files)), folder, phase, bin_width, chosen, tuple(ranks or (RANKS[recipe],)), tuple(seeds), device)


def _digest(*parts) -> str:
    return hashlib.sha256(json.dumps([__version__, *parts], sort_keys=True).encode()).hexdigest()[:12]


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"nlb run: no file '{path}'. Check the path.")
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
