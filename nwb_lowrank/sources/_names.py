"""Finding things by a bare name, by (the end of) a path, by the name of what holds them, or by a pattern."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase


def find(named: Mapping[str, object], name: str, who: str, kind: str) -> tuple[str, object]:
    """The path and object of a bare name, of (the end of) a path, or of the container of one thing only ('Fluorescence').

    Raises
    ------
    KeyError
        No such name.
    ValueError
        Several.
    """
    wanted = clean(name)
    paths = [wanted] if wanted in named else [path for path in named if path.endswith("/" + wanted)]
    paths = paths or [path for path in named if f"/{wanted}/" in f"/{path}"]
    if len(paths) == 1:
        return paths[0], named[paths[0]]
    if paths:
        raise ValueError(f"{who}: {kind} '{name}' is ambiguous; pass one of {', '.join(paths)}.")
    raise KeyError(f"{who}: no {kind} '{name}'; the file has {', '.join(named) or 'none'}. Pass one of these.")


def matching(named: Mapping[str, object], pattern: str) -> list[str]:
    """Paths that a pattern with *, ? or [] fits, whole or from a slash on; numbers in them count as numbers."""
    wanted = clean(pattern)
    return sorted((path for path in named if fnmatchcase(path, wanted) or fnmatchcase(path, "*/" + wanted)), key=natural)


def is_pattern(name: str) -> bool:
    """Does the name stand for several?"""
    return any(sign in name for sign in "*?[")


def clean(name: str) -> str:
    """A path as this package writes it: without the folders that every file has."""
    return name.strip("/").removeprefix("processing/").removeprefix("intervals/")


def natural(text: str) -> list:
    """A sorting key by which 'roi9' comes before 'roi10'."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|\D+", text)]
