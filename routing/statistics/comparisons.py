"""All pairs of arms of one metric: which are distinguishable, after Holm's correction.

For m tests with p_(1) <= ... <= p_(m) the adjusted values are

    p~_(i) = max_{j <= i} min(1, (m - j + 1) p_(j)) ;

calling those <= alpha distinguishable says anything wrong with probability alpha at most,
whatever the dependence of the tests (Holm 1979, Scand. J. Statist. 6:65). Two families: all
pairs of arms of the metric, and the pairs with the reference arm alone, which asks fewer
questions. Metrics are families of their own.

The test of a pair is one of two, named in `test`:

    seed blocks   the difference's jackknife interval over blocks of seeds touches zero
                  (routing.statistics.intervals), with the part of the trainings if there were
                  several
    sign flip     where every sample has a score: exact under exchange of the arms at each seed
                  (routing.statistics.permutation). With one training only: a sign flip does not
                  know what
                  retraining would change, and a verdict that forgets it is about these networks

lo and hi are always those of that interval. A difference that is the same whatever block is left
out has p = 1: blocks do not show its error. lo_bootstrap and hi_bootstrap are those of paired
draws (routing.statistics.bootstrap), a second opinion that decides nothing; of a Frechet
distance draws are
of its first-order expansion.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from routing.statistics.bootstrap import fewest_draws, half_widths
from routing.statistics.intervals import Estimates, over_trainings
from routing.statistics.permutation import enough_flips, sign_flip_p_values

ByArm = dict[str, Float[Tensor, "_trainings _numbers"]]
ALPHA = 0.05


class Comparison(NamedTuple):
    """The metric of `arm` minus that of `other`, in the units of the metric.

    The interval is of 95 %. A pair with the reference arm has that as `other`.
    """

    arm: str
    other: str
    value: float
    lo: float
    hi: float
    lo_bootstrap: float  # nan without draws, or with fewer than an interval wants
    hi_bootstrap: float
    se_sampling: float  # of the jackknife
    se_bootstrap: float  # nan without draws
    se_training: float  # nan where there was one training
    p: float
    test: str
    p_holm: float  # among all pairs
    p_holm_reference: float  # among the pairs with the reference arm; nan for others
    is_distinguishable: bool  # p_holm <= 0.05


def comparisons(
    replicates: ByArm,
    bootstrap: ByArm | None,
    scores: ByArm | None,
    reference: str,
    rng: np.random.Generator,
) -> list[Comparison]:
    """Every pair of arms once, in the order of `replicates`.

    `replicates` has the values under jackknife_weights, `bootstrap` the value and those under
    bootstrap_counts, `scores` one number per sample (their mean is the metric), each a row per
    training: same seeds, blocks and trainings in all arms. ValueError where that cannot be, and
    on numbers that are not finite.
    """
    names = list(replicates)
    i, j = pairs(names, reference)
    if len(i) == 0:
        return []
    stacked = _stacked("replicates", names, replicates)
    found = Estimates.fit(stacked[i] - stacked[j])
    half, p, test = found.half_widths(1 - ALPHA), found.p_values(), "seed blocks"
    if scores is not None and found.num_training_seeds == 1:
        of_samples = _stacked("scores", names, scores)
        flipped = sign_flip_p_values(of_samples, enough_flips(len(i), ALPHA), rng)
        p, test = flipped[i, j].numpy(), "sign flip"
    se_bootstrap, half_bootstrap = np.full((2, len(i)), np.nan)
    if bootstrap is not None:
        draws = over_trainings(_stacked("bootstrap", names, bootstrap)[..., 1:])[1]
        draws = draws[i] - draws[j]
        se_bootstrap = draws.std(-1, ddof=1)
        if draws.shape[-1] >= fewest_draws(1 - ALPHA):
            errors = found.se_training, found.num_training_seeds
            half_bootstrap = half_widths(draws, *errors, 1 - ALPHA)
    p_holm, p_reference = holm(p), np.full(len(i), np.nan)
    is_reference = np.array([names[other] == reference for other in j])
    p_reference[is_reference] = holm(p[is_reference])
    columns = [
        [names[arm] for arm in i], [names[other] for other in j],
        found.value, found.value - half, found.value + half,
        found.value - half_bootstrap, found.value + half_bootstrap,
        found.se_sampling, se_bootstrap, found.se_training,
        p, [test] * len(i), p_holm, p_reference, p_holm <= ALPHA,
    ]  # fmt: skip
    columns = [c.tolist() if isinstance(c, np.ndarray) else c for c in columns]
    return [Comparison(*row) for row in zip(*columns, strict=True)]


def pairs(
    names: list[str], reference: str
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """Places of the two arms of every pair; the reference is always the second."""
    i, j = np.triu_indices(len(names), 1)
    turned = np.array([names[first] == reference for first in i], dtype=bool)
    return np.where(turned, j, i), np.where(turned, i, j)


def holm(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Holm's adjusted p values, in the order of `p`. ValueError if they are not probabilities."""
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            f"holm: wanted p values in [0, 1], got {p[~((p >= 0) & (p <= 1))][0]}; "
            "leave out tests that could not be made"
        )
    order = np.argsort(p, kind="stable")
    stepped = np.arange(len(p), 0, -1) * p[order]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(stepped))
    return adjusted


def cliques(is_distinguishable: Bool[np.ndarray, "arms arms"]) -> list[tuple[int, int]]:
    """First and last place of each longest run of arms none of which can be told from another.

    Arms stand in the order of their values, and the matrix is symmetric. Runs of one are left
    out. These are the bars of a critical-difference diagram (Demsar 2006, JMLR 7:1), there for
    mean ranks over data sets, here for paired tests of one metric. Since those may tell two
    neighbours apart and not two arms further away, a bar says that all of its arms are alike,
    but no bar does not say that two arms differ: the matrix does.
    """
    found: list[tuple[int, int]] = []
    num, end = len(is_distinguishable), -1
    for first in range(num):
        last = first
        while last + 1 < num and not is_distinguishable[first : last + 1, last + 1].any():
            last += 1
        if last > max(first, end):
            found.append((first, last))
            end = last
    return found


def _stacked(what: str, names: list[str], by_arm: ByArm) -> Float[Tensor, "arms ..."]:
    assert set(by_arm) == set(names), f"{what}: wanted {names}, got {list(by_arm)}"
    first = by_arm[names[0]].shape
    for name in names:
        if by_arm[name].shape != first:
            raise ValueError(
                f"{what}: wanted as many trainings and numbers for all arms, got "
                f"{tuple(first)} for {names[0]} and {tuple(by_arm[name].shape)} for {name}; "
                "give all arms the same seeds"
            )
    return torch.stack([by_arm[name] for name in names])
