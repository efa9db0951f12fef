"""The states of the probe: which held-out image, which time, which noise, from the seed alone.

State m is of held-out image m mod N in round m // N of ceil(M / N); every round has one stratum of
[0, 1] for each image, in an order of the image's own:

    t_m   = (stratum + u_m) / rounds ,   eps_m ~ N(0, I) ,   x_m = (1 - t_m) x_0 + t_m eps_m

so that an image is seen once in each stratum (but for the last round, where M / N is no whole
number), and any subset of images has its times spread over all of [0, 1]. Where experts take a
condition, a state is told the image's own, but for a share `NULL_SHARE` that is told nothing.

The images fall into three parts: routers are fitted on the states of the first, temperatures on
those of the second, and reports are of the third. What a probe stores is `table`: everything here
is made again from it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from routing.flow import paths
from routing.workflow import seeds

FIT, CALIBRATE, REPORT = "fit", "calibrate", "report"
PARTS = (FIT, CALIBRATE, REPORT)
NULL_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class States:
    """Noised states, a row each."""

    row: np.ndarray  # of the image, in the index
    t: torch.Tensor  # [states], float32
    x: torch.Tensor  # [states, *dims]
    target: torch.Tensor  # [states, *dims]: eps - x_0
    is_null: np.ndarray  # [states]: told nothing

    def __len__(self) -> int:
        """How many."""
        return len(self.row)


def table(heldout: np.ndarray, num: int, root: int, parts: dict[str, float]) -> pd.DataFrame:
    """number, row, t, is_null and part of `num` states; `heldout` are the rows of the images.

    `parts` says the shares of the images that are in the parts "fit" and "calibrate". Raises
    ValueError if a part would be empty.
    """
    number = np.arange(num)
    rounds = -(-num // len(heldout))
    order = seeds.stream(root, "probe_part").permutation(len(heldout))
    ends = np.cumsum([parts[FIT], parts[CALIBRATE]]) * len(heldout)
    part_of_image = np.searchsorted(np.floor(ends + 0.5), np.argsort(order), side="right")
    image, turn = number % len(heldout), number // len(heldout)
    part = part_of_image[image]
    if empty := [name for i, name in enumerate(PARTS) if not (part == i).any()]:
        raise ValueError(
            f"probe: wanted states in every part, got none to {empty[0]} ({num} states of "
            f"{len(heldout)} held-out images); raise probe.num_states or data.heldout"
        )
    strata = np.stack(
        [seeds.stream(root, "probe", i, 1).permutation(rounds) for i in range(len(heldout))]
    )
    u = seeds.stream(root, "probe", 0, 2).random(num)
    return pd.DataFrame(
        {
            "state": number,
            "row": heldout[image],
            "t": ((strata[image, turn] + u) / rounds).astype(np.float32),
            "is_null": seeds.stream(root, "probe", 0, 3).random(num) < NULL_SHARE,
            "split": np.asarray(PARTS, object)[part],
        }
    )


def states(chosen: pd.DataFrame, values: np.ndarray, root: int) -> States:
    """The states of these rows of a `table`; `values` are their images, a row each."""
    # Columns of a table may not be written to, and torch warns of such arrays.
    row, t, is_null = (chosen[name].to_numpy(copy=True) for name in ("row", "t", "is_null"))
    t = torch.from_numpy(t)
    x0 = torch.from_numpy(values)
    numbers = chosen["state"].tolist()
    eps = torch.from_numpy(seeds.normals(root, "probe", numbers, values.shape[1:], 4)).to(x0)
    x, target = paths.add_noise(x0, eps, t.to(x0.dtype)), paths.velocity(x0, eps)
    return States(row, t, x, target, is_null)


def directions(chosen: pd.DataFrame, num: int, shape: tuple[int, ...], root: int) -> torch.Tensor:
    """`num` standard normal directions for each state [states, num, *shape]."""
    drawn = seeds.normals(root, "directions", chosen["state"].tolist(), (num, *shape))
    return torch.from_numpy(drawn)
