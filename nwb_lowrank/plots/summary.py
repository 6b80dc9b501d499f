"""One page that tells a scientist whether a fit is good."""

from __future__ import annotations

import numpy as np

from ..metrics.psth import psth, smooth
from ..results import Results

COLOURS = "viridis"
MOST_PATHS = 60  # trajectories drawn; more would hide one another


def plot_summary(results: Results, *, trial: int | None = None, column: str | None = None):
    """A page: one trial and its predicted rates, latents, phase portrait, PSTHs, scores, and training.

    Parameters
    ----------
    results : Results
    trial : int or None
        The trial shown in full; None takes the test trial with the most spikes.
    column : str or None
        Of the trial table, whose labels colour the trials; None takes what `Trials.conditions` finds.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with `figure.savefig(path)`.

    Raises
    ------
    KeyError
        No such column.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 10), layout="constrained")
    grid = figure.add_gridspec(3, 4)
    view = _View(results, column)
    trial = view.busiest if trial is None else trial
    _activity(figure, grid[0, :2].subgridspec(1, 2, wspace=0.02), view, trial)
    _latents(figure, grid[1, :2].subgridspec(1, view.shown_components), view)
    _portrait(figure.add_subplot(grid[:2, 2:]), view)
    (_single_trial if view.chunks else _responses)(figure, grid[2, :2].subgridspec(1, 3), view, trial)
    _training(figure.add_subplot(grid[2, 2]), results)
    _scores(figure.add_subplot(grid[2, 3]), results)
    trials = results.trials
    source = trials.origin.get("identifier") or "arrays"
    figure.suptitle(f"{source}: rank {results.fit.model.rank}, {trials.neurons} neurons ({trials.held_out.sum()} held out), "
                    f"{len(trials)} trials of {trials.bins} bins of {trials.bin_width * 1e3:g} ms")  # fmt: skip
    return figure


class _View:
    """What several panels need: principal latents, colours, times."""

    def __init__(self, results: Results, column: str | None):
        self.results, self.trials, self.posterior = results, results.trials, results.posterior
        self.recorded = self.trials.mask.any(-1)
        z = self.posterior.latents
        self.centre = z[self.recorded].mean(0)
        _, spread, self.axes = np.linalg.svd(z[self.recorded] - self.centre, full_matrices=False)
        self.share = spread**2 / (spread**2).sum()
        self.axes *= np.where(self.axes[np.arange(len(self.axes)), np.abs(self.axes).argmax(1)] < 0, -1, 1)[:, None]
        self.principal = np.where(self.recorded[..., None], (z - self.centre) @ self.axes.T, np.nan)
        self.shown_components = min(3, z.shape[-1])
        self.labels, self.column = self.trials.conditions(column)
        self.conditions = np.unique(self.labels) if self.labels is not None else np.array([0])
        self.colour = _colours(len(self.conditions))
        self.group = np.searchsorted(self.conditions, self.labels) if self.labels is not None else np.zeros(len(z), int)
        offset = (self.trials.origin.get("cut") or {}).get("window")
        self.time = (np.arange(self.trials.bins) + 0.5) * self.trials.bin_width + (offset[0] if offset else 0.0)
        self.chunks = (self.trials.origin.get("cut") or {}).get("table") == "none"
        test = np.flatnonzero(results.split == "test")
        self.candidates = test if len(test) else np.arange(len(z))
        self.busiest = int(self.candidates[self.trials.counts[self.candidates].sum((1, 2)).argmax()])
        self.drawn = np.random.default_rng(0).permutation(len(z))[:MOST_PATHS]
        counted = self.trials.is_counts
        self.scale, self.unit = (1 / self.trials.bin_width, "Hz") if counted else (1.0, "signal")


def _colours(count: int):
    from matplotlib import colormaps

    return colormaps["tab10"](np.arange(count)) if count <= 10 else colormaps[COLOURS](np.linspace(0, 1, count))


def _activity(figure, grid, view: _View, trial: int) -> None:
    """Recorded activity of one trial beside the rates that the model predicts, neurons sorted by their predicted peak."""
    from matplotlib.colors import PowerNorm

    trials = view.trials
    rates, bins = view.posterior.rates[trial], view.recorded[trial]
    z = (rates - rates[bins].mean(0)) / (rates[bins].std(0) + 1e-9)
    order = np.lexsort((z[bins].argmax(0), trials.held_out))
    counts = smooth(trials.counts[trial : trial + 1], trials.mask[trial : trial + 1], 1.0)[0]
    top = np.quantile(rates[bins], 0.995) * view.scale
    extent = (view.time[0], view.time[-1], trials.neurons, 0)
    panels = [figure.add_subplot(cell) for cell in grid]
    titles = (f"{view.results.split[trial]} trial {trial}, recorded", "predicted from shown neurons")
    for panel, values, title in zip(panels, (counts, rates), titles):
        shown = np.where(bins[:, None], values * view.scale, np.nan)[:, order].T
        low = 0 if trials.is_counts else np.nanquantile(shown, 0.005)
        # A root scale: a few fast neurons must not leave the others black.
        norm = PowerNorm(0.5 if trials.is_counts else 1.0, low, top)
        image = panel.imshow(shown, aspect="auto", extent=extent, norm=norm, cmap="magma", interpolation="nearest")
        panel.set(title=title, xlabel="time (s)")
        if trials.held_out.any():
            panel.axhline(trials.neurons - trials.held_out.sum(), color="cyan", lw=1)
    panels[0].set_ylabel("neuron" + (" (held out below line)" if trials.held_out.any() else ""))
    panels[1].set_yticks([])
    figure.colorbar(image, ax=panels[1], label=view.unit)


def _latents(figure, grid, view: _View) -> None:
    """Principal latents over time: thin single trials, thick means of conditions."""
    for component, cell in enumerate(grid):
        panel = figure.add_subplot(cell)
        path = view.principal[..., component]
        for trial in view.drawn:
            panel.plot(view.time, path[trial], color=view.colour[view.group[trial]], lw=0.4, alpha=0.5)
        if view.labels is not None:
            means = psth(np.nan_to_num(path)[..., None], view.recorded[..., None], view.labels, view.conditions)[..., 0]
            for mean, colour in zip(means, view.colour):
                panel.plot(view.time, mean, color=colour, lw=2)
        panel.set(xlabel="time (s)", title=f"principal latent {component + 1} ({view.share[component]:.0%})")
        if component == 0 and view.column:
            panel.set_ylabel(f"coloured by {view.column}")


def _portrait(panel, view: _View) -> None:
    """Trajectories, flow and fixed points in the plane of the first two principal latents (rank 1: z against its step)."""
    model, points = view.results.fit.model, view.results.fixed_points
    if view.principal.shape[-1] == 1:
        return _return_map(panel, view)
    for trial in view.drawn:
        panel.plot(*view.principal[trial, :, :2].T, color=view.colour[view.group[trial]], lw=0.5, alpha=0.6)
    at = np.zeros((0, 2)) if points is None else ((points.points - view.centre) @ view.axes.T)[:, :2]
    seen = view.principal[..., :2][view.recorded]
    low, high = np.quantile(seen, 0.001, axis=0), np.quantile(seen, 0.999, axis=0)
    low, high = low - 0.15 * (high - low), high + 0.15 * (high - low)
    inside = ((at > low - (high - low)) & (at < high + (high - low))).all(1)
    for edge, extreme in ((low, np.minimum), (high, np.maximum)):
        if inside.any():
            edge[:] = extreme(edge, extreme.reduce(at[inside], axis=0))
    x, y = np.meshgrid(*(np.linspace(low[k], high[k], 24) for k in range(2)))
    grid = np.stack([x, y], -1)
    z = view.centre + grid @ view.axes[:2]
    flow = (_step(model, z) - z) @ view.axes[:2].T
    panel.streamplot(x, y, flow[..., 0], flow[..., 1], color="0.75", density=1.1, linewidth=0.6, arrowsize=0.7)
    for stable, marker, face in ((True, "o", "black"), (False, "X", "white")):
        chosen = inside & (points.stable == stable) if points is not None else inside
        if chosen.any():
            name = "attractor" if stable else "unstable fixed point"
            panel.plot(
                *at[chosen].T,
                marker,
                ms=10,
                mfc=face,
                mec="black",
                label=f"{chosen.sum()} {name}{'s' if chosen.sum() > 1 else ''}",
            )
    panel.set(xlabel=f"principal latent 1 ({view.share[0]:.0%})", ylabel=f"principal latent 2 ({view.share[1]:.0%})",
              xlim=(low[0], high[0]), ylim=(low[1], high[1]))  # fmt: skip
    panel.set_title(_portrait_title(points, inside, view))
    if inside.any():
        panel.legend(loc="upper right", fontsize=8)


def _portrait_title(points, inside, view: _View) -> str:
    where = "flow in this plane" + (", other latents at their mean" if view.principal.shape[-1] > 2 else "")
    if points is None:
        return f"phase portrait ({where}); fixed points not searched"
    known = "all of them, certified" if points.complete else "others may exist"
    away = f", {(~inside).sum()} outside the view" if (~inside).any() else ""
    return f"{len(inside)} fixed point{'s' if len(inside) != 1 else ''} ({known}{away}); {where}"


def _return_map(panel, view: _View) -> None:
    """Rank 1: F(z) − z over z, zero at the fixed points."""
    points, seen = view.results.fixed_points, view.posterior.latents[view.recorded][:, 0]
    z = np.linspace(seen.min(), seen.max(), 400)
    panel.plot(z, _step(view.results.fit.model, z[:, None])[:, 0] - z, color="black")
    panel.hist(seen, 60, weights=np.full(len(seen), 1e-3 * np.ptp(seen) / len(seen)), color="0.8")
    panel.axhline(0, color="0.5", lw=0.8)
    if points is not None:
        panel.plot(points.points[:, 0], np.zeros(len(points.points)), "o", color="tab:red")
    panel.set(xlabel="z", ylabel="F(z) − z", title="one-dimensional flow")


def _step(model, z: np.ndarray) -> np.ndarray:
    """F(z) without input, numpy in and out."""
    tensor = model.m.new_tensor(z)
    return model.step(tensor, tensor.new_zeros((*z.shape[:-1], model.inputs))).detach().cpu().numpy()


def _responses(figure, grid, view: _View, trial: int) -> None:
    """PSTHs (dashed) against mean predicted rates (solid) of the three most modulated scored neurons."""
    trials = view.trials
    conditions = view.conditions if view.labels is not None else np.array([0])
    labels = view.labels if view.labels is not None else np.zeros(len(trials), int)
    test = view.results.split == "test"
    truth = psth(_smoothed(trials), trials.mask, labels, conditions) * view.scale
    model = psth(view.posterior.rates[test], trials.mask[test], labels[test], conditions) * view.scale
    for panel, neuron in _three_neurons(figure, grid, view, np.nanstd(truth, axis=(0, 1)), "mean "):
        for one, other, colour in zip(truth[..., neuron], model[..., neuron], view.colour):
            panel.plot(view.time, one, "--", color=colour, lw=1)
            panel.plot(view.time, other, color=colour, lw=1.5)


def _single_trial(figure, grid, view: _View, trial: int) -> None:
    """Chunks share no event to average over: smoothed activity (dashed) and predicted rates (solid) in the chunk that is shown."""
    bins = view.recorded[trial]
    truth, model = _smoothed(view.trials.select([trial]))[0, bins] * view.scale, view.posterior.rates[trial, bins] * view.scale
    for panel, neuron in _three_neurons(figure, grid, view, model.std(0), f"trial {trial}: "):
        panel.plot(view.time[bins], truth[:, neuron], "--", color="black", lw=1)
        panel.plot(view.time[bins], model[:, neuron], color="tab:blue", lw=1.5)


def _smoothed(trials) -> np.ndarray:
    return smooth(trials.counts, trials.mask, max(1.0, 0.05 / trials.bin_width))


def _three_neurons(figure, grid, view: _View, modulation: np.ndarray, what: str):
    """A panel for each of the three most modulated scored neurons."""
    trials = view.trials
    candidates = np.flatnonzero(trials.held_out) if trials.held_out.any() else np.arange(trials.neurons)
    for cell, neuron in zip(grid, candidates[np.argsort(-np.nan_to_num(modulation[candidates]))[:3]]):
        panel = figure.add_subplot(cell)
        panel.set(xlabel="time (s)", title=f"{'held-out ' if trials.held_out[neuron] else ''}unit {trials.unit_ids[neuron]}")
        if cell.colspan.start == 0:
            panel.set_ylabel(f"{what}{view.unit}, data --, model —")
        yield panel, neuron


def _training(panel, results: Results) -> None:
    """Bound, validation and effective sample size over the looks of the fit."""
    history = results.fit.history
    if not len(history):
        panel.set_axis_off()
        return
    looks = np.arange(1, len(history) + 1)
    panel.plot(looks, history["bound"], color="tab:blue", label="training")
    panel.plot(looks, history["validation"], color="tab:orange", label="validation")
    warm = int((history["stage"] == "warm start").sum())
    if 0 < warm < len(history):
        panel.axvline(warm + 0.5, color="0.7", lw=0.8)
    panel.set(xlabel="look (warm start, then VSMC)", ylabel="bound (nats per bin)", title="training")
    panel.legend(fontsize=8, loc="lower right")
    other = panel.twinx()
    other.plot(looks, history["ess"], color="tab:green", lw=1)
    other.set(ylim=(0, 1), ylabel="ESS / K")
    other.yaxis.label.set_color("tab:green")


def _scores(panel, results: Results) -> None:
    panel.set_axis_off()
    bins = results.trials.bin_width * 1e3
    test = int((results.split == "test").sum())
    lines = [f"{score.metric:>14}  {score.value:8.4f}" for score in results.scores] or ["not scored"]
    text = "\n".join([f"test split: {test} of {len(results.trials)} trials", f"bins of {bins:g} ms", "", *lines])
    panel.text(0, 1, text, va="top", family="monospace", fontsize=11, transform=panel.transAxes)
    panel.set_title("scores", loc="left")
