"""Written files on their way to DANDI: what its validator and the NWB inspector say beyond the source's own findings, and the upload."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..sources._dandi_errors import refused, token_variable
from ..sources._nwb_file import RESULTS_MODULE, frame, open_nwb, result_runs

YAML = "dandiset.yaml"
LEAST = ("CRITICAL", "ERROR", "BEST_PRACTICE_VIOLATION", "PYNWB_VALIDATION")  # a suggestion is no finding
SEVERE = ("WARNING", "ERROR", "CRITICAL")


@dataclass(frozen=True, order=True)
class Finding:
    """One remark: who made it (dandi, nwbinspector), its name, where in the file, and what it says."""

    validator: str
    check: str
    where: str
    message: str


@dataclass(frozen=True)
class Findings:
    """What is said of a written file: `new` is ours, `inherited` the source had already."""

    new: tuple[Finding, ...]
    inherited: tuple[Finding, ...]

    def text(self) -> str:
        """Both for a reader."""
        lines = [f"  new: {len(self.new)}; inherited from the source: {len(self.inherited)}"]
        lines += [f"  {kind} {found.validator} {found.check} {found.where}: {found.message}"
                  for kind, several in (("NEW", self.new), ("source", self.inherited)) for found in several]  # fmt: skip
        return "\n".join(lines)


def findings(path, source=None) -> Findings:
    """Run `dandi validate` and nwbinspector on a written file and on its source.

    Parameters
    ----------
    path : path
        A file that `write_nwb` wrote.
    source : path or None
        The recording; None takes the place that the file names, if it is here (or in the cache of DANDI assets).

    Raises
    ------
    FileNotFoundError, ImportError
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"dandi: no file '{path}'. Check the path.")
    source = source or _source_of(path)
    known = set() if source is None else {(f.validator, f.check, f.where) for f in _all(Path(source))}
    ours = sorted(set(_all(Path(path))))
    told = [(f.validator, f.check, f.where) in known for f in ours]
    return Findings(tuple(f for f, old in zip(ours, told) if not old), tuple(f for f, old in zip(ours, told) if old))


def _all(path: Path) -> Iterator[Finding]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from _inspected(path)
        yield from _validated(path)


def _inspected(path: Path) -> Iterator[Finding]:
    from nwbinspector import inspect_nwbfile, load_config

    for message in inspect_nwbfile(nwbfile_path=path, config=load_config("dandi")):
        if message.importance.name in LEAST:
            where = f"{message.object_type or ''} {message.object_name or ''} {message.location or ''}".strip()
            yield Finding("nwbinspector", message.check_function_name or "", where, " ".join(str(message.message).split()))


def _validated(path: Path) -> Iterator[Finding]:
    from dandi.files import dandi_file
    from dandi.utils import find_parent_directory_containing

    from ..sources.dandi import quiet

    quiet()
    home = find_parent_directory_containing(YAML, path.absolute())
    for result in dandi_file(path.absolute(), dandiset_path=home).get_validation_errors():
        if result.severity is not None and result.severity.name in SEVERE and not result.id.startswith("NWBI."):  # told already
            where = "" if result.within_asset_paths is None else ", ".join(result.within_asset_paths.values())
            yield Finding("dandi", result.id, where, " ".join(str(result.message).replace(str(path), path.name).split()))


def _source_of(path) -> Path | None:
    """The recording that a written file names, if it is on this machine."""
    with open_nwb(path, "dandi") as (nwb, _):
        runs = result_runs(nwb)
        rows = frame(nwb.processing[RESULTS_MODULE].data_interfaces[f"{runs[0]}_settings"]) if runs else None
    settings = {} if rows is None else {key: json.loads(value) for key, value in zip(rows["key"], rows["value"])}
    place, digests = settings.get("trials.origin.path"), {k.rsplit(".", 1)[-1]: v for k, v in settings.items() if ".dandi.digest." in k}
    if digests:
        from ..sources._dandi_cache import any_cached

        return any_cached({f"dandi:{kind}": value for kind, value in digests.items()})
    beside = [] if not place else [Path(place), Path(path).with_name(Path(place).name)]
    return next((where for where in beside if where.is_file() and not where.samefile(path)), None)


def write_yaml(folder, dandiset: str) -> Path:
    """A minimal `dandiset.yaml`, which says to which dandiset a folder belongs. One that is there and says so is left alone.

    Raises
    ------
    ValueError
        Not six digits, or the folder belongs to another dandiset.
    """
    if not re.fullmatch(r"\d{6}", dandiset):
        raise ValueError(f"dandi: a dandiset is six digits, such as 000140; got '{dandiset}'. Create yours on the archive's page first.")
    path = Path(folder) / YAML
    if path.exists():
        found = re.search(r"^identifier:\s*['\"]?(?:DANDI:)?(\d{6})", path.read_text(), re.MULTILINE)
        if found is None or found[1] != dandiset:
            belongs = found[1] if found else "none that is six digits"
            raise ValueError(f"dandi: '{path}' belongs to dandiset {belongs}; got {dandiset}. Name that one, or use another folder.")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"identifier: 'DANDI:{dandiset}'\nname: stochastic low-rank RNNs fitted to recordings\n"
                    "description: Written by nwb_lowrank; each file derives from the recording that it names.\n")  # fmt: skip
    return path


def upload(folder, dandiset: str, instance: str, *, existing: str = "refresh") -> list[Path]:
    """Upload every `sub-*/*.nwb` of a folder into the draft of a dandiset, with the real client, which validates first.

    Parameters
    ----------
    folder : path
        As `dandi fit --folder` leaves it.
    dandiset, instance : str
        Where to, never guessed: six digits, and "dandi", "dandi-sandbox" or an API's URL.
    existing : str
        error, skip, force, overwrite or refresh.

    Raises
    ------
    FileNotFoundError, ValueError, PermissionError, ConnectionError
        Nothing to upload; another dandiset's folder or a file that does not validate; no token; no server.
    """
    from dandi.consts import DandiInstance
    from dandi.exceptions import UploadError
    from dandi.upload import UploadExisting
    from dandi.upload import upload as send

    from ..sources.dandi import instance_of, sentences

    paths = sorted(path for path in Path(folder).glob("sub-*/*.nwb") if not path.name.startswith("."))
    if not paths:
        raise FileNotFoundError(f"dandi: no sub-*/*.nwb in '{folder}'. Fit with --folder first, which names files so.")
    write_yaml(folder, dandiset)
    name, api = instance_of(instance)
    token = os.environ.get(token_variable(name))
    if not token:
        raise refused(name, f"an upload to dandiset {dandiset}", 401)
    os.environ.setdefault("NO_ET", "1")
    client_variable = f"{name.upper().replace('-', '_')}_API_KEY"
    before, os.environ[client_variable] = os.environ.get(client_variable), token  # the client knows no other way
    try:
        with sentences(name, f"dandiset {dandiset}"):
            send(paths, existing=UploadExisting(existing), dandi_instance=DandiInstance(name, None, api))
    except UploadError as error:
        raise ValueError(f"dandi: the upload stopped ({error}). See what is wrong: nwb-lowrank dandi validate FILE") from None
    finally:
        os.environ.pop(client_variable) if before is None else os.environ.update({client_variable: before})
    return paths
