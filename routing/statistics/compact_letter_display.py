"""Compact letter display: two arms share a letter if and only if they are indistinguishable.

The letters summarise the significance tests of all pairs of arms. They are found by insert and
absorb (Piepho 2004, J. Comput. Graph. Statist. 13:456, doi:10.1198/1061860043515):

    start    one letter, shared by all arms
    insert   for each distinguishable pair (i, j), a letter that both have becomes two letters: one
             without i and one without j
    absorb   a letter is dropped if all of its arms share another letter

The result is all maximal groups of mutually indistinguishable arms. A group is redundant if each
pair of its arms is also in another group. Redundant groups are dropped from the last to the first;
none is left, though another choice may need fewer letters.
"""

from string import ascii_letters

import numpy as np
from jaxtyping import Bool

Group = frozenset[int]  # positions of mutually indistinguishable arms


def compact_letter_display(is_distinguishable: Bool[np.ndarray, "arms arms"]) -> list[str]:
    """Return the letters of each arm, at least one; the first arm has `a`.

    The matrix is symmetric. Letters are a to z, A to Z, a2 to Z2 and so on: a number belongs to
    the letter before it.
    """
    groups = drop_redundant_groups(maximal_groups(is_distinguishable))
    arms = range(len(is_distinguishable))
    return [
        "".join(letter_name(k) for k, group in enumerate(groups) if arm in group) for arm in arms
    ]


def maximal_groups(is_distinguishable: Bool[np.ndarray, "arms arms"]) -> list[Group]:
    """Return all maximal groups of mutually indistinguishable arms, sorted by their first arms."""
    found = [frozenset(range(len(is_distinguishable)))]
    for i, j in np.argwhere(np.triu(is_distinguishable, 1)).tolist():
        old = [group for group in found if not {i, j} <= group]
        halves = [group - {arm} for group in found if {i, j} <= group for arm in (i, j)]
        # The groups were no subsets of each other, so a half is in no other half and no old group
        # is in a half: only halves inside old groups have to be absorbed.
        found = old + [half for half in halves if not any(half <= group for group in old)]
    return sorted(found, key=sorted)


def drop_redundant_groups(groups: list[Group]) -> list[Group]:
    """Return `groups` without those whose arms and pairs of arms are all in other groups."""
    for own in reversed(groups):
        others = [group for group in groups if group is not own]
        if all(any({i, j} <= group for group in others) for i in own for j in own):
            groups = others
    return groups


def letter_name(k: int) -> str:
    """Return the name of letter `k`, counted from 0."""
    rounds, position = divmod(k, len(ascii_letters))
    return ascii_letters[position] + (str(rounds + 1) if rounds else "")
