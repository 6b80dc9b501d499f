"""The seven datasets of the Neural Latents Benchmark (Pei et al. 2021) as data: what differs between them, and nothing else.

Windows, lags and kernels are in milliseconds, as the benchmark states them. Sizes are facts about the released files, used to
check a download and to simulate one at full size.
"""

from __future__ import annotations

from dataclasses import dataclass

BIN_WIDTHS = (5, 20)  # ms; results of other bin widths have no place in a submission
FORWARD = 200  # ms predicted beyond every window


@dataclass(frozen=True)
class Sizes:
    """Trials of each split, units of each kind."""

    train: int
    val: int
    test: int
    held_in: int
    held_out: int


@dataclass(frozen=True)
class Dataset:
    """One dataset of the benchmark.

    Parameters
    ----------
    name : str
        The benchmark's name of it: the group of a submission, with '_20' appended at 20 ms.
    dandiset : str
    train_file, test_file : str
        Paths in the dandiset.
    sizes : Sizes
    align : str
        Column of the trial table with the aligning event.
    window : (int, int)
        ms around the event: what a model sees and predicts.
    overlap : bool
        Windows may overlap the next trial; otherwise they end where it starts.
    eval_overlap : bool
        The same for the windows that are scored.
    behavior : str or None
        Time series to decode, or None: `timing`.
    lag : int
        ms that behaviour follows neural activity.
    conditions : tuple of str
        Columns that define the conditions of the PSTH; () for none.
    kernel : int
        Standard deviation of the PSTH's smoothing, ms.
    decode_groups : str or None
        A 0/1 column: one decoder for each of its values (active and passive trials).
    segment : (str, str) or None
        Scored only between these two events (jagged, padded with NaN in front); None: the whole window.
    timing : tuple of str
        Columns of the trial table that are the behaviour; the last is the produced interval (ms).
    outlier : str or None
        A 0/1 column of trials left out of behaviour and PSTH.
    jitter : int
        Training windows may end up to so many ms later than the event, as far as the window's start stays inside the interval
        `timing[-1]`.
    """

    name: str
    dandiset: str
    train_file: str
    test_file: str
    sizes: Sizes
    align: str = "move_onset_time"
    window: tuple[int, int] = (-250, 450)
    overlap: bool = False
    eval_overlap: bool = False
    behavior: str | None = "hand_vel"
    lag: int = 0
    conditions: tuple[str, ...] = ()
    kernel: int = 0
    decode_groups: str | None = None
    segment: tuple[str, str] | None = None
    timing: tuple[str, ...] = ()
    outlier: str | None = None
    jitter: int = 0

    @property
    def duration(self) -> int:
        """Length of the window, ms."""
        return self.window[1] - self.window[0]

    def group(self, bin_width: int) -> str:
        """Name of its group in a submission."""
        return self.name if bin_width == 5 else f"{self.name}_{bin_width}"


def _maze(name: str, dandiset: str, session: str, sizes: Sizes, lag: int = 120, kernel: int = 50) -> Dataset:
    stem = f"sub-Jenkins/sub-Jenkins_ses-{session}_desc-"
    return Dataset(name, dandiset, f"{stem}train_behavior+ecephys.nwb", f"{stem}test_ecephys.nwb", sizes, lag=lag,
                   conditions=("trial_type", "trial_version"), kernel=kernel)  # fmt: skip


