"""Objects that are built from artifacts and that several stages use.

models.py              networks and Gaussian mixtures from their weights
feature_encoders/      feature encoders: their table, how they are fitted and applied
arms.py                a whole arm: experts, router, policy, guidance and sampler
policy_calibration.py  numbers of a policy that are found on a pilot run
router_data.py         what a learned router is trained on
router_evaluation.py   a learned router on held-out states, as tables
sample_decoding.py     stored samples as images
metric_inputs.py       what a metric reads of an arm: features, references, captions, LPIPS
lpips_samples.py       the samples whose LPIPS distances are computed, and their groups
"""
