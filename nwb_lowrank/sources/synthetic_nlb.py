"""The seven datasets of the benchmark simulated at full size from a known teacher, so that everything can be tried without them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..model import LowRankRNN
from ..observations import Poisson
from ..observations.base import Exp
from ..trials import Trials
from ._nlb_table import FORWARD, Dataset, Sizes, dataset_of
from .synthetic import _set

STEP = 20  # ms, a step of the teacher
FINE = 5  # ms in which a rate is constant
DECAY, GROWTH = 0.8, 1.06  # of the teacher's linear part; inside the unit cube it spirals outwards
MARGIN = 300  # ms simulated before and after everything that is scored: the PSTH's kernel must not look at silence
SLIM = 40  # the same where there is no PSTH
SKIPPED = 0.02  # share of trials without a split, half of which were observed in part only
BLOCK = 50  # trials between two pauses of the recording


@dataclass(frozen=True, eq=False)
class World:
    """A simulated session of the benchmark.

    Parameters
    ----------
    dataset : Dataset
    teacher : LowRankRNN
    table : DataFrame
        All trials, those of the test split included, with every column of the dataset; times in seconds.
    unit_ids, held_out : array (N,)
    paths : array (B, steps, R)
        Latents, `STEP` ms apart; the first at `table[align] − lead` ms.
    lead, duration : int
        ms; neurons are silent outside.
    speed : array (B,)
        Steps of the path per STEP ms: slower in trials with long intervals (dmfc_rsg).
    spike_times : list of N arrays
    observed : array (B, 2)
        Seconds observed of every trial; NaN for none.
    paused : array (B, 2)
        Seconds inside a trial without observation; NaN for none.
    """

    dataset: Dataset
    teacher: LowRankRNN
    table: pd.DataFrame
    unit_ids: np.ndarray
    held_out: np.ndarray
    paths: np.ndarray
    lead: int
    duration: int
    speed: np.ndarray
    spike_times: list[np.ndarray]
    observed: np.ndarray
    paused: np.ndarray
    seed: int

    def rates(self, trials: np.ndarray, edges: np.ndarray) -> np.ndarray:
        """Expected spikes (B, T, N) of some trials between `edges` (B, T + 1), seconds; where trials overlap the later one counts."""
        out = np.empty((len(trials), edges.shape[1] - 1, len(self.unit_ids)), np.float32)
        for part in np.array_split(np.arange(len(trials)), -(-len(trials) // 64)):
            out[part] = self._between(trials[part], edges[part])
            for later in (1, 2):
                following = trials[part] + later
                reach = following < len(self.table)
                reach[reach] &= _begin(self)[following[reach]] < edges[part, -1][reach]
                if reach.any():
                    out[part[reach]] += self._between(following[reach], edges[part[reach]])
        return out

    def _between(self, trials: np.ndarray, edges: np.ndarray) -> np.ndarray:
        """Expected spikes of these trials' own paths between edges."""
        begin, fine = _fine_rates(self, trials)
        total = np.concatenate([np.zeros_like(fine[:, :1]), fine.cumsum(1, dtype=float)], 1)
        edges = np.minimum(edges, np.append(_begin(self)[1:], np.inf)[trials, None])
        at = np.clip((edges - begin[:, None]) * 1000 / FINE, 0, fine.shape[1])
        low = np.minimum(at.astype(int), fine.shape[1] - 1)
        rows = np.arange(len(trials))[:, None]
        return np.diff(total[rows, low] + (at - low)[..., None] * fine[rows, low], axis=1)

    def true_rates(self, trials: Trials) -> np.ndarray:
        """Expected spikes per bin (B, T, N) for trials that `read_nlb` cut from this session's files."""
        rows = np.searchsorted(self.table["start_time"], trials.table["start_time"].to_numpy() - 1e-6)
        edges = trials.starts[:, None] + np.arange(trials.bins + 1) * trials.bin_width
        columns = np.searchsorted(self.unit_ids, trials.unit_ids)
        return self.rates(rows, edges)[..., columns]


