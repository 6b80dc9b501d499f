"""nwb-lowrank info: what is in a file, and a fit command for it."""

from __future__ import annotations

import shlex

import nwb_lowrank as nl


def add(commands):
    command = commands.add_parser("info", help="what is in a file, and a fit command for it")
    command.set_defaults(run=run)
    command.add_argument("file")
    command.add_argument("--stream", action="store_true", help="read only the bytes needed of a DANDI asset or a URL, do not download it")
    return command


def run(options) -> None:
    found = inventory_of(options.file, options.stream)
    print(found.text())
    if found.units is None and not len(found.signals):
        print("\nnothing here can be fitted: neither spike times nor ROI response series")
        return
    suggestion = nl.suggest(found)
    print("\nsuggested fit    " + "\n                 ".join(suggestion["reasons"]))
    print(f"\n{suggested_command(options.file, suggestion['options'])}")


def inventory_of(file: str, stream: bool):
    """The inventory of a file, or of a place on DANDI or a URL without downloading it."""
    if not stream:
        return nl.inventory(file)
    from ..sources.remote import find_remote

    with find_remote(file).stream() as remote:
        return nl.inventory(remote)


def suggested_command(path: str, options: dict) -> str:
    """One line for a shell."""
    words = ["nwb-lowrank", "fit", str(path)]
    for name, flag in (("bin_width", "--bin"), ("table", "--table"), ("align", "--align"), ("window", "--window"), ("chunk", "--chunk"),
                       ("units", "--units"), ("signal", "--signal"), ("behavior", "--behavior"), ("rank", "--rank")):  # fmt: skip
        value = options.get(name)
        if value is not None and value != []:
            values = value if isinstance(value, (list, tuple)) else [value]
            words += [flag, *(f"{item:.10g}" if isinstance(item, float) else str(item) for item in values)]
    return " ".join(shlex.quote(word) for word in words)
