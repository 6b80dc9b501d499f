"""to_pynapple: results as pynapple objects."""

from __future__ import annotations

import numpy as np

from ..results import Results


def to_pynapple(results: Results) -> dict:
    """Latents, their standard deviation and rates as TsdFrames, and the windows as an IntervalSet.

    Parameters
    ----------
    results : Results

    Returns
    -------
    dict
        latents, latents_sd (a.u., one column a latent), rates (Hz, or the signal's unit; one column a unit, with its id and `held_out`
        as metadata), all at bin centres; windows, with `trial`, `split` and `log_evidence` as metadata and nothing else between them.

    Raises
    ------
    ValueError
        pynapple is not installed, or windows overlap or run backwards: pynapple would silently sort their samples into one another.
    """
    try:
        import pynapple
    except ImportError:
        raise ValueError("to_pynapple: pynapple is not installed. Install it: pip install 'nwb_lowrank[pynapple]'.") from None
    trials, posterior = results.trials, results.posterior
    stops = trials.starts + trials.lengths * trials.bin_width
    if (trials.starts[1:] < stops[:-1] - 1e-9).any():
        raise ValueError("to_pynapple: expected windows that follow one another; some overlap, and pynapple would mix their samples. "
                         "Pass results of trials that do not, or use results.posterior.")  # fmt: skip
    within = np.arange(trials.bins) < trials.lengths[:, None]
    ends = np.minimum(stops, np.r_[trials.starts[1:], np.inf])  # windows that touch must not overlap by a rounding
    about = dict(split=results.split, log_evidence=np.asarray(posterior.log_evidence))
    if "trial_id" in trials.table:
        about["trial"] = trials.table["trial_id"].to_numpy()
    windows = pynapple.IntervalSet(trials.starts, ends - 1e-9, metadata=about)
    rates = posterior.rates / trials.bin_width if trials.is_counts else posterior.rates
    frames = dict(latents=(posterior.latents, None), latents_sd=(posterior.latents_sd, None), rates=(rates, trials.unit_ids))
    made = {name: _frame(pynapple, trials.times[within], values[within], columns, windows) for name, (values, columns) in frames.items()}
    made["rates"].set_info(held_out=trials.held_out)
    return dict(**made, windows=windows)


def _frame(pynapple, times, values, columns, windows):
    return pynapple.TsdFrame(t=times, d=np.asarray(values), columns=columns, time_support=windows)
