"""Trials: binned activity that knows its units, its clock, its gaps and its origin."""

from __future__ import annotations

import re
from dataclasses import InitVar, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

CONDITION = re.compile(r"cond|target|direction|stim|categ|maze|cue|type|odou?r|image|orient", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Trials:
    """Binned neural activity, cut into trials of a common (padded) length.

    Letters: B trials, T bins, N neurons, D inputs, C behaviour columns.

    Parameters
    ----------
    counts : array (B, T, N)
        Spikes per bin, or a continuous signal such as dF/F. Finite everywhere;
        entries where `mask` is False carry no information and are stored as 0.
    mask : bool array, broadcastable to (B, T, N)
        True where the neuron was recorded. Trial ends, gaps in the recording
        and missing bins are all False.
    bin_width : float
        Seconds.
    starts : array (B,)
        Left edge of bin 0 on the session clock, seconds.
    unit_ids : int array (N,)
        Row ids in the file's units (or ROI) table.
    held_out : bool array (N,)
        Neurons that are scored in training and never shown to a proposal.
    forecast : int
        The last `forecast` bins of every trial are scored in training and never
        shown to a proposal. Counted from the end of the common length T.
    inputs : array (B, T, D)
        Known inputs u_t; D may be 0.
    behavior : array (B, T, C) or None
        Behaviour at bin centres, in the units of `behavior_units`.
    behavior_mask : bool array (B, T) or None
        True where the behaviour is known; other entries of `behavior` are 0.
    behavior_names, behavior_units : tuple of str, length C
    table : DataFrame, B rows
        Every column of the interval table that the trials came from.
    origin : dict
        Where the numbers came from: enough to cut the same trials again.
    input_names : tuple of str, length D (or empty)
    finite : bool
        Counts are known to be finite: a large array need not be looked through once more.

    Raises
    ------
    ValueError
        A shape that does not fit, or a value that is not finite.
    """

    counts: np.ndarray
    mask: np.ndarray
    bin_width: float
    starts: np.ndarray
    unit_ids: np.ndarray
    held_out: np.ndarray
    forecast: int = 0
    inputs: np.ndarray = None
    behavior: np.ndarray | None = None
    behavior_mask: np.ndarray | None = None
    behavior_names: tuple[str, ...] = ()
    behavior_units: tuple[str, ...] = ()
    table: pd.DataFrame = None
    origin: dict[str, Any] = field(default_factory=dict)
    input_names: tuple[str, ...] = ()
    finite: InitVar[bool] = False

    def __post_init__(self, finite: bool):
        counts = np.asarray(self.counts)
        if counts.ndim != 3:
            raise ValueError(
                f"Trials.counts must be (trial, bin, neuron); got shape {counts.shape}."
                + (" One trial? Pass counts[None]." if counts.ndim == 2 else "")
            )
        B, T, N = counts.shape
        if min(B, T, N) == 0:
            raise ValueError(
                f"Trials.counts must hold at least one trial, bin and neuron; got shape {counts.shape}. Check what was selected."
            )
        counts = counts.astype(np.float32, copy=False)
        given = np.asarray(self.mask, bool)
        mask = _broadcast("mask", given, (B, T, N))
        # A sum needs no memory, and tells in all but odd cases.
        if not (finite or np.isfinite(counts.sum()) or np.isfinite(counts).all()):
            raise ValueError(
                "Trials.counts must be finite; it holds NaN or infinity. Mark missing bins in `mask` instead "
                "(Trials.from_arrays turns NaN into masked bins)."
            )
        if not given.all() and any((counts[trial][~mask[trial]] != 0).any() for trial in range(B)):
            counts = np.where(mask, counts, np.float32(0))
        inputs = np.zeros((B, T, 0), np.float32) if self.inputs is None else np.asarray(self.inputs, np.float32)
        if inputs.ndim != 3 or inputs.shape[:2] != (B, T):
            raise ValueError(
                f"Trials.inputs must be (trial, bin, input) = ({B}, {T}, D); got shape {inputs.shape}. Cut them like the counts."
            )
        if not np.isfinite(inputs).all():
            raise ValueError("Trials.inputs must be finite; it holds NaN or infinity. Fill or drop those bins.")
        if not (np.isfinite(self.bin_width) and self.bin_width > 0):
            raise ValueError(f"Trials.bin_width must be a positive number of seconds; got {self.bin_width}. Pass for example 0.02.")
        if not 0 <= self.forecast < T:
            raise ValueError(f"Trials.forecast must leave at least one shown bin of {T}; got {self.forecast}. Forecast fewer.")
        table = pd.DataFrame(index=range(B)) if self.table is None else self.table.reset_index(drop=True)
        if len(table) != B:
            raise ValueError(f"Trials.table must have one row a trial ({B}); got {len(table)} rows. Select the same trials.")
        values = dict(
            counts=counts,
            mask=mask,
            inputs=inputs,
            table=table,
            bin_width=float(self.bin_width),
            forecast=int(self.forecast),
            starts=_vector("starts", self.starts, B, float),
            unit_ids=_vector("unit_ids", self.unit_ids, N, int),
            held_out=_vector("held_out", self.held_out, N, bool),
            input_names=tuple(self.input_names),
            behavior_names=tuple(self.behavior_names),
            behavior_units=tuple(self.behavior_units),
            **self._checked_behavior(B, T),
        )
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _checked_behavior(self, B: int, T: int) -> dict:
        if self.behavior is None:
            return dict(behavior=None, behavior_mask=None)
        behavior = np.asarray(self.behavior, float)
        if behavior.ndim != 3 or behavior.shape[:2] != (B, T):
            raise ValueError(
                f"Trials.behavior must be (trial, bin, column) = ({B}, {T}, C); got shape {behavior.shape}. Cut it like the counts."
            )
        known = np.ones((B, T), bool) if self.behavior_mask is None else np.asarray(self.behavior_mask, bool)
        known = _broadcast("behavior_mask", known, (B, T))
        if not np.isfinite(behavior[known]).all():
            raise ValueError(
                "Trials.behavior must be finite where behavior_mask is True; it holds NaN. Set behavior_mask False in those bins."
            )
        return dict(behavior=np.where(known[..., None], behavior, 0.0), behavior_mask=known)

    @classmethod
    def from_arrays(cls, counts, *, bin_width, mask=None, starts=None, unit_ids=None, held_out=None, **other) -> Trials:
        """Trials from plain arrays that never were NWB.

        Parameters
        ----------
        counts : array (B, T, N)
            NaN marks a missing bin and becomes mask False.
        bin_width : float
            Seconds.
        mask, starts, unit_ids, held_out, **other
            As in `Trials`; by default everything is recorded, trials follow one
            another on the clock, units are numbered from 0 and none is held out.

        Examples
        --------
        >>> import numpy as np
        >>> Trials.from_arrays(np.ones((4, 10, 3)), bin_width=0.02).counts.shape
        (4, 10, 3)
        """
        counts = np.asarray(counts, np.float32)
        if counts.ndim != 3:
            return cls(counts, True, bin_width, (), (), ())  # raises with the shape and the mend
        B, T, N = counts.shape
        recorded = ~np.isnan(counts)
        if mask is not None:
            recorded = recorded & _broadcast("mask", np.asarray(mask, bool), (B, T, N))
        return cls(
            counts=np.where(recorded, counts, np.float32(0)),
            mask=recorded,
            bin_width=bin_width,
            starts=np.arange(B) * T * bin_width if starts is None else starts,
            unit_ids=np.arange(N) if unit_ids is None else unit_ids,
            held_out=np.zeros(N, bool) if held_out is None else held_out,
            **other,
        )

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def bins(self) -> int:
        """T, the common length in bins."""
        return self.counts.shape[1]

    @property
    def neurons(self) -> int:
        """N."""
        return self.counts.shape[2]

    @property
    def seen(self) -> np.ndarray:
        """(B, T, N) what a proposal may look at: recorded, minus held-out neurons and forecast bins."""
        seen = self.mask & ~self.held_out
        seen[:, self.bins - self.forecast :] = False
        return seen

    @property
    def is_counts(self) -> bool:
        """True when every value is a non-negative integer."""
        return bool((self.counts >= 0).all() and (self.counts == np.round(self.counts)).all())

    @property
    def times(self) -> np.ndarray:
        """(B, T) bin centres on the session clock, seconds."""
        return self.starts[:, None] + (np.arange(self.bins) + 0.5) * self.bin_width

    @property
    def lengths(self) -> np.ndarray:
        """(B,) bins up to the last recorded one."""
        any_recorded = self.mask.any(-1)
        return np.where(any_recorded.any(1), self.bins - any_recorded[:, ::-1].argmax(1), 0)

    def conditions(self, column: str | None = None) -> tuple[np.ndarray | None, str | None]:
        """Labels (B,) of the trials' conditions and the column of `table` that they come from; (None, None) without any.

        Parameters
        ----------
        column : str or None
            None takes a column that looks like one: 2 to 32 different labels that are no times, no measured
            numbers and mostly repeated, a column named after a condition, target, direction or stimulus first.

        Raises
        ------
        KeyError
            No such column.
        """
        if column is None:
            named = [name for name in self.table if CONDITION.search(name)]
            likely = named + [name for name in self.table if name not in named]
            column = next((name for name in likely if _is_label(self.table[name])), None)
        if column is None:
            return None, None
        if column not in self.table:
            raise KeyError(
                f"Trials.conditions: no column {column!r} in the trial table; it has {', '.join(self.table)}. Pass one of these."
            )
        return self.table[column].to_numpy(), column

    def select(self, trials) -> Trials:
        """The trials of an index, a boolean mask or a slice, in that order."""
        index = np.arange(len(self))[trials]
        return replace(
            self,
            counts=self.counts[index],
            mask=self.mask[index],
            starts=self.starts[index],
            inputs=self.inputs[index],
            behavior=None if self.behavior is None else self.behavior[index],
            behavior_mask=None if self.behavior is None else self.behavior_mask[index],
            table=self.table.iloc[index],
        )

    def split(self, fractions=(0.8, 0.2), *, seed: int = 0) -> tuple[Trials, ...]:
        """Random parts of the trials, each in session order.

        Parameters
        ----------
        fractions : sequence of float
            Shares of the trials; they must add up to 1. Every part gets at least one trial.
        seed : int

        Raises
        ------
        ValueError
            Fewer trials than parts, or shares that do not add up to 1.
        """
        return tuple(self.select(part) for part in split_indices(len(self), fractions, seed))

    def split_labels(self, test: float = 0.2, *, seed: int = 0) -> np.ndarray:
        """'train' or 'test' for every trial (B,), with a random share `test` of them; the errors of `split`."""
        labels = np.full(len(self), "train")
        if test > 0:
            labels[split_indices(len(self), (1 - test, test), seed)[1]] = "test"
        return labels

    def hide(self, neurons) -> Trials:
        """The same trials with these neurons (index, boolean mask) held out: scored, never shown."""
        held_out = np.zeros(self.neurons, bool)
        held_out[neurons] = True
        if held_out.all():
            raise ValueError("Trials.hide: at least one neuron must stay shown; got all of them. Hide fewer.")
        return replace(self, held_out=held_out)

    def forecast_last(self, bins: int) -> Trials:
        """The same trials with the last `bins` bins scored, never shown."""
        return replace(self, forecast=bins)


def _is_label(values: pd.Series) -> bool:
    """2 to 32 values, on average at least 4 trials each, and not real numbers measured anew in every trial."""
    if not (pd.api.types.is_hashable(values.iloc[0]) and values.notna().all()):
        return False
    different = values.nunique()
    return 2 <= different <= min(32, len(values) // 4) and not values.name.endswith(("_time", "_id"))


def split_indices(size: int, fractions, seed: int) -> list[np.ndarray]:
    """Sorted random index sets with the given shares of `range(size)`; none is empty."""
    fractions = np.asarray(fractions, float)
    if abs(fractions.sum() - 1) > 1e-6 or (fractions <= 0).any():
        raise ValueError(f"Trials.split: fractions must be positive and add up to 1; got {tuple(fractions)}. Divide them by their sum.")
    if size < len(fractions):
        raise ValueError(
            f"Trials.split: {len(fractions)} parts need at least {len(fractions)} trials; got {size}. "
            "Cut the recording into more trials (a shorter chunk, another interval table)."
        )
    sizes = np.maximum(1, np.round(fractions * size).astype(int))
    while sizes.sum() != size:  # rounding may be off by several; what is too many is taken from the largest part
        sizes[np.argmax(sizes)] += 1 if sizes.sum() < size else -1
    order = np.random.default_rng(seed).permutation(size)
    return [np.sort(part) for part in np.split(order, np.cumsum(sizes)[:-1])]


def _broadcast(name: str, array: np.ndarray, shape: tuple) -> np.ndarray:
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"Trials.{name} must broadcast to {shape}; got shape {array.shape}. Cut it like the counts.") from None


def _vector(name: str, value, size: int, dtype) -> np.ndarray:
    value = np.asarray(value, dtype)
    if value.shape != (size,):
        raise ValueError(f"Trials.{name} must have shape ({size},); got {value.shape}. Pass one value for each.")
    return value
