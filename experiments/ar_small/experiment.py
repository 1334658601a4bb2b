"""How small can the AR be, and how much of a large AR's score comes from quotes?

Run: `dvc repro experiments/ar_small`, or one arm with `nla run ar_small --arm blocks_2`.
Cost: most of the laptop profile's time; see `reports/` for the time of each arm.
Decision rule: rule.py in this folder, in words in README.md.
"""

from ar_variants.small import SizeArm
from common.arms.floors import TrunkFloors
from common.experiment import Experiment

EXPERIMENT = Experiment("ar_small", SizeArm, (TrunkFloors(),))
