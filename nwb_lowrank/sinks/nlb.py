"""Submissions to the Neural Latents Benchmark: validated, written, read back, merged and scored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from ..metrics.nlb import evaluate_nlb
from ._safely import replacing

RELEASED = ("eval_data_test.h5", 105_927_616, "f2f434d30193251b58e6a693381fdd185c8fbc0e47d38f8810e65295bc42c865")  # name, bytes, sha256
FORWARD = ("eval_rates_heldin_forward", "eval_rates_heldout_forward")  # may be missing, together
REQUIRED = ("train_rates_heldin", "train_rates_heldout", "eval_rates_heldin", "eval_rates_heldout")


def write_submission(
    path,
    groups: Mapping[str, Mapping[str, np.ndarray]],
    shapes: Mapping[str, Mapping[str, tuple]],
    about: Mapping[str, Mapping] | None = None,
) -> Path:
    """Write a submission: rates as expected spikes per bin, float32.

    Parameters
    ----------
    path : path
        HDF5; an existing file is replaced, in one step and only by a complete one.
    groups : mapping of group ('mc_maze_20', ...) -> mapping of name -> array (trial, bin, neuron)
        `REQUIRED` names, and both `FORWARD` ones or none. The scaling datasets belong in one file.
    shapes : mapping of group -> mapping of name -> shape
        What the target wants: of `Benchmark.submission_shapes()`, or of `target_shapes(target)`, where an entry None may be any.
    about : mapping of group -> mapping of name -> text or number, or None
        How the rates were made; kept as attributes of the groups, which the server does not look at.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        A missing group or array, another shape, or a rate that is NaN, infinite, negative or zero. Nothing is written.
    OSError
        The file cannot be written there.
    """
    check_submission(groups, shapes)
    path = Path(path)
    arrays = {group: {name: np.asarray(rates, np.float32) for name, rates in sorted(values.items())} for group, values in groups.items()}
    with replacing(path, "write_submission", needed=sum(x.nbytes for values in arrays.values() for x in values.values())) as beside:
        with h5py.File(beside, "w") as file:
            for group, values in sorted(arrays.items()):
                for name, rates in values.items():
                    file.create_dataset(f"{group}/{name}", data=rates, compression="gzip")
                file[group].attrs.update((about or {}).get(group, {}))
        written = read_groups(beside)
        for group, values in arrays.items():
            for name, rates in values.items():
                if not np.array_equal(written[group][name], rates):
                    raise OSError(f"write_submission: '{group}/{name}' did not come back from '{path}' as it was written. Check the disk.")
    return path


def check_submission(groups: Mapping[str, Mapping], shapes: Mapping[str, Mapping[str, tuple]]) -> None:
    """Raise ValueError unless `groups` would be scored against a target of these shapes; see `write_submission`."""
    for group, wanted in shapes.items():
        if group not in groups:
            raise ValueError(f"submission: expected the group '{group}'; got {', '.join(groups) or 'none'}. Name it as the target does.")
        names = [*REQUIRED, *FORWARD] if any(name in groups[group] for name in FORWARD) else REQUIRED
        for name in names:
            if name not in groups[group]:
                raise ValueError(f"submission: '{group}' must hold {name!r}; it has {', '.join(groups[group]) or 'nothing'}. Add it.")
            _check_rates(f"{group}/{name}", np.asarray(groups[group][name]), wanted.get(name))
        unknown = [name for name in groups[group] if name not in (*REQUIRED, *FORWARD)]
        if unknown:
            takes = ", ".join((*REQUIRED, *FORWARD))
            raise ValueError(f"submission: '{group}' has no place for {unknown[0]!r}; it takes {takes}. Drop it.")
    strangers = [group for group in groups if group not in shapes]
    if strangers:
        raise ValueError(f"submission: the target has no group '{strangers[0]}'; it has {', '.join(shapes)}. Drop it or pass its target.")


def _check_rates(name: str, rates: np.ndarray, shape) -> None:
    if shape is not None and (rates.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, rates.shape))):
        wanted = tuple("any" if size is None else size for size in shape)
        raise ValueError(f"submission: '{name}' must have the shape (trial, bin, neuron) = {wanted}; got {rates.shape}. Cut it alike.")
    if not np.isfinite(rates).all():
        raise ValueError(f"submission: '{name}' must be finite; it holds NaN or infinity. Predict every bin of every trial.")
    if (rates < 0).any():
        raise ValueError(f"submission: '{name}' must be expected spikes per bin; it holds a negative rate. Pass rates, not logs.")
    if (rates.astype(np.float32) == 0).any():
        raise ValueError(f"submission: '{name}' must be positive; it holds a rate of zero, which no spike survives. Add a small floor.")


def target_shapes(target: Mapping[str, Mapping]) -> dict[str, dict[str, tuple]]:
    """Shapes that a submission to this target must have; None where the target does not say."""
    shapes = {}
    for group, arrays in target.items():
        B, T, N = arrays["eval_spikes_heldout"].shape
        trials = len(arrays["train_behavior"])
        seen = arrays["eval_spikes_heldin_forward"].shape[-1] if "eval_spikes_heldin_forward" in arrays else None
        shapes[group] = {"train_rates_heldin": (trials, T, seen), "train_rates_heldout": (trials, T, N),
                         "eval_rates_heldin": (B, T, seen), "eval_rates_heldout": (B, T, N)}  # fmt: skip
        later = {name: name.replace("rates", "spikes") for name in FORWARD}
        shapes[group] |= {name: arrays[spikes].shape for name, spikes in later.items() if spikes in arrays}
    return shapes


def read_groups(path, only=None) -> dict[str, dict[str, np.ndarray]]:
    """The groups (all, or those in `only`) of a target or a submission, as arrays.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; not HDF5; the released test target with a digest that is not its own.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"nlb: no file '{path}'. Check the path.")
    if path.name == RELEASED[0]:
        _check_digest(path)
    try:
        with h5py.File(path) as file:
            names = [name for name in file if isinstance(file[name], h5py.Group) and (only is None or name in only)]
            return {group: {name: data[()] for name, data in file[group].items()} for group in names}
    except OSError as error:
        raise ValueError(f"nlb: expected a target or submission (HDF5); '{path}' is something else ({error}). Pass another.") from None


