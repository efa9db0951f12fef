"""Sign-flip permutation test: do two arms differ in a score that each sample has?

Sample i of both arms is from seed i. If the arms do not differ, exchanging them at any seed does
not change the distribution: with d_i = a_i - b_i, all signs s_i = +-1 are equally likely, and

    T(s) = sum_i s_i d_i ,        p = proportion of the s with |T(s)| >= |T(1, ..., 1)| .

Up to 12 samples all 2^12 sign vectors are enumerated, and p is exact. Above, `num_flips` vectors
are drawn and p = (1 + count) / (1 + num_flips), which is valid, never too small (Phipson & Smyth
2010, doi:10.2202/1544-6115.1585). All pairs of arms use the same signs, and T of a pair is a
difference of two sums of one arm each: m arms cost m sums, not m^2.

The smallest p is 1 / (1 + num_flips), and Holm's correction multiplies it by up to the number of
pairs; `required_num_flips` returns a number of flips for which a corrected p can be significant.

With several training seeds, the score of a sample is its mean over them. The test then holds for
these trained networks; it does not include the effect of retraining.
Source: Fisher 1935; as scipy.stats.permutation_test(permutation_type="samples").
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

MAX_EXACT_SAMPLES = 12  # up to this number all sign vectors are enumerated
BLOCK_SIZE = 2**22  # numbers held in memory at once
ROUNDING = 1e-12  # sums that differ by less, relative to the scores, count as equal


def required_num_flips(num_tests: int, level: float = 0.05) -> int:
    """Return a number of flips, at least 9,999, so that Holm's p can be as small as level / 2."""
    return max(10_000, int(np.ceil(2 * num_tests / level))) - 1


def sign_flip_p_value(
    a: Float[Tensor, "training_seeds samples"],
    b: Float[Tensor, "training_seeds samples"],
    num_flips: int,
    rng: np.random.Generator,
) -> float:
    """Return the two-sided p value of the mean difference; sample i of both is from seed i."""
    return sign_flip_p_values(torch.stack([a, b]), num_flips, rng)[0, 1].item()


def sign_flip_p_values(
    scores: Float[Tensor, "arms training_seeds samples"], num_flips: int, rng: np.random.Generator
) -> Float[Tensor, "arms arms"]:
    """Return the two-sided p values of all pairs: float64, symmetric, ones on the diagonal.

    Raises ValueError if a score is not finite, or without samples or flips.
    """
    num_arms, _, num_samples = scores.shape
    if num_samples < 1 or num_flips < 1:
        raise ValueError(
            f"sign flips: wanted at least 1 sample and 1 flip, got {num_samples} and "
            f"{num_flips}; 9,999 flips are usual"
        )
    if not scores.isfinite().all():
        raise ValueError(
            f"scores: wanted finite numbers, got {scores[~scores.isfinite()][0]}; leave "
            "this score out"
        )
    means = scores.double().mean(1)
    means = means - means.mean(0)  # common to all arms, cancels in differences
    i, j = torch.triu_indices(num_arms, num_arms, 1)
    sums = means.sum(1)
    size = means.abs().sum(1)
    observed = (sums[i] - sums[j]).abs() - ROUNDING * (size[i] + size[j])
    count, total = torch.zeros(len(i), dtype=torch.int64), 0
    for signs in _signs(num_samples, num_flips, max(num_samples, len(i)), rng):
        flipped = means @ signs
        count += ((flipped[i] - flipped[j]).abs() >= observed[:, None]).sum(1)
        total += signs.shape[1]
    if num_samples > MAX_EXACT_SAMPLES:
        count, total = count + 1, total + 1
    p = torch.ones(num_arms, num_arms, dtype=torch.float64)
    p[i, j] = p[j, i] = count.double() / total
    return p


def _signs(
    num_samples: int, num_flips: int, tallest: int, rng: np.random.Generator
) -> Iterator[Float[Tensor, "samples flips"]]:
    """Yield all sign vectors, or `num_flips` random ones, in blocks of BLOCK_SIZE / tallest."""
    width = max(1, BLOCK_SIZE // tallest)
    if num_samples <= MAX_EXACT_SAMPLES:
        every = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * num_samples)
        yield from every.double().reshape(-1, num_samples).T.split(width, dim=1)
        return
    for start in range(0, num_flips, width):
        num = min(width, num_flips - start)
        # Whole words of 4 bytes per flip, so that the draws do not depend on the block size.
        drawn = np.frombuffer(rng.bytes(4 * num * -(-num_samples // 32)), np.uint8)
        bits = np.unpackbits(drawn.reshape(num, -1), axis=1, count=num_samples)
        yield torch.from_numpy(bits).T.double() * 2 - 1
