"""Pairwise comparisons of arms in one metric, with Holm's correction for multiple tests.

Two arms are distinguishable (significantly different) if the p value of their difference is at
most 0.05 after Holm's correction (`routing.statistics.multiple_testing`) for all pairs of arms.
Another correction is for the pairs with the reference arm alone, which are fewer tests. Each
metric is corrected on its own.

The column `test` names the test of a pair:

    seed blocks   the jackknife over blocks of seeds, with the error of retraining if there are
                  several training seeds (routing.statistics.jackknife): p < 0.05 where the 95 %
                  interval of the difference excludes zero
    sign flip     where each sample has a score: exact under exchange of the arms at each seed
                  (routing.statistics.permutation). Used with one training seed only, because a
                  sign flip does not include the effect of retraining
    McNemar       of fractions of the samples, with one training seed: exact
                  (routing.statistics.proportions)
    counts        of such fractions with several training seeds or different scales: p < 0.05
                  where the 95 % interval of the difference excludes zero

lo and hi are those of the jackknife, or of the counts for fractions of the samples. By the
jackknife, a difference that is the same whichever block is left out has p = 1, because blocks do
not show its error. lo_bootstrap and hi_bootstrap are those of paired bootstrap draws
(routing.statistics.bootstrap), for information only. The draws of a Frechet distance are those of
its first-order expansion.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.statistics.bootstrap import bootstrap_half_widths, min_num_draws
from routing.statistics.intervals import average_over_training_seeds
from routing.statistics.jackknife import JackknifeEstimates
from routing.statistics.multiple_testing import ALPHA, holm
from routing.statistics.permutation import required_num_flips, sign_flip_p_values
from routing.statistics.proportions import Proportion, proportion_differences

ByArm = dict[str, Float[Tensor, "_training_seeds _numbers"]]


class Comparison(NamedTuple):
    """The metric of `arm` minus that of `other`, in the units of the metric, with 95 % intervals.

    In a pair with the reference arm, the reference arm is `other`.
    """

    arm: str
    other: str
    value: float
    lo: float
    hi: float
    lo_bootstrap: float  # nan without bootstrap draws, or with too few for the level
    hi_bootstrap: float
    se_sampling: float  # of the jackknife, or of the counts
    se_bootstrap: float  # nan without bootstrap draws
    se_training: float  # nan with one training seed
    p: float
    test: str
    p_holm: float  # corrected for all pairs
    p_holm_reference: float  # corrected for the pairs with the reference arm; nan for others
    is_distinguishable: bool  # p_holm <= 0.05


def pairwise_comparisons(
    replicates: ByArm,
    bootstrap: ByArm | None,
    scores: ByArm | None,
    reference: str,
    rng: np.random.Generator,
    proportions: dict[str, Proportion] | None = None,
) -> list[Comparison]:
    """Compare each pair of arms once, in the order of `replicates`.

    `replicates` has the values under jackknife_weights, `bootstrap` the value and those under
    bootstrap_counts, and `scores` one number per sample, whose mean is the metric. `proportions`
    are given if the metric is a fraction of the samples; `scores` are then not used. Each has a
    row per training seed, and all arms have the same sample seeds, blocks and training seeds.
    Raises ValueError if shapes differ or numbers are not finite.
    """
    names = list(replicates)
    i, j = arm_pairs(names, reference)
    if len(i) == 0:
        return []
    stacked = _stacked("replicates", names, replicates)
    found = JackknifeEstimates.fit(stacked[i] - stacked[j])
    below = above = found.half_widths(1 - ALPHA)
    p, test, se_sampling = found.p_values(), "seed blocks", found.se_sampling
    if proportions is not None:
        counted = [proportions[name] for name in names]
        exact = proportion_differences(counted, i, j, stacked[i] - stacked[j])
        (below, above), p = exact.halves(1 - ALPHA), exact.p_values()
        test = "counts" if exact.p_exact is None else "McNemar"
        se_sampling = exact.se_sampling
    elif scores is not None and found.num_training_seeds == 1:
        of_samples = _stacked("scores", names, scores)
        flipped = sign_flip_p_values(of_samples, required_num_flips(len(i), ALPHA), rng)
        p, test = flipped[i, j].numpy(), "sign flip"
    se_bootstrap, half_bootstrap = np.full((2, len(i)), np.nan)
    if bootstrap is not None:
        draws = average_over_training_seeds(_stacked("bootstrap", names, bootstrap)[..., 1:])[1]
        draws = draws[i] - draws[j]
        se_bootstrap = draws.std(-1, ddof=1)
        if draws.shape[-1] >= min_num_draws(1 - ALPHA):
            errors = found.se_training, found.num_training_seeds
            half_bootstrap = bootstrap_half_widths(draws, *errors, 1 - ALPHA)
    p_holm, p_reference = holm(p), np.full(len(i), np.nan)
    is_reference = np.array([names[other] == reference for other in j])
    p_reference[is_reference] = holm(p[is_reference])
    columns = [
        [names[arm] for arm in i], [names[other] for other in j],
        found.value, found.value - below, found.value + above,
        found.value - half_bootstrap, found.value + half_bootstrap,
        se_sampling, se_bootstrap, found.se_training,
        p, [test] * len(i), p_holm, p_reference, p_holm <= ALPHA,
    ]  # fmt: skip
    columns = [c.tolist() if isinstance(c, np.ndarray) else c for c in columns]
    return [Comparison(*row) for row in zip(*columns, strict=True)]


def arm_pairs(
    names: list[str], reference: str
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """Return the positions of both arms of each pair; the reference is always the second."""
    i, j = np.triu_indices(len(names), 1)
    turned = np.array([names[first] == reference for first in i], dtype=bool)
    return np.where(turned, j, i), np.where(turned, i, j)


def _stacked(what: str, names: list[str], by_arm: ByArm) -> Float[Tensor, "arms ..."]:
    assert set(by_arm) == set(names), f"{what}: wanted {names}, got {list(by_arm)}"
    first = by_arm[names[0]].shape
    for name in names:
        if by_arm[name].shape != first:
            raise ValueError(
                f"{what}: wanted the same training seeds and numbers for all arms, got shape "
                f"{tuple(first)} for {names[0]} and {tuple(by_arm[name].shape)} for {name}; "
                "use the same seeds for all arms"
            )
    return torch.stack([by_arm[name] for name in names])
