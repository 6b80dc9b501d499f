"""read_nlb: the files of a Neural Latents Benchmark dataset as Trials, as the benchmark's tensors, and as the target of its scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..trials import Trials
from ._nlb_file import ABSENT, MILLISECOND, read_file
from ._nlb_psth import psth_tensors
from ._nlb_session import Cut, Session
from ._nlb_table import BIN_WIDTHS, FORWARD, PHASES, Dataset, dataset_of


def read_nlb(name: str, train, test=None, *, phase: str = "val", bin_width: int = 20) -> Benchmark:
    """Read a dataset of the benchmark (Pei et al. 2021).

    Parameters
    ----------
    name : str
        mc_maze, mc_rtt, area2_bump, dmfc_rsg, mc_maze_large, mc_maze_medium or mc_maze_small.
    train, test : path (or whatever `read_nwb` reads)
        The dandiset's two files; phase 'val' needs the training file only. A test file that still has its held-out neurons and
        behaviour makes a test target.
    phase : str
        'val': fitted to split train, scored on val. 'test': fitted to train and val, scored on test.
    bin_width : int
        5 or 20 ms.

    Returns
    -------
    Benchmark

    Raises
    ------
    KeyError
        No such dataset.
    ValueError
        Another phase or bin width, a missing test file, or a file that is none of the benchmark's.

    Examples
    --------
    >>> read_nlb("mc_maze_small", "train.nwb", bin_width=20).split  # doctest: +SKIP
    """
    dataset = dataset_of(name)
    if phase not in PHASES:
        raise ValueError(f"read_nlb: phase must be 'val' or 'test'; got {phase!r}. Use one of these.")
    if bin_width not in BIN_WIDTHS:
        raise ValueError(f"read_nlb: the benchmark has bins of 5 and 20 ms; got {bin_width}. Use one of these.")
    if phase == "test" and test is None:
        raise ValueError("read_nlb: phase 'test' needs the test file beside the training file; got one file. Pass test=.")
    paths = [train] if phase == "val" else [test, train]  # the benchmark's order, which is that of the names
    session = Session([read_file(path, dataset.behavior) for path in paths], bin_width)
    for split in (*PHASES[phase][0], PHASES[phase][1]):
        if not session.chosen(split).any():
            raise ValueError(f"read_nlb: no trial of split {split!r} in the files; phase {phase!r} needs some. Pass the right files.")
    return Benchmark(dataset, session, phase)


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A dataset in one phase and at one bin width.

    `inputs()`, `target()` are the benchmark's tensors, equal to the bit; `trials` is the same for `fit` and `infer`.
    """

    dataset: Dataset
    session: Session
    phase: str

    @property
    def group(self) -> str:
        """The name of its group in a submission."""
        return self.dataset.group(self.session.width)

    @property
    def bins(self) -> tuple[int, int]:
        """Bins of the window and of the forward prediction."""
        return self.dataset.duration // self.session.width, FORWARD // self.session.width

    @cached_property
    def _parts(self) -> dict[str, np.ndarray]:
        train, scored = PHASES[self.phase]
        return {"train": self.session.chosen(*train), "eval": self.session.chosen(scored)}

    def _event(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """ns of the aligning event of every trial, jittered where the dataset wants it, and the jitter (ms) of the part's trials."""
        event, chosen = self.session.event(self.dataset.align), self._parts[part]
        if not self.dataset.jitter:
            return event, np.zeros(chosen.sum())
        jitter = _jitter(self.session, self.dataset, chosen)
        moved = np.full(len(event), ABSENT)
        known = ~np.isnan(jitter) & (event[chosen] != ABSENT)
        shift = np.where(np.isnan(jitter), 0, jitter).astype(np.int64) * MILLISECOND
        moved[chosen] = np.where(known, event[chosen] + shift, ABSENT)
        return moved, jitter

    def _cut(self, part: str, window: tuple[int, int], overlap: bool) -> Cut:
        return self.session.cut(self._parts[part], align=self._event(part)[0], window=window, overlap=overlap)

    def _windows(self, part: str) -> tuple[Cut, Cut]:
        """Of what a model sees and predicts, and of the forward prediction."""
        stop = self.dataset.window[1]
        return self._cut(part, self.dataset.window, self.dataset.overlap), self._cut(part, (stop, stop + FORWARD), True)

    def inputs(self) -> dict[str, np.ndarray]:
        """The spikes that a model may use: `make_train_input_tensors` with forward prediction, and `make_eval_input_tensors`.

        Returns
        -------
        dict of float16 arrays (trial, bin, neuron)
            train_spikes_heldin, train_spikes_heldout, both with _forward; eval_spikes_heldin, and eval_spikes_heldout in phase
            'val'.

        Raises
        ------
        ValueError
            A window that is cut short or only partly observed.
        """
        now, later = self._windows("train")
        windows = {"": _observed(self.session, now), "_forward": _observed(self.session, later)}
        parts = {"train": windows, "eval": {"": self._windows("eval")[0].bins("eval inputs")}}
        out = {}
        for held_out, kind in ((False, "heldin"), (True, "heldout")):
            named = {f"{part}_spikes_{kind}{suffix}": bins for part, spans in parts.items() for suffix, bins in spans.items()}
            if self.phase == "test" and held_out:
                named.pop("eval_spikes_heldout")
            out |= self.session.counts(named, held_out)
        return out

    def behavior(self, part: str, overlap: bool | None = None) -> np.ndarray:
        """Behaviour of the 'train' or 'eval' trials: (B, T, C) delayed by the lag, or (B, C) of the trial table. NaN where unknown.

        overlap : as of the windows that are scored by default
        """
        chosen, dataset = self._parts[part], self.dataset
        if not dataset.behavior:
            table = self.session.table.loc[chosen, list(dataset.timing)]
            values = table.astype(float).to_numpy(copy=True)
            values[(self.session.table.loc[chosen, dataset.outlier] != 0).to_numpy()] = np.nan
            return values
        window = tuple(edge + dataset.lag for edge in dataset.window)
        return self.session.behavior(self._cut(part, window, dataset.eval_overlap if overlap is None else overlap))

    def target(self, *, psth: bool = True) -> dict[str, object]:
        """What a submission is scored against: `make_eval_target_tensors`.

        Parameters
        ----------
        psth : bool
            False leaves the PSTHs out, which take most of the time; so does a trial table without the columns of the conditions.

        Returns
        -------
        dict of arrays
            eval_spikes_heldout (float16, or float64 with NaN outside the scored segment), train_behavior, eval_behavior,
            eval_spikes_heldin_forward, eval_spikes_heldout_forward, and where the dataset has them train_/eval_decode_mask,
            psth, train_/eval_cond_idx, train_/eval_jitter.

        Raises
        ------
        ValueError
            The files do not say what the held-out neurons did in the scored trials, or a window is cut short.
        """
        dataset, session = self.dataset, self.session
        cut, jitter = self._cut("eval", dataset.window, dataset.eval_overlap), self._event("eval")[1]
        if not session.known(True)[cut.first].any():
            raise ValueError(
                f"nlb target: expected held-out neurons in the {PHASES[self.phase][1]} trials; the files keep them secret. Score "
                "against the released eval_data_test.h5 (evaluate), or use phase 'val'."
            )
        later = _observed(session, self._windows("eval")[1])
        bins = _observed(session, cut) if dataset.segment is None else self._segment_bins(jitter)
        hidden = session.counts({"now": bins, "later": later}, True)
        out = {
            "eval_spikes_heldout": hidden["now"] if dataset.segment is None else hidden["now"].astype(float),
            "train_behavior": self.behavior("train"),
            "eval_behavior": self.behavior("eval"),
            "eval_spikes_heldin_forward": session.counts({"later": later}, False)["later"],
            "eval_spikes_heldout_forward": hidden["later"],
        }
        if dataset.decode_groups:
            group = session.table[dataset.decode_groups].to_numpy()
            for part, chosen in self._parts.items():
                out[f"{part}_decode_mask"] = np.stack([group[chosen] == 0, group[chosen] == 1], axis=1)
        return out | (self._psth() if psth and dataset.conditions and set(dataset.conditions) <= set(session.table) else {})

    def submission_shapes(self) -> dict[str, dict[str, tuple[int, int, int]]]:
        """Group -> name -> (trial, bin, neuron) of every array of a submission."""
        sizes = {part: len(self._windows(part)[0].rows) for part in ("train", "eval")}
        shapes = {}
        for kind, units in (("heldin", self.session.units[False]), ("heldout", self.session.units[True])):
            shapes |= {f"{part}_rates_{kind}": (size, self.bins[0], len(units)) for part, size in sizes.items()}
            shapes[f"eval_rates_{kind}_forward"] = (sizes["eval"], self.bins[1], len(units))
        return {self.group: shapes}

    def _psth(self) -> dict:
        train, scored = self._parts["train"], self._parts["eval"]
        ignored = self.session.split == "none" if self.phase == "test" else ~(train | scored)
        out = psth_tensors(self.session, self.dataset, train, scored, ignored)
        if self.dataset.jitter:
            for part in ("eval", "train"):
                out[f"{part}_jitter"] = (self._event(part)[1] / self.session.width).round().astype(int)
        return out

    def _segment_bins(self, jitter: np.ndarray) -> np.ndarray:
        """(B, T) bins of the scored segments, at the window's end and moved ahead by the jitter; −1 in front of and behind them."""
        start, stop = (self.session.event(name) for name in self.dataset.segment)
        cut = self.session.cut(self._parts["eval"], align=self._event("eval")[0], start=start, stop=stop)
        known = self.session.known(False) & self.session.known(True)
        length = self.bins[0]
        out = np.full((len(cut.rows), length), -1)
        for row, (first, last, late) in enumerate(zip(cut.first, cut.last, jitter)):
            ahead = int(round(late / self.session.width))
            bins = np.arange(first, last + 1)
            bins = bins[known[bins]][-(length - ahead) :]
            out[row, length - ahead - len(bins) : length - ahead] = bins
        return out

    @cached_property
    def split(self) -> np.ndarray:
        """'train' or 'test' for every trial of `trials`: the fitted trials, then the scored ones."""
        return np.concatenate([np.full(len(self._windows(part)[0].rows), label) for part, label in (("train", "train"), ("eval", "test"))])

    @cached_property
    def trials(self) -> Trials:
        """The fitted trials, then the scored ones: window and forward bins, held-in neurons and then held-out ones (marked so).

        What is not known (held-out neurons and forward bins of the test split) is masked.
        """
        windows = [self._windows(part) for part in ("train", "eval")]
        bins = np.concatenate([np.concatenate([now.bins("trials"), later.bins("trials")], axis=1) for now, later in windows])
        rows = np.concatenate([now.rows for now, _ in windows])
        counts = np.concatenate([self.session.counts({"all": bins}, kind)["all"] for kind in (False, True)], axis=2)
        units = self.session.units
        clock = np.repeat(self.session.shifts, [len(part.table) for part in self.session.files])[rows] / 1000
        return Trials.from_arrays(
            counts, bin_width=self.session.width / 1000, starts=bins[:, 0] * self.session.width / 1000 - clock,
            unit_ids=np.concatenate([units[False], units[True]]), held_out=np.repeat([False, True], [len(units[False]), len(units[True])]),
            forecast=self.bins[1], table=self.session.table.iloc[rows],
            origin=dict(held_out=units[True].tolist(), dataset=self.dataset.name, dandiset=self.dataset.dandiset, phase=self.phase,
                        align=self.dataset.align,
                        window=list(self.dataset.window), files=[part.origin for part in self.session.files]),
        )  # fmt: skip


def _observed(session: Session, cut: Cut) -> np.ndarray:
    """(B, T) bins of the trials in which all neurons were observed; trials without any observed bin are left out.

    Raises
    ------
    ValueError
        A window that is observed in part.
    """
    bins = cut.bins()
    known = (session.known(False) & session.known(True))[bins]
    if (known.any(1) & ~known.all(1)).any():
        trial = cut.rows[int(np.flatnonzero(known.any(1) & ~known.all(1))[0])]
        raise ValueError(f"nlb: trial {trial} was observed in part of its window only; the benchmark has no place for it. Drop it.")
    return bins[known.any(1)]


def _jitter(session: Session, dataset: Dataset, chosen: np.ndarray) -> np.ndarray:
    """ms by which the windows of the chosen trials end after the event, whole bins, as the benchmark draws them (seed 0)."""
    from numpy.random import RandomState  # the benchmark's numbers are numpy's legacy stream

    table = session.table.loc[chosen]
    produced = table[dataset.timing[-1]].to_numpy(float) if dataset.timing[-1] in table else np.full(len(table), np.nan)
    most = np.where(table["split"] == "test", 0.0, np.clip(-dataset.window[0] - produced, 0.0, float(dataset.jitter)))
    most = np.floor((most / session.width).round(4))
    return (RandomState(0).random_sample(len(most)) * most).round() * session.width
