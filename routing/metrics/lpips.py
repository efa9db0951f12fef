"""LPIPS between the samples of an arm, and between arms under the same seed."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from routing.metrics.formulas.lpips_distance import diversity
from routing.metrics.protocol import ArmSamples, Kind, Metric, Replicates, weighted_means


@dataclass(frozen=True)
class LPIPS(Metric):
    """LPIPS diversity, and mean LPIPS distance to the reference arm.

    `lpips_<net>_diversity` is the mean distance over all pairs of samples; with the ending
    `_within_condition`, over the pairs with the same prompt or class. It is a diagnostic: more is
    not better, since noise is the most diverse. Compare it with that of held-out images.
    `lpips_<net>_to_<arm>` is the mean distance to the reference arm's samples of the same seeds:
    how much the routing changes the image. `<net>` is `alex` or `vgg`, and `alex_other` or
    `vgg_other` for weights other than the published ones. All values are >= 0.
    """

    kinds: ClassVar = {"lpips_diversity": Kind(0), "lpips_to": Kind(0)}

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return the diversity without the pairs of a left-out block, and the mean distance."""
        name, within = f"lpips_{arm.lpips.net}_diversity", arm.lpips.within
        name = name if within == "all" else f"{name}_within_{within}"
        values = {name: self._diversity(arm)}
        return values | weighted_means(self.scores(arm), arm.weights)

    def scores(self, arm: ArmSamples) -> dict[str, Tensor]:
        """Return the distance of each sample to the reference arm's; {} if there is none."""
        lpips = arm.lpips
        if lpips.to_baseline is None:
            return {}
        return {f"lpips_{lpips.net}_to_{lpips.baseline}": lpips.to_baseline}

    def bootstrap(self, arm: ArmSamples, counts: Tensor) -> Replicates:
        """Return draws of the distance to the reference arm alone."""
        return weighted_means(self.scores(arm), counts)

    def _diversity(self, arm: ArmSamples) -> Tensor:
        blocks = len(arm.lpips.total)
        kept = arm.weights.reshape(len(arm.weights), blocks, -1)
        assert (kept == kept[:, :, :1]).all(), "replicates leave out whole blocks"
        return diversity(arm.lpips.total, arm.lpips.num_pairs, kept[:, :, 0])