def simulate_nlb(name: str, *, rank: int = 6, loading: float = 0.26, noise: float = 0.08, seed: int = 0, scale: float = 1.0) -> World:
    """Simulate a dataset of the benchmark.

    Parameters
    ----------
    name : str
        One of the seven.
    rank : int
        Even: the teacher is made of rank/2 planes that rotate at 0.7–2.5 Hz and saturate.
    loading : float
        Log-rate units per unit of z; with rates of median 5 Hz (log-normal) 0.26 gives an oracle near 0.35 bits per spike.
    noise : float
        Standard deviation of the latent noise per step.
    seed : int
    scale : float
        Share of the trials and neurons of the released dataset.
    """
    dataset = dataset_of(name)
    sizes = _scaled(dataset.sizes, scale)
    random = np.random.default_rng([seed, *name.encode()])
    table = _trial_table(dataset, sizes, random)
    margin = MARGIN if dataset.conditions else SLIM
    lead = margin - dataset.window[0]
    duration = lead + dataset.window[1] + FORWARD + dataset.jitter + margin
    neurons = sizes.held_in + sizes.held_out
    teacher = rotating_teacher(rank=rank, neurons=neurons, loading=loading, noise=noise, seed=int(random.integers(2**31)))
    condition = table.groupby(list(dataset.conditions) or [lambda row: row % 8], dropna=False).ngroup().to_numpy()
    first = random.normal(0, 0.8, (condition.max() + 1, rank))[condition] + random.normal(0, 0.15, (len(table), rank))
    speed = 700 / table["tp"].to_numpy() if "tp" in table else np.ones(len(table))
    steps = int(duration * speed.max() / STEP) + 2
    z, _ = teacher.simulate(teacher.m.new_zeros(len(table), steps, 0), seed=seed, initial=teacher.m.new_tensor(first))
    ids = np.sort(random.permutation(2 * neurons)[:neurons])
    held_out = np.isin(np.arange(neurons), random.permutation(neurons)[: sizes.held_out])
    observed, paused = _observation(table, random)
    world = World(dataset, teacher, table, ids, held_out, z.numpy(), lead, duration, speed, [], observed, paused, seed)
    return replace(world, spike_times=_spike_times(world, random))


