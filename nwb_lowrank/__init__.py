"""Stochastic low-rank recurrent neural networks for recordings in NWB, fitted by variational sequential Monte Carlo.

The public names below load on first use: importing this package costs nothing.
"""

import sys
from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"

_WHERE = {
    "trials": ("Trials",),
    "sources.nwb": ("read_nwb",),
    "sources.sorting": ("read_sorting",),
    "sources.pynapple": ("read_pynapple",),
    "sources.nlb": ("read_nlb",),
    "sources.inventory": ("inventory",),
    "sources.suggest": ("suggest",),
    "model": ("LowRankRNN",),
    "gaussian": ("ScalarCovariance", "DiagonalCovariance", "FullCovariance"),
    "nonlinearities": ("ReLU", "ClippedReLU", "Tanh", "Identity"),
    "observations": (
        "Poisson",
        "NegativeBinomial",
        "Bernoulli",
        "GaussianSignal",
        "Calcium",
        "ZeroInflatedGamma",
        "SpikeHistory",
    ),
    "readouts": ("Affine", "MLP", "UnitRates", "UnitCurrents"),
    "observations.base": ("Softplus", "Exp"),
    "proposals": ("Bootstrap", "LinearGaussian", "Laplace", "Encoder", "EncoderLaplace"),
    "results": ("FitSettings", "Fit", "Posterior", "FixedPoints", "Score", "Results"),
    "fit": ("fit",),
    "checks": ("ParticleCollapse",),
    "infer": ("infer",),
    "generate": ("generate", "Generated"),
    "events": ("calcium_events", "Events"),
    "sessions": ("fit_sessions",),
    "reading": ("Reading",),
    "adapting": ("adapt",),
    "fixed_points": ("find_fixed_points",),
    "trust.select_rank": ("select_rank",),
    "trust.restarts": ("restarts",),
    "trust.agreement": ("agreement",),
    "trust.bootstrap": ("bootstrap_fit", "bootstrap_score"),
    "searches": ("Certified", "Newton", "Regions"),
    "searches.base": ("Dynamics",),
    "dynamics.portrait": ("portrait",),
    "dynamics.continuation": ("continue_fixed_points",),
    "dynamics.base": ("Portrait",),
    "metrics": ("evaluate", "Generative"),
    "sinks.nwb": ("write_nwb", "read_results", "list_runs"),
    "sinks.runs": ("describe_runs", "remove_run"),
    "sinks.pynapple": ("to_pynapple",),
    "sinks.tables": ("tidy_tables", "to_xarray"),
    "sinks.nlb": ("write_submission", "score_submission"),
    "sinks.recording": ("write_recording",),
    "batch": ("fit_many",),
    "plots.summary": ("plot_summary",),
    "plots.portrait": ("plot_portrait",),
    "plots.eigenvalues": ("plot_eigenvalues",),
    "plots.bifurcation": ("plot_bifurcation",),
    "plots.space": ("plot_space",),
}
_HOME = {name: module for module, names in _WHERE.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__():
    return sorted([*globals(), *__all__])


class _Package(ModuleType):
    """`nwb_lowrank.fit` is the function, also after Python has bound the submodule of that name here."""

    fit = property(lambda self: __getattr__("fit"), lambda self, submodule: None)
    infer = property(lambda self: __getattr__("infer"), lambda self, submodule: None)
    generate = property(lambda self: __getattr__("generate"), lambda self, submodule: None)


sys.modules[__name__].__class__ = _Package
