"""nwb-lowrank dandi: list, download, fit, validate and upload, through the real DANDI client."""

from __future__ import annotations

import argparse

from . import fit as fit_command
from ._many import run_many

WIDE = 44  # columns of what an asset holds


def add(commands):
    command = commands.add_parser("dandi", help="recordings on DANDI: ls, download, fit, validate, upload", description=__doc__)
    parts = command.add_subparsers(required=True, metavar="WHAT")
    for name, text, make in (
        ("ls", "assets of a dandiset: size, what they hold, what is cached", _ls),
        ("download", "download assets into the verified cache", _download),
        ("fit", "one fit for every asset that matches", _fit),
        ("validate", "what DANDI and the NWB inspector say about a written file, beyond its source", _validate),
        ("upload", "upload written files into a dandiset of yours", _upload),
    ):
        part = parts.add_parser(name, help=text, description=text)
        make(part)
        part.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
    return command


def _place(part) -> None:
    part.add_argument("place", metavar="ID", help="000140, DANDI:000140/0.220113.0408, dandi://dandi/000140@draft/sub-1/, or a URL")
    part.add_argument("--glob", metavar="PATTERN", help="only assets whose path matches, such as 'sub-*/*_ecephys.nwb'")


def _ls(part) -> None:
    _place(part)
    part.set_defaults(run=run_ls)


def _download(part) -> None:
    _place(part)
    part.add_argument("--jobs", type=int, default=4, metavar="N", help="files at a time (%(default)s)")
    part.set_defaults(run=run_download)


def _fit(part) -> None:
    _place(part)
    fit_command.add_options(part)
    part.set_defaults(run=run_fit)


def _validate(part) -> None:
    part.add_argument("file", nargs="+", help="written files")
    part.add_argument("--source", metavar="FILE", help="the recording itself, whose findings are told apart (its address is in the file)")
    part.set_defaults(run=run_validate)


def _upload(part) -> None:
    part.add_argument("folder", help="folder with sub-*/ files")
    part.add_argument("--to", required=True, metavar="ID", help="your dandiset, six digits: never guessed")
    part.add_argument("--instance", required=True, metavar="NAME", help="dandi-sandbox to try, dandi for the archive itself")
    part.add_argument("--existing", default="refresh", choices=("error", "skip", "force", "overwrite", "refresh"),
                      help="what to do with assets that are there already (%(default)s)")  # fmt: skip
    part.set_defaults(run=run_upload)


def run_ls(options) -> None:
    from ..sources.dandi import find_assets

    found = find_assets(options.place, options.glob)
    print(f"{found[0].instance}, dandiset {found[0].dandiset}, version {found[0].version}: {len(found)} assets, "
          f"{sum(asset.size for asset in found) / 1e6:.1f} MB")  # fmt: skip
    wide = max(len(asset.path) for asset in found)
    for asset in found:
        holds = ", ".join(asset.holds)
        kind = "cached" if asset.cached() else "zarr" if asset.zarr else ""
        print(f"  {asset.path:<{wide}}  {asset.size / 1e6:>10.2f} MB  {kind:<6}  {holds[:WIDE]}{'…' * (len(holds) > WIDE)}")


def run_download(options) -> int:
    from ..sources.dandi import download_all, find_assets

    found = [asset for asset in find_assets(options.place, options.glob) if ".nwb" in asset.name]
    outcomes = download_all(found, options.jobs)
    for asset, outcome in zip(found, outcomes):
        print(f"failed: {asset.path}: {outcome}" if isinstance(outcome, Exception) else f"{asset.path}\n  {outcome}")
    return 1 if any(isinstance(outcome, Exception) for outcome in outcomes) else 0


def run_fit(options) -> int:
    from ..sources.dandi import find_assets

    found = [asset for asset in find_assets(options.place, options.glob) if ".nwb" in asset.name]
    options.folder = options.folder or "."
    return run_many(options, found)


def run_validate(options) -> int:
    from ..sinks.dandi import findings

    bad = 0
    for file in options.file:
        found = findings(file, options.source)
        print(f"{file}\n{found.text()}")
        bad += bool(found.new)
    return 1 if bad else 0


def run_upload(options) -> None:
    from ..sinks.dandi import upload

    paths = upload(options.folder, options.to, options.instance, existing=options.existing)
    print(f"uploaded to dandiset {options.to} on {options.instance}:\n" + "\n".join(f"  {path}" for path in paths))
