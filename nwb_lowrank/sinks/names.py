"""Names that DANDI takes for derived files: sub-X/sub-X_ses-Y_desc-lowrank_ecephys.nwb, the modality kept."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ..sources._nwb_file import behavior_series, open_nwb, roi_series
from .nwb import default_output

ORGANISED = re.compile(r"(sub-[^_/]+)(_[a-z]+-[^_]+)*_[a-z]+(\+[a-z]+)*\.nwb")


class NoSubject(ValueError):
    """A recording that DANDI does not take."""


def upload_path(source, name: str | None = None) -> Path:
    """Where the results of a recording belong in a dandiset, relative to it.

    Parameters
    ----------
    source : str, path, open NWBFile or None
        The recording; opened only when `name` does not tell. None: not here yet, and a name that does not tell is kept.
    name : str or None
        The recording's name when its path does not have it (a file in the cache).

    Returns
    -------
    Path
        `sub-X/sub-X[_ses-Y]_…_desc-lowrank_<modality>.nwb`.

    Raises
    ------
    NoSubject
        A recording without a subject, which DANDI does not take.
    OSError, ValueError
        It cannot be read.
    """
    name = PurePosixPath(name or str(source)).name.removesuffix(".zarr")
    match = ORGANISED.fullmatch(name)
    if match is None and source is None:
        return Path(default_output(Path(name)).name)
    if match is None:
        name, match = _made_up(source)
    return Path(match[1]) / default_output(Path(name)).name


def _made_up(source) -> tuple[str, re.Match]:
    with open_nwb(source, "upload_path") as (nwb, _):
        subject, session = getattr(nwb.subject, "subject_id", None), nwb.session_id
        kinds = ["behavior"] * bool(behavior_series(nwb))
        kinds += ["ecephys"] * (nwb.units is not None) + ["ophys"] * bool(roi_series(nwb))
    if not subject:
        raise NoSubject(f"upload_path: '{source}' has no subject, and DANDI names files by it. Add nwbfile.subject, or pass --output.")
    entities = [f"sub-{_label(subject)}"] + [f"ses-{_label(session)}"] * bool(session)
    name = "_".join([*entities, "+".join(kinds or ["ecephys"])]) + ".nwb"
    return name, ORGANISED.fullmatch(name)


def _label(text: str) -> str:
    """Letters, digits, '-' and '+': what DANDI takes as a label."""
    return re.sub(r"[^A-Za-z0-9+-]+", "-", str(text)).strip("-") or "x"
