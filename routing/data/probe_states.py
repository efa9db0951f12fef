"""The states of the probe: noised held-out images, derived from the seed.

The probe is a fixed set of states on which all experts of a partition are evaluated once. State m
is of held-out image m mod N in round m // N. There are ceil(M / N) rounds and as many
equal strata of [0, 1]; each image has one stratum in each round, in an order of its own:

    t_m   = (stratum + u_m) / rounds ,   eps_m ~ N(0, I) ,   x_m = (1 - t_m) x_0 + t_m eps_m

So the times of an image, and of any subset of images, are spread over [0, 1]. (The last round has
states of some images only if M / N is not an integer.) Conditional experts get the condition of
the image; a fraction NULL_FRACTION of the states has the null condition.

The images are split in three: routers are trained on the states of the images in "fit",
temperatures are fitted on those in "calibrate", and diagnostics are reported on those in
"report". The probe stores `table`; all else is computed from it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from routing.flow import paths
from routing.workflow import seeds

FIT, CALIBRATE, REPORT = "fit", "calibrate", "report"
SPLITS = (FIT, CALIBRATE, REPORT)
NULL_FRACTION = 0.5


@dataclass(frozen=True, eq=False)
class States:
    """Noised states, one per row."""

    row: np.ndarray  # position of the image in the index
    t: torch.Tensor  # [states], float32
    x: torch.Tensor  # [states, *dims]
    target: torch.Tensor  # [states, *dims]: eps - x_0
    is_null: np.ndarray  # [states]: whether the condition is the null condition

    def __len__(self) -> int:
        """Return the number of states."""
        return len(self.row)


def table(heldout: np.ndarray, num: int, root: int, fractions: dict[str, float]) -> pd.DataFrame:
    """Return the columns state, row, t, is_null and split of `num` states.

    `heldout` are the positions of the held-out images in the index, `fractions` the fractions of
    them in the splits "fit" and "calibrate". Raises ValueError if a split would be empty.
    """
    number = np.arange(num)
    rounds = -(-num // len(heldout))
    order = seeds.stream(root, "probe_part").permutation(len(heldout))
    ends = np.cumsum([fractions[FIT], fractions[CALIBRATE]]) * len(heldout)
    split_of_image = np.searchsorted(np.floor(ends + 0.5), np.argsort(order), side="right")
    image, round_ = number % len(heldout), number // len(heldout)
    split = split_of_image[image]
    if empty := [name for i, name in enumerate(SPLITS) if not (split == i).any()]:
        raise ValueError(
            f"probe: wanted states in every split, got none in {empty[0]!r} ({num} states of "
            f"{len(heldout)} held-out images); raise probe.num_states or data.heldout_fraction"
        )
    strata = np.stack(
        [seeds.stream(root, "probe", i, 1).permutation(rounds) for i in range(len(heldout))]
    )
    u = seeds.stream(root, "probe", 0, 2).random(num)
    return pd.DataFrame(
        {
            "state": number,
            "row": heldout[image],
            "t": ((strata[image, round_] + u) / rounds).astype(np.float32),
            "is_null": seeds.stream(root, "probe", 0, 3).random(num) < NULL_FRACTION,
            "split": np.asarray(SPLITS, object)[split],
        }
    )


def states(chosen: pd.DataFrame, values: np.ndarray, root: int) -> States:
    """Return the states in the rows `chosen` of a `table`; `values` are their images."""
    # Columns are copied, because torch warns of arrays that are read only.
    row, t, is_null = (chosen[name].to_numpy(copy=True) for name in ("row", "t", "is_null"))
    t = torch.from_numpy(t)
    x0 = torch.from_numpy(values)
    numbers = chosen["state"].tolist()
    eps = torch.from_numpy(seeds.normals(root, "probe", numbers, values.shape[1:], 4)).to(x0)
    x, target = paths.add_noise(x0, eps, t.to(x0.dtype)), paths.velocity(x0, eps)
    return States(row, t, x, target, is_null)


def directions(chosen: pd.DataFrame, num: int, shape: tuple[int, ...], root: int) -> torch.Tensor:
    """Return `num` standard normal directions per state [states, num, *shape]."""
    drawn = seeds.normals(root, "directions", chosen["state"].tolist(), (num, *shape))
    return torch.from_numpy(drawn)