def read_about(path) -> dict[str, dict]:
    """What a submission says of how its groups were made: group -> name -> value."""
    with h5py.File(path) as file:
        return {group: {name: getattr(value, "tolist", lambda: value)() for name, value in data.attrs.items()}
                for group, data in file.items()}  # fmt: skip


def _check_digest(path: Path) -> None:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != RELEASED[2]:
        raise ValueError(
            f"nlb: '{path}' must be the benchmark's released test target ({RELEASED[1]} bytes, sha256 {RELEASED[2][:12]}…); got "
            f"{path.stat().st_size} bytes, {digest[:12]}…. Download it again, or give a target of your own another name."
        )


def write_target(path, groups: Mapping[str, Mapping]) -> Path:
    """Write targets (`Benchmark.target()`) as the benchmark stores them: float32, int32, ragged lists of trials."""
    path = Path(path)
    with replacing(path, "write_target") as beside, h5py.File(beside, "w") as file:
        for group, arrays in sorted(groups.items()):
            for name, value in sorted(arrays.items()):
                if isinstance(value, list):
                    data = file.create_dataset(f"{group}/{name}", (len(value),), h5py.vlen_dtype(np.int32))
                    for row, trials in enumerate(value):
                        data[row] = np.asarray(trials, np.int32)
                else:
                    kind = {"f": np.float32, "i": np.int32}.get(value.dtype.kind, value.dtype)
                    file.create_dataset(f"{group}/{name}", data=value.astype(kind), compression="gzip")
    return path


def merge_submissions(paths, output) -> Path:
    """One submission of several files with different groups: the scaling datasets are scored together.

    Raises
    ------
    ValueError
        A group is in two of the files.
    """
    groups: dict[str, dict[str, np.ndarray]] = {}
    about: dict[str, dict] = {}
    for path in paths:
        about |= read_about(path)
        for group, arrays in read_groups(path).items():
            if group in groups:
                raise ValueError(f"merge_submissions: '{group}' is in more than one file, at last in '{path}'. Pass one file for each.")
            groups[group] = arrays
    shapes = {group: {name: x.shape for name, x in arrays.items()} for group, arrays in groups.items()}
    return write_submission(output, groups, shapes, about)


def score_submission(target, submission) -> dict[str, dict[str, float]]:
    """Local scores of a submission.

    Parameters
    ----------
    target, submission : path, or mapping of group -> mapping of name -> array
        The target may be the benchmark's released `eval_data_test.h5`, whose sha256 is then verified.

    Returns
    -------
    dict
        As of `evaluate_nlb`.

    Raises
    ------
    FileNotFoundError, ValueError, KeyError
        A file that is missing, damaged or not in the benchmark's layout, and the errors of `evaluate_nlb`.
    """
    submission = read_groups(submission) if not isinstance(submission, Mapping) else submission
    target = read_groups(target, submission) if not isinstance(target, Mapping) else target
    return evaluate_nlb(target, submission)
