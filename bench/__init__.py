"""Speed against the public alternatives: ratios within one run, on one machine, on one model."""
