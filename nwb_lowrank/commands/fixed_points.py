"""nwb-lowrank fixed-points: the fixed points of the fit in a written file, and the rest of its phase portrait."""

from __future__ import annotations

import json
from dataclasses import replace

from tqdm import tqdm

import nwb_lowrank as nl

from ._texts import fixed_points_text, results_options


def add(commands):
    command = commands.add_parser(
        "fixed-points", help="find the fixed points of the fit in a written file, its cycles and its phase portrait"
    )
    command.set_defaults(run=run)
    results_options(command)
    command.add_argument("--search", help="certified, regions or newton (by the nonlinearity and the rank)")
    command.add_argument("--input", type=float, nargs="+", metavar="U", help="constant input (zero)")
    command.add_argument("--budget", type=seconds, metavar="TIME", help="such as 60s or 5m: then what was found is told (no limit)")
    command.add_argument("--region", type=float, nargs="+", metavar="X", help="low and high of every latent: LOW1 HIGH1 LOW2 HIGH2 ...")
    command.add_argument("--state", metavar="FILE", help="keep what --budget left unexamined, and go on from it the next time")
    command.add_argument("--cycles", action="store_true", help="cycles of the map as well, from orbits of the data's latents")
    command.add_argument("--portrait", action="store_true",
                         help="all of it: attractors and a name for the portrait, cycles, slow points, switching under noise")  # fmt: skip
    command.add_argument("--along", nargs=3, metavar=("WHAT", "LOW", "HIGH"),
                         help="bifurcation diagram along 'input 0', decay, gain, 'h 3', … (with --save: --portrait too)")  # fmt: skip
    command.add_argument("--save", action="store_true", help="write what was found into FILE (beside it, checked, then renamed)")
    return command


def seconds(text: str) -> float:
    """'90', '90s', '1.5m' or '1h' as seconds."""
    scale = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], None)
    value = float(text[:-1]) * scale if scale else float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def chosen_search(options, rank: int):
    """The search that the options ask for; None leaves the choice to `find_fixed_points`."""
    from .. import job

    extra = {name: value for name, value in (("budget", options.budget), ("state", options.state)) if value is not None}
    if options.region is not None:
        if len(options.region) != 2 * rank:
            raise ValueError(
                f"nwb-lowrank fixed-points: --region must be low and high of each of the {rank} latents ({2 * rank} numbers); "
                f"got {len(options.region)}. Write low high low high …, one pair a latent."
            )
        extra["region"] = [options.region[::2], options.region[1::2]]
    name = options.search or ("certified" if extra else None)
    if name is None:
        return None
    if name != "certified" and extra.keys() - {"region"}:
        raise ValueError(
            f"nwb-lowrank fixed-points: --budget and --state are for the certified search; got --search {name}. Leave one out."
        )
    return job.member("searches", name)(**extra)


def run(options) -> None:
    if options.save and not options.portrait:
        raise ValueError("nwb-lowrank fixed-points: --save stores a portrait; got --save without --portrait. Add --portrait.")
    results = nl.read_results(options.file, options.run_name)
    search = chosen_search(options, results.fit.model.rank)
    with Bar() as bar:
        points = nl.find_fixed_points(results.fit.model, u=options.input, search=search, on_round=bar)
    found = _rest(options, results, points, search)
    shown, told = (points, found) if results.reading is None else (results.reading.fixed_points(points), _in_basis(found, results.reading))
    basis = "the network's own basis" if results.reading is None else "the basis of the reading stored with the fit"
    if options.json:
        print(json.dumps({**_values(shown, told), "basis": basis}))
    else:
        print(fixed_points_text(shown, results.trials.bin_width))
        print(f"positions are in {basis}")
        print(_text(told, results.trials.bin_width), end="")
    if options.save:
        _save(options, results, points, found["portrait"])


