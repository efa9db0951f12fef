"""Sign flips: an exact test of whether two arms differ in a score that every sample has.

Sample i of both arms is from seed i. If the arms do not differ, exchanging them at any seed
changes nothing: with d_i = a_i - b_i and all signs s_i = +-1 equally likely,

    T(s) = sum_i s_i d_i ,        p = share of the s with |T(s)| >= |T(1, ..., 1)| .

Up to 2^12 sign vectors are enumerated, and p is exact; above, `num_flips` are drawn and
p = (1 + count) / (1 + num_flips), which is never too small (Phipson & Smyth 2010,
doi:10.2202/1544-6115.1585). All pairs of arms share their signs, and T of a pair is a difference
of two arms' sums: m arms cost m sums, not m^2.

The smallest p is 1 / (1 + num_flips), and Holm's correction multiplies it by the number of
pairs: `enough_flips` says how many flips leave something to be found.

A score that was trained several times is the mean over the trainings, which flip together: the
test speaks of these trainings. What retraining would change is not in p.
Source: Fisher 1935; as scipy.stats.permutation_test(permutation_type="samples").
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

MOST_EXACT = 12  # samples
BLOCK = 2**22  # numbers held at once
ROUNDING = 1e-12  # sums this near, relative to the scores, are equal


def enough_flips(num_tests: int, level: float = 0.05) -> int:
    """Flips under which Holm's p of one arm out of `num_tests` can fall to level / 2; >= 9,999."""
    return max(10_000, int(np.ceil(2 * num_tests / level))) - 1


def sign_flip_p_value(
    a: Float[Tensor, "trainings samples"],
    b: Float[Tensor, "trainings samples"],
    num_flips: int,
    rng: np.random.Generator,
) -> float:
    """Two-sided p of the mean difference; sample i, in both, is from seed i."""
    return sign_flip_p_values(torch.stack([a, b]), num_flips, rng)[0, 1].item()


def sign_flip_p_values(
    scores: Float[Tensor, "arms trainings samples"], num_flips: int, rng: np.random.Generator
) -> Float[Tensor, "arms arms"]:
    """Two-sided p of all pairs, float64, symmetric with ones on the diagonal.

    ValueError if not finite, and without samples or flips.
    """
    num_arms, _, num_samples = scores.shape
    if num_samples < 1 or num_flips < 1:
        raise ValueError(
            f"sign flips: wanted at least 1 sample and 1 flip, got {num_samples} and "
            f"{num_flips}; 9,999 flips serve most purposes"
        )
    if not scores.isfinite().all():
        raise ValueError(
            f"scores: wanted finite numbers, got {scores[~scores.isfinite()][0]}; leave the "
            "score out or find out what made it"
        )
    means = scores.double().mean(1)
    means = means - means.mean(0)  # what all arms have in common, which differences do not see
    i, j = torch.triu_indices(num_arms, num_arms, 1)
    sums = means.sum(1)
    size = means.abs().sum(1)
    observed = (sums[i] - sums[j]).abs() - ROUNDING * (size[i] + size[j])
    count, total = torch.zeros(len(i), dtype=torch.int64), 0
    for signs in _signs(num_samples, num_flips, max(num_samples, len(i)), rng):
        flipped = means @ signs
        count += ((flipped[i] - flipped[j]).abs() >= observed[:, None]).sum(1)
        total += signs.shape[1]
    if num_samples > MOST_EXACT:
        count, total = count + 1, total + 1
    p = torch.ones(num_arms, num_arms, dtype=torch.float64)
    p[i, j] = p[j, i] = count.double() / total
    return p


def _signs(
    num_samples: int, num_flips: int, tallest: int, rng: np.random.Generator
) -> Iterator[Float[Tensor, "samples flips"]]:
    """All sign vectors, or `num_flips` drawn ones, in blocks of at most BLOCK / tallest."""
    width = max(1, BLOCK // tallest)
    if num_samples <= MOST_EXACT:
        every = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * num_samples)
        yield from every.double().reshape(-1, num_samples).T.split(width, dim=1)
        return
    for start in range(0, num_flips, width):
        num = min(width, num_flips - start)
        # Whole words of 4 bytes per flip: what is drawn does not depend on the blocks.
        drawn = np.frombuffer(rng.bytes(4 * num * -(-num_samples // 32)), np.uint8)
        bits = np.unpackbits(drawn.reshape(num, -1), axis=1, count=num_samples)
        yield torch.from_numpy(bits).T.double() * 2 - 1
