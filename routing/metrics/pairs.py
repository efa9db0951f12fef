"""LPIPS between the samples of an arm, and between arms under the same seed."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from routing.metrics.base import Kind, Measure, Replicates, View, means
from routing.metrics.formulas.lpips_distance import diversity


@dataclass(frozen=True)
class LPIPS(Measure):
    """LPIPS diversity: mean over all pairs (`..._within_condition`: those of one prompt or class).

    Higher is more different, from 0, which is not better: noise is the most different. A
    diagnostic, to be read beside that of held-out images. `lpips_<net>_to_<arm>` is the mean
    distance from the samples of the reference arm under the same seeds: how much the routing
    changes the picture. `<net>` is `alex` or `vgg`, and `alex_other` or `vgg_other` where the
    weights are not the published ones.
    """

    kinds: ClassVar = {"lpips_diversity": Kind(0), "lpips_to": Kind(0)}

    def replicates(self, view: View) -> Replicates:
        """Of the pairs that no left-out block touches; the distance to the baseline if any."""
        name, within = f"lpips_{view.pairs.net}_diversity", view.pairs.within
        name = name if within == "all" else f"{name}_within_{within}"
        found = {name: self._diversity(view)}
        return found | means(self.scores(view), view.weights)

    def scores(self, view: View) -> dict[str, Tensor]:
        """The distance of each sample to the baseline's under the same seed."""
        pairs = view.pairs
        if pairs.to_baseline is None:
            return {}
        return {f"lpips_{pairs.net}_to_{pairs.baseline}": pairs.to_baseline}

    def bootstrap(self, view: View, counts: Tensor) -> Replicates:
        """Of the distances to the baseline alone."""
        return means(self.scores(view), counts)

    def _diversity(self, view: View) -> Tensor:
        blocks = len(view.pairs.total)
        kept = view.weights.reshape(len(view.weights), blocks, -1)
        assert (kept == kept[:, :, :1]).all(), "replicates leave out whole blocks"
        return diversity(view.pairs.total, view.pairs.count, kept[:, :, 0])
