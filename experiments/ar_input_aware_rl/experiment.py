"""`ar_input_aware` under optimisation: does an AR that has some of the input make the AV say more?

Where an AV can quote: it reads the activations of several positions (trunk `window` of
`ar_small_rl`), and a pair of AV and AR is the unit. The ARs that see some of the input are trained
here, on that trunk's texts.

Run: `dvc repro experiments/ar_input_aware_rl`, or one arm with `nla run ar_input_aware_rl --arm
given_4`, after the AR that it names.
Cost: as many rollouts for each arm and pair as `control` of `baseline`, and for each AR about the
training of that of the control; see `reports/` for the times.
Decision rule: rule.py in this folder, in words in README.md.
"""

from ar_variants.input_aware.arm import InputAwareArm
from common.arms.naming import LastWord
from common.arms.neutral import NeutralAR
from common.arms.partnered import PartneredArm
from common.arms.reconstructor import WarmStartAR
from common.experiment import Experiment


class ReaderArm(WarmStartAR, InputAwareArm):
    """Trains an AR that sees some of the input on the trunk's texts: an AV learns against it."""


KINDS = {"policy": PartneredArm, "reader": ReaderArm}
EXPERIMENT = Experiment("ar_input_aware_rl", KINDS, (NeutralAR(), LastWord()))