def rotating_teacher(*, rank: int, neurons: int, loading: float, noise: float, seed: int = 0) -> LowRankRNN:
    """A clipped-ReLU network of rotating planes: z ← a z + B ramp(z), with a I + B a rotation that grows, ramp(x) = min(max(x, −1), 1).

    Each ramp is two clipped-ReLU units; one constant unit takes their offset away. Loadings are normal, rates at z = 0 log-normal
    around 5 Hz.
    """
    if rank % 2 or rank < 2:
        raise ValueError(f"rotating_teacher: rank must be even; got {rank}. Use {rank + 1}.")
    random = np.random.default_rng(seed)
    B = np.zeros((rank, rank))
    for plane, hertz in enumerate(np.linspace(0.7, 2.5, rank // 2)):
        angle = 2 * np.pi * hertz * STEP / 1000
        span = slice(2 * plane, 2 * plane + 2)
        B[span, span] = GROWTH * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) - DECAY * np.eye(2)
    model = LowRankRNN(rank=rank, units=2 * rank + 1, neurons=neurons, observation=Poisson(Exp()))
    _set(model, m=np.concatenate([np.eye(rank), np.eye(rank), np.zeros((1, rank))]),
         n=np.concatenate([B, -B, -B.sum(1, keepdims=True)], 1), decay_logit=np.log(DECAY / (1 - DECAY)))  # fmt: skip
    _set(model.nonlinearity, h=np.repeat([1.0, -1.0, 1.0], [rank, rank, 1]))
    _set(model.observation, loadings=random.normal(0, loading, (neurons, rank)),
         bias=np.log(5.0 * STEP / 1000) + random.normal(0, 0.9, neurons))  # fmt: skip
    model.noise.set(model.m.new_tensor(np.eye(rank) * noise**2))
    return model


def kinematics(world: World, names: tuple[str, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """1 kHz samples: times (S,) in whole milliseconds (as seconds) and series (S, 2), velocities linear in the delayed latents.

    There are no samples during pauses between blocks of trials.
    """
    random = np.random.default_rng([world.seed, 1])
    weights = random.normal(0, 60, (world.paths.shape[2], 2))
    start, stop = (np.round(world.table[edge].to_numpy() * 1000).astype(int) for edge in ("start_time", "stop_time"))
    block = np.arange(len(start)) // BLOCK
    spans = [(start[block == b].min() - 200, stop[block == b].max() + 1000) for b in range(block[-1] + 1)]
    times = np.concatenate([np.arange(max(first, 0), last) for first, last in spans])
    velocity = np.zeros((times[-1] + 1, 2))
    first = np.round(_begin(world) * 1000).astype(int) + world.dataset.lag
    for begin, path, speed in zip(first, world.paths @ weights, world.speed):
        at = np.arange(max(begin, 0), min(begin + world.duration, len(velocity)))
        grid = begin + np.arange(len(path)) * STEP / speed
        velocity[at] = np.stack([np.interp(at, grid, column) for column in path.T], 1)
    velocity += random.normal(0, 5, velocity.shape)
    series = {"vel": velocity, "pos": velocity.cumsum(0) / 1000}
    return times / 1000, {name: series[name[-3:]][times] for name in names}


def _scaled(sizes: Sizes, scale: float) -> Sizes:
    values = {name: max(4, round(value * scale)) for name, value in vars(sizes).items()}
    return replace(sizes, **values)


def _trial_table(dataset: Dataset, sizes: Sizes, random: np.random.Generator) -> pd.DataFrame:
    """Trials one after the other, in blocks, with the splits shuffled and the columns of the dataset."""
    skipped = max(2, round(SKIPPED * sizes.train))
    split = random.permutation(np.repeat(["train", "val", "test", "none"], [sizes.train, sizes.val, sizes.test, skipped]))
    columns = _COLUMNS[dataset.name.split("_")[0] if "maze" not in dataset.name else "maze"](len(split), random)
    length = columns.pop("length")
    alone = (split == "test") | (np.roll(split, 1) == "test")  # a test trial overlaps none: it would be in the training file
    between = np.where(alone, np.abs(columns["between"]).clip(min=0.3), columns.pop("between"))
    pause = np.where(np.arange(len(split)) % BLOCK == 0, 4.0, between)
    start = np.round(np.cumsum(pause) + np.concatenate([[0], np.cumsum(length)[:-1]]), 3)
    table = pd.DataFrame(dict(start_time=start, stop_time=np.round(start + length, 3)))
    for name, values in columns.items():
        table[name] = np.round(start + values, 3) if name.endswith("_time") else values
    table["split"] = split
    lost = (split == "none") & (np.arange(len(split)) % 2 == 0)
    if dataset.align != "start_time":
        table.loc[lost, dataset.align] = np.nan
    return table


def _maze_columns(n: int, random: np.random.Generator) -> dict:
    delay, rt = random.uniform(0.05, 0.8, n), random.uniform(0.25, 0.45, n)
    kind = random.permutation(np.arange(n) % 36)
    return dict(target_on_time=np.full(n, 0.3), go_cue_time=0.3 + delay, move_onset_time=0.3 + delay + rt, rt=np.round(rt * 1000),
                delay=np.round(delay * 1000), trial_type=kind // 3 + 1, trial_version=kind % 3, maze_id=kind // 3 + 100,
                num_targets=1 + kind % 2, num_barriers=kind % 9, active_target=np.zeros(n, int), success=np.ones(n, bool),
                length=0.3 + delay + rt + 0.75, between=random.uniform(0.3, 0.7, n))  # fmt: skip


def _rtt_columns(n: int, random: np.random.Generator) -> dict:
    return dict(length=np.full(n, 0.6), between=random.choice([0.3, 0.4, 0.9, -0.1], n, p=[0.45, 0.3, 0.2, 0.05]))


def _area2_columns(n: int, random: np.random.Generator) -> dict:
    bump = random.permutation(np.arange(n) % 2).astype(bool)
    onset = random.uniform(0.4, 0.9, n)
    return dict(result=np.full(n, "R"), ctr_hold_bump=bump, cond_dir=random.permutation(np.arange(n) % 4) * 90.0,
                target_on_time=np.full(n, 0.2), bump_time=np.where(bump, onset - 0.02, np.nan), move_onset_time=onset,
                length=onset + 0.75, between=random.uniform(0.3, 0.6, n))  # fmt: skip


def _dmfc_columns(n: int, random: np.random.Generator) -> dict:
    short = random.permutation(np.arange(n) % 2).astype(bool)
    ts = np.where(short, random.choice([480.0, 560, 640, 720, 800], n), random.choice([800.0, 900, 1000, 1100, 1200], n))
    tp = np.round(ts * random.normal(1, 0.08, n))
    ready, outlier = np.full(n, 0.9), (random.random(n) < 0.05).astype(int)
    go = ready + (ts + tp) / 1000
    return dict(target_on_time=np.full(n, 0.4), ready_time=ready, set_time=ready + ts / 1000, go_time=go, reward_time=go + 0.3,
                is_eye=random.permutation(np.arange(n) % 2).astype(bool), theta=random.choice([0.0, 180.0], n), is_short=short, ts=ts,
                tp=tp, is_outlier=outlier, length=go + 0.85, between=random.uniform(0.2, 0.5, n))  # fmt: skip


_COLUMNS = {"maze": _maze_columns, "mc": _rtt_columns, "area2": _area2_columns, "dmfc": _dmfc_columns}


def _observation(table: pd.DataFrame, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Observed stretch of every trial and, for half of the trials of no split, a pause in its middle; edges between bins."""
    start, stop = table["start_time"].to_numpy(), table["stop_time"].to_numpy()
    before, after = random.uniform(0.02, 0.13, (2, len(table))).round(4)
    observed = np.stack([np.maximum(start - before, 0.0), stop + 0.25 + after], 1)
    middle = (start + stop) / 2
    paused = np.stack([middle - 0.1, middle + random.uniform(0.05, 0.15, len(table)).round(4)], 1)
    paused[(table["split"] != "none") | (np.arange(len(table)) % 2 == 0)] = np.nan
    return observed, paused


def _anchor(world: World) -> np.ndarray:
    """(B,) time of the aligning event; the middle of trials without one."""
    event = world.table[world.dataset.align].to_numpy()
    return np.where(np.isnan(event), (world.table["start_time"] + world.table["stop_time"]) / 2, event)


def _begin(world: World) -> np.ndarray:
    """(B,) seconds at which the paths begin."""
    return _anchor(world) - world.lead / 1000


def _fine_rates(world: World, trials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Seconds where the paths of some trials begin, and expected spikes (b, F, N) per FINE ms from there on, linear in log rate."""
    paths = world.paths[trials]
    fine = world.duration // FINE
    at = (np.arange(fine) + 0.5) * FINE / STEP * np.ones((len(trials), 1)) * world.speed[trials, None]
    at = np.minimum(at, paths.shape[1] - 1.001)
    low = at.astype(int)
    rows = np.arange(len(trials))[:, None]
    z = paths[rows, low] + (at - low)[..., None] * (paths[rows, low + 1] - paths[rows, low])
    readout = world.teacher.observation
    log_rate = z @ readout.loadings.detach().numpy().T + readout.bias.detach().numpy()
    return _begin(world)[trials], np.exp(log_rate) * (FINE / STEP)


def _spike_times(world: World, random: np.random.Generator) -> list[np.ndarray]:
    """Poisson spikes of every unit, at random moments of their FINE ms; where trials overlap the later one takes over."""
    parts: list[list[np.ndarray]] = [[] for _ in world.unit_ids]
    for part in _chunks(len(world.table)):
        begin, fine = _fine_rates(world, part)
        until = np.append(_begin(world)[1:], np.inf)[part]
        trial, bin_, unit = np.nonzero(counts := random.poisson(fine))
        repeat = counts[trial, bin_, unit]
        trial, bin_, unit = (np.repeat(index, repeat) for index in (trial, bin_, unit))
        times = begin[trial] + (bin_ + random.random(len(trial))) * FINE / 1000
        times = np.where(unit < 3, times.round(3), times)  # some spikes lie on the edge of a millisecond
        keep = (times < until[trial]) & (times > 0)
        order = np.lexsort((times[keep], unit[keep]))
        edges = np.searchsorted(unit[keep][order], np.arange(len(world.unit_ids) + 1))
        for number, (first, last) in enumerate(zip(edges[:-1], edges[1:])):
            parts[number].append(times[keep][order][first:last])
    return [np.sort(np.concatenate(times)) for times in parts]


def _chunks(size: int) -> Iterator[np.ndarray]:
    yield from np.array_split(np.arange(size), -(-size // 64))
