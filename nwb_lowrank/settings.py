"""FitSettings: the numbers of a fit."""

from __future__ import annotations

from dataclasses import dataclass

SHARES = ("validation", "dropout")
RANGES = (  # names, least value (None: above 0), and how the range is said
    ("batch_size particles validate_every patience warm_trials segment", 1, "at least 1"),
    ("steps warmup warm_rounds warm_steps averaging prior resample_threshold", 0, "at least 0"),
    ("learning_rate final_learning_rate clip warm_rate", None, "above 0"),
    (" ".join(SHARES), 0, "a share from 0 to below 1"),
)


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
        Gradients include the choice of the resampled particles (`resampling.with_gradient`); False: as in the paper. Ignored,
        they leave the bound unbiased but not its gradient, however many particles there are.
    multinomial : bool
        Resample by K independent draws; False: systematically, with the least noise.

    Raises
    ------
    ValueError
        A number out of its range.
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
    multinomial: bool = False

    def __post_init__(self):
        for names, low, words in RANGES:
            for name in names.split():
                value = getattr(self, name)
                if value is None and name == "segment":
                    continue
                if not (value > 0 if low is None else value >= low) or (name in SHARES and value >= 1):
                    default = type(self).__dataclass_fields__[name].default
                    raise ValueError(f"FitSettings: {name} must be {words}; got {value}. Leave it out for {default}.")
