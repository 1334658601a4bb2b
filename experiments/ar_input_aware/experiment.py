"""How much may the AR see of the input before an explanation has nothing left to say?

Run: `dvc repro experiments/ar_input_aware`, or one arm with `nla run ar_input_aware --arm given_4`.
Cost: for each arm and pair about that of the control of `ar_small`; see `reports/` for the time.
Decision rule: rule.py in this folder, in words in README.md.
"""

from ar_variants.input_aware.arm import InputAwareArm, ViewAloneArm
from ar_variants.input_aware.axis import WindowAxis
from common.arms.floors import TrunkFloors
from common.arms.reconstructor import ReconstructorArm
from common.experiment import Experiment

KINDS = {"control": ReconstructorArm, "view": InputAwareArm, "alone": ViewAloneArm}
EXPERIMENT = Experiment("ar_input_aware", KINDS, (TrunkFloors(), WindowAxis()))
