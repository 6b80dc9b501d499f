"""What `nlb run` tells: lines for a paper, and one table of all fits beside published numbers, as CSV and Markdown."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from ..metrics.nlb import SCALING

METRICS = ("co-bps", "vel R2", "tp corr", "psth R2", "fp-bps")


def rows_of(plan, rank: int, target_file) -> list[dict]:
    """Table rows of one rank: its seeds (mean ± sd) and their averaged rates, which are the submission. Writes the submission."""
    from .. import nlb_job

    path, seeds, seconds = nlb_job.submit(plan, rank)
    about = dict(model=f"low-rank RNN, rank {rank}", dataset=plan.dataset.name, split=plan.phase, bin_ms=plan.bin_width, rank=rank,
                 recipe=plan.named, seeds=plan.seeds_text, cpu_s=round(seconds["cpu"]), wall_s=round(seconds["wall"]),
                 device=plan.device, submission=str(path))  # fmt: skip
    single = [nlb_job.score(plan, arrays, target_file) for arrays in seeds]
    if single[0] is None:
        print(f"written: {path} (no target for the {plan.phase} split: pass --target eval_data_test.h5 to score it)")
        return []
    table = pd.DataFrame(single)
    rows = [dict(about, fit=f"mean of {len(seeds)} fits" if len(seeds) > 1 else "one fit", **table.mean())]
    if len(seeds) > 1:
        rows[0] |= {f"{name} sd": sd for name, sd in table.std(ddof=1).items()}
        rows.append(dict(about, fit=f"rates of {len(seeds)} fits averaged", **nlb_job.score(plan, path, target_file)))
    return rows


def report(plan, rows: list[dict]) -> None:
    """Print a line for every row and keep the table, published scores of the dataset below it."""
    from ..sources._nlb_table import published

    if not rows:
        return
    for row in rows:
        print(paper_line(row))
    table = pd.DataFrame([dict(row, published=False) for row in rows] + published(plan.dataset.name))
    files = plan.folder / "scores.csv", plan.folder / "scores.md"
    table.to_csv(files[0], index=False)
    files[1].write_text(markdown(table))
    print(f"submission: {', '.join(dict.fromkeys(row['submission'] for row in rows))}\ntable: {files[0]}, {files[1]}")


def heading(row: dict) -> str:
    """What every score carries: dataset, split, bin width, model, recipe and seeds."""
    return (f"{row['dataset']}, {row['split']} split, {row['bin_ms']} ms bins, {row['model']} ({row['recipe']}), "
            f"seed{'s' * (' ' in row['seeds'])} {row['seeds']}")  # fmt: skip


def paper_line(row: dict) -> str:
    scores = ", ".join(f"{name} {_value(row, name)}" for name in METRICS if name in row)
    return f"{heading(row)}, {row['fit']}: {scores} ({row['cpu_s']} s CPU, {row['wall_s']} s wall-clock in all fits, {row['device']})"


def report_dynamics(plan, shots) -> None:
    """Few-shot scores (mean ± sd over seeds) and cross-decoding R² between seeds, printed and kept as CSV."""
    from .. import nlb_job

    rows = []
    for rank in plan.ranks:
        began = time.time()
        found, decoding = nlb_job.dynamics_scores(plan, rank, shots)
        rows += found
        about = heading(dict(dataset=plan.dataset.name, split=plan.phase, bin_ms=plan.bin_width, model=f"low-rank RNN, rank {rank}",
                             recipe=plan.named, seeds=plan.seeds_text))  # fmt: skip
        took = f"({time.time() - began:.0f} s wall-clock, cpu)"  # scikit-learn's regressions know no other device
        for k, part in pd.DataFrame(found).groupby("shots")["bits_per_spike"]:
            sd = f" ± {part.std(ddof=1):.4f}" if len(part) > 1 else ""
            print(f"{about}: co-bps with readouts learned from {k} trials {part.mean():.4f}{sd} {took}")
        if decoding is not None:
            apart = decoding[~np.eye(len(decoding), dtype=bool)]
            print(f"{about}: latents of one seed decoded from another's, R² {apart.mean():.4f} ± {apart.std(ddof=1):.4f} {took}")
            table = pd.DataFrame(decoding, plan.seeds, plan.seeds)
            table.to_csv(plan.folder / f"cross_decoding_rank{rank}.csv", index_label="from seed")
    pd.DataFrame(rows).to_csv(plan.folder / "few_shot.csv", index=False)


def markdown(table: pd.DataFrame) -> str:
    """The table as Markdown."""
    columns = [name for name in METRICS if name in table]
    cells = [["model", "split", "bin", "seeds", *columns, "CPU s", "wall-clock s", "device"]]
    for row in table.to_dict("records"):
        fit = "" if pd.isna(row.get("fit")) else f", {row['fit']}"
        name = f"{row['model']}{fit} (published)" if row["published"] else f"{row['model']}, {row['recipe']}{fit}"
        cells.append([name, row["split"], f"{row['bin_ms']} ms", row["seeds"], *(_value(row, metric) for metric in columns),
                      _whole(row["cpu_s"]), _whole(row["wall_s"]), row["device"]])  # fmt: skip
    lines = ["| " + " | ".join("" if pd.isna(cell) else str(cell) for cell in row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(cells[0]), *lines[1:]]) + "\n"


def _value(row: dict, name: str) -> str:
    sd = row.get(f"{name} sd", np.nan)
    return "" if pd.isna(row[name]) else f"{row[name]:.4f}" + ("" if pd.isna(sd) else f" ± {sd:.4f}")


def _whole(seconds) -> str:
    return "" if pd.isna(seconds) else f"{seconds:.0f}"


def of_the_groups(split: str, about: dict) -> list[str]:
    """Lines that say what was scored under the name of a split, as far as the submission does (`about`: group -> name -> value)."""
    lines = []
    for group, known in about.items():
        name, suffix = group.removesuffix("_20"), "_20" * group.endswith("_20")
        if split in (f"{group}_split", f"mc_maze_scaling{suffix}_split" if name in SCALING else ""):
            place = dict(dataset=name, bin_ms=20 if suffix else 5)
            told = {"split", "model", "recipe", "seeds", "device"} <= set(known)  # written by `nlb run`
            lines.append(f"{heading(known | place)}, {known['device']}" if told else f"{name}, {place['bin_ms']} ms bins")
    return lines
