"""nwb-lowrank: the command line, a thin skin over the public functions. One file of `commands/` is one command."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import re
import sys
import warnings
from pathlib import Path

import nwb_lowrank as nl

from . import commands as door

DESCRIPTION = """Fit stochastic low-rank RNNs to recordings in NWB, find their fixed points, score them, and write all of it back into NWB.

Begin with:   nwb-lowrank info FILE      (what is in the file, and a fit command for it)
              nwb-lowrank demo           (the whole job on a simulated recording)"""
FIRST = ("info", "fit", "evaluate", "fixed_points", "plot")  # in the order of use; others follow by name
# An argument as messages of the library name it: overwrite=True, units=, window=(-0.3, 1)
ARGUMENT = re.compile(r"""(?<![\w/.'"])([a-z_]+)=(?!=)(True\b)?(?=([\w("'-]))?""")
SPELLED = {"bin_width": "bin", "run": "run_name"}  # arguments whose option is stored under another name
EXPECTED = (ValueError, KeyError, TypeError, OSError, MemoryError, RuntimeError)  # what the library raises for its users


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 0 done, 2 wrong input, 130 interrupted."""
    options = build_parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return options.run(options) or 0
    except KeyboardInterrupt as stop:
        print(f"\n{stop or 'interrupted'}", file=sys.stderr)
        if getattr(options, "checkpoint", None) and Path(options.checkpoint).exists():
            print("Go on with the same command and --resume.", file=sys.stderr)
        return 130
    except EXPECTED as error:
        if options.debug:
            raise
        message = error.args[0] if isinstance(error, KeyError) and error.args else str(error) or type(error).__name__
        print(f"nwb-lowrank: error: {_in_options(message, sys.argv[1:] if arguments is None else arguments)}", file=sys.stderr)
        return 2


def _in_options(message: str, words: list[str]) -> str:
    """The library's advice as it is typed here: 'Pass overwrite=True' becomes 'Pass --overwrite', of options that the command has."""
    typed = _options_of(build_parser(), words)

    def option(found: re.Match) -> str:
        name = SPELLED.get(found[1], found[1])
        return typed[name] + (" " if found[3] else "") if name in typed else found[0]

    return ARGUMENT.sub(option, message)


def _options_of(parser: argparse.ArgumentParser, words: list[str]) -> dict[str, str]:
    """How the options of the command that the words choose are typed, by the name they are stored under."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            place = next(place for place, word in enumerate(words) if word in action.choices)
            return _options_of(action.choices[words[place]], words[place + 1 :])
    return {action.dest: action.option_strings[-1] for action in parser._actions if action.option_strings}


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    """Warnings of this package as one line for users; others as they are."""
    ours = category.__module__.startswith("nwb_lowrank.")
    text = f"nwb-lowrank: warning: {message}\n" if ours else warnings.formatwarning(message, category, filename, lineno, line)
    (file or sys.stderr).write(text)


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = argparse.ArgumentParser("nwb-lowrank", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"nwb-lowrank {nl.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    found = [info.name for info in pkgutil.iter_modules(door.__path__) if not info.name.startswith("_")]
    for name in sorted(found, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)):
        command = importlib.import_module(f"{door.__name__}.{name}").add(commands)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


if __name__ == "__main__":
    sys.exit(main())
