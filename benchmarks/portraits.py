"""Is each known teacher named rightly from the report alone? Over seeds of the starts, with CPU time.

python benchmarks/portraits.py [--seeds 0 1 2 3 4]
"""

import argparse
import time

import torch

import nwb_lowrank as nl
from nwb_lowrank.sources.synthetic import decision_teacher
from nwb_lowrank.sources.teachers import cycle_teacher, line_teacher, lorenz_teacher, ring_teacher

EXPECTED = {
    line_teacher: "line attractor",
    ring_teacher: "ring attractor",
    cycle_teacher: "limit cycle",
    decision_teacher: "bistable switch",
    lorenz_teacher: "Lorenz-like chaos",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options = parser.parse_args()
    torch.set_num_threads(1)
    right = 0
    for make, expected in EXPECTED.items():
        model = make()
        for seed in options.seeds:
            began = time.process_time()
            found = nl.portrait(model, bin_width=0.02, seed=seed)
            right += found.name == expected
            verdict = "right" if found.name == expected else f"WRONG, expected {expected}"
            print(f"{make.__name__:17} seed {seed}  {found.name:18} {verdict}  {time.process_time() - began:5.1f} CPU-s", flush=True)
            if seed == options.seeds[0]:
                print("\n".join(f"    {reason}" for reason in found.reasons))
    print(f"{right} of {len(EXPECTED) * len(options.seeds)} named rightly")


if __name__ == "__main__":
    main()
