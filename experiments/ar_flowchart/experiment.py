"""Can the AR be a flow chart that a person follows by hand?

Run: `dvc repro experiments/ar_flowchart`, or one arm with `nla run ar_flowchart --arm chart`.
Cost: minutes after the control of `ar_small`; see `reports/` for the time of each arm.
Decision rule: rule.py in this folder, in words in README.md.
"""

from ar_variants.flowchart.arm import FittedArm
from ar_variants.flowchart.told import ToldCharts
from common.arms.floors import TrunkFloors
from common.experiment import Experiment

EXPERIMENT = Experiment("ar_flowchart", FittedArm, (TrunkFloors(), ToldCharts("chart")))
