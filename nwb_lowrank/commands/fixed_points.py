"""nwb-lowrank fixed-points: the fixed points of the fit in a written file."""

from __future__ import annotations

import json

from tqdm import tqdm

import nwb_lowrank as nl

from ._texts import fixed_points_text, results_options


def add(commands):
    command = commands.add_parser("fixed-points", help="find the fixed points of the fit in a written file")
    command.set_defaults(run=run)
    results_options(command)
    command.add_argument("--search", help="certified, regions or newton (by the nonlinearity and the rank)")
    command.add_argument("--input", type=float, nargs="+", metavar="U", help="constant input (zero)")
    command.add_argument("--budget", type=seconds, metavar="TIME", help="such as 60s or 5m: then what was found is told (no limit)")
    command.add_argument("--region", type=float, nargs="+", metavar="X", help="low and high of every latent: LOW1 HIGH1 LOW2 HIGH2 ...")
    command.add_argument("--state", metavar="FILE", help="keep what --budget left unexamined, and go on from it the next time")
    return command


def seconds(text: str) -> float:
    """'90', '90s', '1.5m' or '1h' as seconds."""
    scale = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], None)
    value = float(text[:-1]) * scale if scale else float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def search(options, rank: int):
    """The search that the options ask for; None leaves the choice to `find_fixed_points`."""
    from .. import job

    extra = {name: value for name, value in (("budget", options.budget), ("state", options.state)) if value is not None}
    if options.region is not None:
        if len(options.region) != 2 * rank:
            raise ValueError(
                f"nwb-lowrank fixed-points: --region must be low and high of each of the {rank} latents ({2 * rank} numbers); "
                f"got {len(options.region)}."
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
    results = nl.read_results(options.file, options.run_name)
    model = results.fit.model
    with Bar() as bar:
        points = nl.find_fixed_points(model, u=options.input, search=search(options, model.rank), on_round=bar)
    if options.json:
        values = dict(points=points.points.tolist(), residual=points.residual.tolist(), kinds=points.kinds, complete=points.complete,
                      eigenvalues=[[[v.real, v.imag] for v in row] for row in points.eigenvalues.tolist()],
                      certificate=points.certificate)  # fmt: skip
        print(json.dumps(values))
    else:
        print(fixed_points_text(points))


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
        self.bar.set_postfix_str(f"{looked.boxes} boxes, {looked.waiting} waiting, {looked.found} points")
