"""Where the results of a source go."""

from __future__ import annotations

import os
from pathlib import Path


def default_output(source: Path) -> Path:
    """`<source>_lowrank.nwb`; `sub-X_…_ecephys.nwb` becomes `sub-X_…_desc-lowrank_ecephys.nwb`, a name that DANDI takes."""
    source = source.with_suffix("") if source.suffix == ".zarr" else source
    parts = source.stem.split("_")
    if source.stem.startswith("sub-") and len(parts) > 1 and "-" not in parts[-1]:
        return source.with_name("_".join([*parts[:-1], "desc-lowrank", parts[-1]]) + (source.suffix or ".nwb"))
    return source.with_name(f"{source.stem}_lowrank.nwb")


def stands_alone(source, in_place: bool) -> bool:
    """True for a Zarr folder, which is read and never written, so that its results need a file of their own; ValueError in place."""
    path = getattr(source, "container_source", source)
    if not isinstance(path, (str, os.PathLike)) or not os.path.isdir(path):
        return False
    if in_place:
        raise ValueError(
            f"write_nwb: '{path}' is a Zarr folder, which is only read. Leave in_place out: the results get a file of their own."
        )
    return True
