"""What is worth keeping of a fit: Fit, Posterior, FixedPoints, Scores, Results. Saved without pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .reading import Reading
from .recipe import TRUSTED, build, recipe
from .trials import Trials

LAYOUT_VERSION = "1"


@dataclass(frozen=True)
class FitSettings:
    """How a model is fitted. Written verbatim into the results.

    Parameters
    ----------
    steps : int
        Gradient steps.
    batch_size : int
        Trials per gradient step.
    particles : int
        K, particles per trial.
    learning_rate, final_learning_rate : float
        After `warmup` steps of linear increase the rate falls exponentially from the first to the second.
    warmup : int
        Steps.
    rectified : bool
        RAdam, the paper's optimiser, instead of Adam.
    clip : float
        The gradient's norm is cut to this value.
    validation : float
        Share of the trials kept for choosing the best state, by the bound with 4 K particles (0: none, the last state is kept).
    validate_every : int
        Steps between two looks at the validation trials.
    patience : int
        Looks without improvement after which the fit stops.
    warm_rounds, warm_steps, warm_trials, warm_rate : int, int, int, float
        Rounds of the warm start (`warm_start`; 0: none), gradient steps in each, trials smoothed for each, and the learning
        rate, which falls tenfold over the rounds. Many rounds of few steps: each round's trajectories then come from nearly the
        present model, and the latent noise shrinks far sooner than by Monte Carlo EM with its steps carried to the end.
    averaging : float
        The kept parameters are a running average over about this share of the latest rounds or steps: steps of
        stochastic optimisation circle around the optimum, their average lies nearer to it (0: none).
    segment : int or None
        Train on random pieces of this many bins (for long trials and continuous recordings); None: whole trials.
        A piece knows nothing of what came before it: spike history and filtered inputs begin anew.
    dropout : float
        Share of shown entries hidden from the proposal at each step while it learns (and scored all the same): a network
        that reads spikes must not learn single trials by heart.
    prior : float
        Weight of the observation model's weak prior (`Observation.log_prior`) in the objective; 0: maximum likelihood.
    wake : bool
        In the gradient steps the proposal learns from smoothed trajectories (wake phase; neural adaptive sequential Monte
        Carlo, Gu, Ghahramani, Turner 2015) and the model from the bound; False: both from the bound, as in the paper.
    initialise : bool
        Start from the data (see `initialise`); False keeps the model as it is.
    resample_threshold : float
        Resample a trial when its effective sample size falls below this share of K; 1 is every bin, as in the paper. An encoder
        that looks ahead proposes what later bins want, and resampling by earlier bins alone throws some of that away.
    resampling_gradient : bool
        Gradients include the choice of the resampled particles (`resampling.with_gradient`); False: as in the paper.
    """

    steps: int = 100
    batch_size: int = 32
    particles: int = 16
    learning_rate: float = 3e-4
    final_learning_rate: float = 1e-4
    warmup: int = 10
    rectified: bool = False
    clip: float = 5.0
    validation: float = 0.1
    validate_every: int = 20
    patience: int = 5
    warm_rounds: int = 400
    warm_steps: int = 2
    warm_trials: int = 32
    warm_rate: float = 1e-2
    averaging: float = 0.15
    segment: int | None = None
    dropout: float = 0.3
    prior: float = 1.0
    wake: bool = True
    initialise: bool = True
    resample_threshold: float = 0.5
    resampling_gradient: bool = True


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted model with its proposal.

    Parameters
    ----------
    model : LowRankRNN
    proposal : Proposal
    settings : FitSettings
    seed : int
    history : DataFrame
        One row per look at the validation trials: stage ("warm start", whose steps are rounds, or "fit"), step,
        bound of the minibatches since the last look and validation (both nats per bin and trial),
        ess (effective sample size as a share of K), learning_rate. No wall-clock time: a resumed
        fit must equal an uninterrupted one byte for byte.
    """

    model: Any
    proposal: Any
    settings: FitSettings
    seed: int
    history: pd.DataFrame

    def recipe(self) -> dict:
        """JSON-able description of model, proposal and settings."""
        return dict(model=recipe(self.model), proposal=recipe(self.proposal), settings=asdict(self.settings), seed=self.seed)

    def state(self) -> dict[str, np.ndarray]:
        """Every parameter and buffer, keyed 'model.…' and 'proposal.…'."""
        return {
            f"{part}.{name}": np.array(value.detach().cpu().numpy())
            for part, module in (("model", self.model), ("proposal", self.proposal))
            for name, value in module.state_dict().items()
        }

    @classmethod
    def from_state(cls, description: dict, state: dict[str, np.ndarray], history: pd.DataFrame, trusted=TRUSTED) -> Fit:
        """The inverse of `recipe` and `state`. Imports classes from `trusted` modules only."""
        try:
            return cls._rebuilt(description, state, history, trusted)
        except (RuntimeError, TypeError) as error:  # parameters or settings that this version has not, or has more of
            raise ValueError(
                f"Fit: expected what this version of nwb_lowrank writes; got another version's fit ({' '.join(str(error).split())[:200]}). "
                "Read it with the version that wrote it (`versions` in the run's settings), or fit again."
            ) from None

    @classmethod
    def _rebuilt(cls, description: dict, state: dict[str, np.ndarray], history: pd.DataFrame, trusted) -> Fit:
        import torch

        model = build(description["model"], trusted)
        proposal = build(description["proposal"], trusted).attach(model)
        for part, module in (("model", model), ("proposal", proposal)):
            values = {k[len(part) + 1 :]: torch.from_numpy(np.array(v)) for k, v in state.items() if k.startswith(part + ".")}
            dtype = next((v.dtype for v in values.values() if v.is_floating_point()), torch.float32)
            module.to(dtype).load_state_dict(values)
            module.eval()
        return cls(model, proposal, FitSettings(**description["settings"]), description["seed"], history)

    def save(self, path) -> Path:
        """Write one safetensors file; recipe and history travel in its header as JSON."""
        from safetensors.numpy import save_file

        header = {"recipe": json.dumps(self.recipe()), "history": json.dumps(self.history.to_dict("list"))}
        state = {name: np.ascontiguousarray(value) for name, value in self.state().items()}
        save_file(state, str(path), metadata=header)
        return Path(path)

    @classmethod
    def load(cls, path, trusted=TRUSTED) -> Fit:
        """Read what `save` wrote."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), "numpy") as file:
                header = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}
            description, history = json.loads(header["recipe"]), json.loads(header["history"])
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(
                f"Fit.load: expected a file written by Fit.save; '{path}' is something else ({error}). Pass that file."
            ) from None
        return cls.from_state(description, state, pd.DataFrame(history), trusted)


@dataclass(frozen=True, eq=False)
class Posterior:
    """What the fitted model says about trials.

    Parameters
    ----------
    latents, latents_sd : array (B, T, R)
        Mean and standard deviation of z_t given the shown data, arbitrary units.
    rates : array (B, T, N)
        Expected count per bin (or expected signal), averaged over smoothed draws.
    log_evidence : array (B,)
        Estimate of log p(shown data), nats per trial.
    ess : array (T, B)
        Effective sample size before resampling, between 1 and K.
    draws : array (S, B, T, R) or None
        Whole trajectories from the smoothing distribution.
    settings : dict
        particles, draws, repeats, seed: enough to compute the same numbers again.
    """

    latents: np.ndarray
    latents_sd: np.ndarray
    rates: np.ndarray
    log_evidence: np.ndarray
    ess: np.ndarray
    draws: np.ndarray | None = None
    settings: dict = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class FixedPoints:
    """Fixed points of the noise-free latent dynamics z ← F(z, u) at a constant input.

    Parameters
    ----------
    points : array (P, R)
    residual : array (P,)
        max |F(z) − z|.
    jacobian : array (P, R, R)
        dF/dz at the point.
    eigenvalues : complex array (P, R)
        Of the Jacobian, by falling modulus.
    stable : bool array (P,)
        Every eigenvalue inside the unit circle; on a kink of φ: proved to attract from every side.
    complete : bool
        True only when the search proved that no other fixed point lies in its region.
    certificate : dict
        How the search ended: search, region, boxes examined and left, tolerance, degree sum, what the flag rests on (JSON values).
    boxes : array (P, 2, R) or None
        Low and high corner of a box in which the point was proved to be the only one; NaN where it was not.
    """

    points: np.ndarray
    residual: np.ndarray
    jacobian: np.ndarray
    eigenvalues: np.ndarray
    stable: np.ndarray
    complete: bool
    certificate: dict = field(default_factory=dict)
    boxes: np.ndarray | None = None

    @property
    def sets(self) -> list[dict]:
        """Fixed points that are not isolated (continuous attractors): for each set its dimension, shape ('line', 'ring', ...),
        kind across it, low and high corner, length, and some verified points of it. They are not among `points`."""
        return self.certificate.get("sets", [])

    @property
    def kinds(self) -> list[str]:
        """'attractor', 'repeller' or 'saddle (k unstable)', each with ', spiral' where eigenvalues are complex; on a kink of φ
        what holds on every side of it."""
        names = []
        for values in self.eigenvalues:
            unstable = int((np.abs(values) >= 1).sum())
            name = "attractor" if unstable == 0 else "repeller" if unstable == len(values) else f"saddle ({unstable} unstable)"
            names.append(name + (", spiral" if (np.abs(values.imag) > 1e-9).any() else ""))
        on_kink = self.certificate.get("kink_kinds") or [None] * len(names)
        return [sides or name for sides, name in zip(on_kink, names, strict=True)]


@dataclass(frozen=True)
class Score:
    """One number with what it needs to be a score.

    Parameters
    ----------
    metric : str
    value : float
        In the metric's own unit: bits per spike, R², ….
    split : str
        Trials that were scored.
    bin_width : float
        Seconds.
    note : str
        What exactly was scored.
    """

    metric: str
    value: float
    split: str
    bin_width: float
    note: str = ""


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that goes into a file: the fit, what it was fitted to, and what came out.

    Parameters
    ----------
    fit : Fit
    trials : Trials
        All trials, held-out neurons and forecast bins marked.
    posterior : Posterior
        Of all trials, in the same order.
    split : str array (B,)
        'train' or 'test' for every trial.
    fixed_points : FixedPoints or None
    scores : tuple of Score
    reading : Reading or None
        A basis to look at latents and fixed points in; everything here is in the fit's own.
    portrait : Portrait or None
        What `portrait` found: attractors, cycles, switching, branches.
    """

    fit: Fit
    trials: Trials
    posterior: Posterior
    split: np.ndarray
    fixed_points: FixedPoints | None = None
    scores: tuple[Score, ...] = ()
    reading: Reading | None = None
    portrait: Any = None

    def __post_init__(self):
        split = np.asarray(self.split, dtype=str)
        if split.shape != (len(self.trials),):
            raise ValueError(f"Results.split must have one entry a trial ({len(self.trials)}); got shape {split.shape}.")
        if self.posterior.latents.shape[:2] != self.trials.counts.shape[:2]:
            raise ValueError(
                f"Results.posterior must be of the same trials {self.trials.counts.shape[:2]}; "
                f"got {self.posterior.latents.shape[:2]}. Use infer(fit, trials)."
            )
        object.__setattr__(self, "split", split)
        object.__setattr__(self, "scores", tuple(self.scores))

    def read(self) -> tuple[Posterior, FixedPoints | None]:
        """Posterior and fixed points in the basis of `reading`, or as they are without one."""
        if self.reading is None:
            return self.posterior, self.fixed_points
        points = None if self.fixed_points is None else self.reading.fixed_points(self.fixed_points)
        return self.reading.posterior(self.posterior), points

    def table(self) -> pd.DataFrame:
        """The scores as a table."""
        return pd.DataFrame([asdict(score) for score in self.scores], columns=list(Score.__dataclass_fields__))