def _rest(options, results, points, search) -> dict:
    """What was asked for beyond the fixed points."""
    from ..dynamics.cycles import find_cycles

    model, latents = results.fit.model, results.posterior.latents
    lengths, width = results.trials.lengths, results.trials.bin_width
    found = {}
    if options.along:
        what, low, high = options.along[0], *map(_number, options.along[1:])
        found["branches"] = nl.continue_fixed_points(model, what, low, high, u=options.input, search=search)
    if options.portrait:
        whole = nl.portrait(
            model, latents, lengths=lengths, u=options.input, inputs=results.trials.inputs, bin_width=width, fixed_points=points
        )
        found = {"portrait": replace(whole, branches=found.get("branches"))}
    elif options.cycles:
        seen = latents[results.trials.mask.any(-1)]
        found["cycles"] = find_cycles(nl.Dynamics.of(model, options.input), seen[:: max(1, len(seen) // 24)])
    return found


def _in_basis(found: dict, reading) -> dict:
    """What was found, with positions in the basis of `reading`."""
    from ..dynamics.based import branches_in, cycles_in, in_basis

    turn = dict(portrait=in_basis, cycles=cycles_in, branches=branches_in)
    return {name: turn[name](one, reading) for name, one in found.items()}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"nwb-lowrank fixed-points: --along takes a name and two numbers; got {text!r}. Quote names such as 'input 0'."
        ) from None


def _text(found: dict, bin_width: float) -> str:
    from ..dynamics.report import branch_lines, cycles_text

    parts = []
    if "cycles" in found:
        parts.append(cycles_text(found["cycles"], bin_width))
    if "branches" in found:
        parts.append("\n".join(branch_lines(found["branches"])))
    if "portrait" in found:
        parts.append(found["portrait"].text())
    return "".join(f"\n{part}\n" for part in parts)


def _values(points, found: dict) -> dict:
    values = dict(points=points.points.tolist(), residual=points.residual.tolist(), kinds=points.kinds, complete=points.complete,
                  eigenvalues=[[[v.real, v.imag] for v in row] for row in points.eigenvalues.tolist()],
                  certificate=points.certificate)  # fmt: skip
    portrait = found.get("portrait")
    cycles = portrait.cycles if portrait else found.get("cycles")
    branches = portrait.branches if portrait else found.get("branches")
    if cycles is not None:
        values["cycles"] = [dict(period=c.period, turns=c.turns, stable=c.stable, points=c.points.tolist(),
                                 multipliers=[[v.real, v.imag] for v in c.multipliers.tolist()]) for c in cycles]  # fmt: skip
    if branches is not None:
        values["branches"] = dict(parameter=branches.parameter, value=branches.value.tolist(), points=branches.points.tolist(),
                                  branch=branches.branch.tolist(), stable=branches.stable.tolist(), event=branches.event.tolist(),
                                  checks=branches.checks)  # fmt: skip
    if portrait is not None:
        values["portrait"] = dict(name=portrait.name, reasons=portrait.reasons, attractors=[
            dict(kind=a.kind, share=a.share, period_bins=_finite(a.period), timescale_bins=_finite(a.timescale), evidence=a.evidence)
            for a in portrait.attractors])  # fmt: skip
    return values


def _finite(value: float) -> float | None:
    """JSON has neither inf nor NaN."""
    return value if abs(value) < float("inf") else None


def _save(options, results, points, portrait) -> None:
    at_zero = options.input is None or not any(options.input)
    runs = nl.list_runs(options.file)
    results = replace(results, portrait=portrait, fixed_points=points if at_zero else results.fixed_points)
    path = nl.write_nwb(options.file, results, in_place=True, run=options.run_name or runs[0], overwrite=True)
    print(f"written: {path}")


class Bar:
    """A progress bar that appears once a search takes a second; it shows the share of the region that is decided."""

    def __init__(self):
        self.bar = tqdm(total=1.0, delay=1.0, desc="fixed points", bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed} {postfix}")

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error) -> None:
        self.bar.close()

    def __call__(self, looked) -> None:
        self.bar.update(1 - looked.left - self.bar.n)
        self.bar.set_postfix_str(f"{looked.boxes} boxes, {looked.waiting} waiting, {looked.found} points", refresh=False)
