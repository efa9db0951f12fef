"""Letters for arms: two arms share one if and only if they cannot be told apart.

A compact letter display says of all pairs at once what a test has found. Insert and absorb
(Piepho 2004, J. Comput. Graph. Statist. 13:456, doi:10.1198/1061860043515):

    start    one letter, of all arms
    insert   for every pair (i, j) that can be told apart, each letter of both becomes two: one
             without i and one without j
    absorb   a letter all of whose arms have one other letter in common is dropped

What is left are the largest sets of arms no two of which can be told apart. Of these some may
say nothing new, since each pair in them shares another letter; they are dropped too, from the
last to the first, so that no letter is superfluous (though fewer might do).
"""

from string import ascii_letters

import numpy as np
from jaxtyping import Bool

Alike = frozenset[int]  # places of arms no two of which can be told apart


def letters(is_distinguishable: Bool[np.ndarray, "arms arms"]) -> list[str]:
    """The letters of each arm, one or more; the first arm has `a`. The matrix is symmetric.

    a to z, then A to Z, then a2 to Z2 and so on: a number belongs to the letter before it.
    """
    sets = needed(largest(is_distinguishable))
    arms = range(len(is_distinguishable))
    return ["".join(letter(k) for k, alike in enumerate(sets) if arm in alike) for arm in arms]


def largest(is_distinguishable: Bool[np.ndarray, "arms arms"]) -> list[Alike]:
    """All sets of arms that are alike and to which none can be added, by their first arms."""
    found = [frozenset(range(len(is_distinguishable)))]
    for i, j in np.argwhere(np.triu(is_distinguishable, 1)).tolist():
        old = [alike for alike in found if not {i, j} <= alike]
        halves = [alike - {arm} for alike in found if {i, j} <= alike for arm in (i, j)]
        # A half lies in no other half, and nothing old in a half: these were no subsets before.
        found = old + [half for half in halves if not any(half <= alike for alike in old)]
    return sorted(found, key=sorted)


def needed(sets: list[Alike]) -> list[Alike]:
    """`sets` without those each arm and each pair of which is in another one."""
    for own in reversed(sets):
        others = [alike for alike in sets if alike is not own]
        if all(any({i, j} <= alike for alike in others) for i in own for j in own):
            sets = others
    return sets


def letter(k: int) -> str:
    """The name of letter `k`, counted from 0."""
    rounds, place = divmod(k, len(ascii_letters))
    return ascii_letters[place] + (str(rounds + 1) if rounds else "")
