"""Whole files as a new user would take them: the command that `info` proposes, then `evaluate`, then the validator and the inspector.

    python benchmarks/real_files.py FILE.nwb [FILE.nwb ...] --folder OUTPUT

Prints for each file: seconds of the fit, scores, fixed points, errors of pynwb.validate, and findings of nwbinspector (violations
and worse) that the written file has and its source has not, read as it is or through a plain export (the inspector cannot open
some older files, and would find nothing in them).
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pynwb
from nwbinspector import Importance, inspect_nwbfile
from pynwb import NWBHDF5IO

SERIOUS = {Importance.CRITICAL, Importance.BEST_PRACTICE_VIOLATION, Importance.ERROR, Importance.PYNWB_VALIDATION}


def run(*words) -> str:
    """What the command prints; its error is shown and ends the benchmark."""
    done = subprocess.run([sys.executable, "-m", "nwb_lowrank.cli", *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{shlex.join(words)} ended with status {done.returncode}")
    return done.stdout


def findings(path) -> set[tuple]:
    """Serious remarks of the inspector, without the file's name."""
    messages = inspect_nwbfile(nwbfile_path=str(path))
    return {(m.check_function_name, m.object_name, m.message) for m in messages if m.importance in SERIOUS}


def exported(source: Path, copy: Path) -> Path:
    """The source as pynwb writes it today, without anything of ours."""
    with NWBHDF5IO(source, "r") as reader, NWBHDF5IO(copy, "w") as writer:
        writer.export(src_io=reader, nwbfile=reader.read())
    return copy


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--more", default="", help="options to add to every fit, such as '--seed 1'")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for file in options.files:
        source = Path(shutil.copy(file, options.folder / file.name))
        words = shlex.split(run("info", str(source)).strip().splitlines()[-1])[1:] + shlex.split(options.more)
        print(f"\n{file.name}: nwb-lowrank {shlex.join(words)}", flush=True)
        began = time.time()
        out = run(*words, "--overwrite")
        took = time.time() - began
        written = next(line.removeprefix("written: ") for line in out.splitlines() if line.startswith("written: "))
        scores = {s["metric"]: round(s["value"], 4) for s in json.loads(run("evaluate", written, "--json"))}
        points = json.loads(run("fixed-points", written, "--json"))
        run("plot", written)
        plain = exported(source, source.with_name(f"plain_{source.name}"))
        new = findings(written) - findings(source) - findings(plain)
        print(f"  fit {took:.0f} s; {scores}; {len(points['kinds'])} fixed points, complete {points['complete']}")
        print(f"  validation errors: {len(list(pynwb.validate(path=written)))}; new serious findings: {sorted(new) or 'none'}", flush=True)


if __name__ == "__main__":
    main()