DATASETS = {
    dataset.name: dataset
    for dataset in (
        _maze("mc_maze", "000128", "full", Sizes(1721, 574, 574, 137, 45), lag=100, kernel=70),
        Dataset(
            "mc_rtt", "000129", "sub-Indy/sub-Indy_desc-train_behavior+ecephys.nwb", "sub-Indy/sub-Indy_desc-test_ecephys.nwb",
            Sizes(810, 270, 272, 98, 32), align="start_time", window=(0, 600), overlap=True, eval_overlap=True,
            behavior="finger_vel", lag=140,
        ),
        Dataset(
            "area2_bump", "000127", "sub-Han/sub-Han_desc-train_behavior+ecephys.nwb", "sub-Han/sub-Han_desc-test_ecephys.nwb",
            Sizes(272, 92, 98, 49, 16), window=(-100, 500), eval_overlap=True, lag=-20,
            conditions=("cond_dir", "ctr_hold_bump"), kernel=40, decode_groups="ctr_hold_bump",
        ),
        Dataset(
            "dmfc_rsg", "000130", "sub-Haydn/sub-Haydn_desc-train_ecephys.nwb", "sub-Haydn/sub-Haydn_desc-test_ecephys.nwb",
            Sizes(741, 248, 252, 45, 15), align="go_time", window=(-1500, 0), overlap=True, behavior=None,
            conditions=("is_eye", "theta", "is_short", "ts"), kernel=70, segment=("set_time", "go_time"),
            timing=("is_eye", "theta", "is_short", "ts", "tp"), outlier="is_outlier", jitter=300,
        ),
        _maze("mc_maze_large", "000138", "large", Sizes(375, 125, 100, 122, 40)),
        _maze("mc_maze_medium", "000139", "medium", Sizes(188, 62, 100, 114, 38)),
        _maze("mc_maze_small", "000140", "small", Sizes(75, 25, 100, 107, 35)),
    )
}  # fmt: skip

# Phase: the splits that a model is fitted to, and the split that is scored.
PHASES = {"val": (("train",), "val"), "test": (("train", "val"), "test")}

# What others published: dataset -> bin width (ms) -> model -> co-bps of the test split.
_TEST = {
    "mc_maze": {
        5: {"GPFA": 0.187, "SLDS": 0.225, "MINT": 0.330, "AutoLFADS": 0.336, "NDT": 0.360, "STNDT ensemble": 0.386},
        20: {"AutoLFADS": 0.3554, "low-rank RNN, rank 36 (Pals et al. 2024)": 0.3589, "NDT": 0.3597, "LangevinFlow": 0.3650},
    },
    "mc_rtt": {5: {"GPFA": 0.155, "SLDS": 0.165, "MINT": 0.168, "AutoLFADS": 0.187, "NDT": 0.193, "STNDT ensemble": 0.210}},
    "area2_bump": {5: {"GPFA": 0.168, "SLDS": 0.196, "AutoLFADS": 0.257, "MINT": 0.274, "NDT": 0.280, "STNDT ensemble": 0.290}},
    "dmfc_rsg": {5: {"GPFA": 0.118, "SLDS": 0.124, "NDT": 0.173, "MINT": 0.182, "AutoLFADS": 0.183, "STNDT ensemble": 0.194}},
}
_VAL = {
    "mc_maze": [dict(model="low-rank RNN, rank 36 (Pals et al. 2024)", split="val", bin_ms=20, fit="mean of 30 fits",
                     **{"co-bps": 0.3403, "co-bps sd": 0.0017, "vel R2": 0.883, "psth R2": 0.574, "fp-bps": 0.236})],
}  # fmt: skip


def published(name: str) -> list[dict]:
    """Published scores of a dataset: model, split, bin_ms and what is known of the metrics."""
    test = [{"model": model, "split": "test", "bin_ms": bin_width, "co-bps": value}
            for bin_width, models in _TEST.get(name, {}).items() for model, value in models.items()]  # fmt: skip
    return [dict(row, dataset=name, published=True) for row in _VAL.get(name, []) + test]


def dataset_of(name: str) -> Dataset:
    """The dataset of that name, with or without a bin-width suffix.

    Raises
    ------
    KeyError
        None of the seven.
    """
    known = DATASETS.get(name.removesuffix("_20"))
    if known is None:
        raise KeyError(f"nlb: expected one of {', '.join(DATASETS)}; got {name!r}. Use one of these names.")
    return known
