"""An exact world: a Gaussian mixture, whose posterior and velocities have a closed form."""

from dataclasses import dataclass

import numpy as np

from routing.data.sources.base import Samples
from routing.workflow import seeds


@dataclass(frozen=True)
class MixtureSource:
    """Points of a Gaussian mixture in the plane, with exact component counts.

    Component c has weight `weights[c]`, mean `means[c]`, the isotropic standard deviation
    `stds[c]` and the label `labels[c]`; without labels its label is c.
    """

    weights: tuple[float, ...]
    means: tuple[tuple[float, float], ...]
    stds: tuple[float, ...]
    num_points: int = 4000
    labels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Validate the options."""
        if not len(self.weights) == len(self.means) == len(self.stds):
            raise ValueError(
                f"mixture: wanted as many weights as means and stds, got {len(self.weights)}, "
                f"{len(self.means)} and {len(self.stds)}; give one of each per component"
            )
        if self.labels is not None and len(self.labels) != len(self.weights):
            raise ValueError(
                f"mixture: wanted as many labels as weights, got {len(self.labels)} and "
                f"{len(self.weights)}; give one per component or none"
            )
        if not (self.weights and min(self.weights) > 0 and min(self.stds) > 0):
            raise ValueError(
                f"mixture: wanted weights and stds > 0, got weights "
                f"{list(self.weights)} and stds {list(self.stds)}; remove empty components"
            )

    def load(self, root: int) -> Samples:
        """Return points drawn from the stream `world`, with exact numbers per component."""
        shares = np.asarray(self.weights) / sum(self.weights) * self.num_points
        counts = np.floor(shares).astype(int)
        counts[np.argsort(counts - shares, kind="stable")[: self.num_points - counts.sum()]] += 1
        own = np.repeat(np.arange(len(counts)), counts)
        noise = seeds.stream(root, "world").standard_normal((self.num_points, 2))
        points = np.asarray(self.means)[own] + np.asarray(self.stds)[own, None] * noise
        labels = own if self.labels is None else np.asarray(self.labels)[own]
        return Samples(
            stored=points.astype(np.float32),
            labels=labels,
            captions=[f"label {label}" for label in labels],
            source_ids=[f"mixture/{i}" for i in range(self.num_points)],
            levels=None,
            licence="CC0 1.0 (generated)",
            components=own,
        )
