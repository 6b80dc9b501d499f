# %% [markdown]
# # All fixed points, with a certificate
#
# Interval branch and bound on clipped-ReLU networks of growing gain: how many fixed points, of which kind, and
# is the list proved complete? Where the dynamics map a box into itself the signs of det(I − J) add up to +1.
#
#     python examples/fixed_points.py [--quick]

# %%
import argparse
import time

import nwb_lowrank as nl
from nwb_lowrank.sources.synthetic import decision_teacher, random_teacher

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="smaller networks")
options = parser.parse_args()

# %% A network made by hand: attractors at ±(1.5, 9/14), a saddle at the origin.
points = nl.find_fixed_points(decision_teacher())
for kind, point, values in zip(points.kinds, points.points, points.eigenvalues):
    print(f"{kind:22} z = {point.round(4)}  eigenvalues {values.round(4)}")
print("complete:", points.complete, points.certificate["reason"])

# %% Random networks.
units = 32 if options.quick else 256
for gain in (0.5, 2.0, 8.0):
    model = random_teacher(rank=3, units=units, gain=gain, seed=0)
    began = time.time()
    points = nl.find_fixed_points(model)
    stable = int(points.stable.sum())
    print(
        f"gain {gain}: {len(points.points)} fixed points, {stable} stable, complete {points.complete}, "
        f"degree sum {points.certificate['degree_sum']}, {time.time() - began:.1f} s"
    )
