"""Distances of an arm's samples from the training images, as two sets of points."""

import math
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from routing.metrics.base import InSpace, Kind, Real, Replicates, View
from routing.metrics.formulas.cmmd import GaussianReference, cmmd_both
from routing.metrics.formulas.energy_distance import EnergyReference, energy_distance
from routing.metrics.formulas.frechet_distance import (
    FrechetReference,
    frechet_bootstrap,
    frechet_distance,
    worth,
    worth_of_reference,
)
from routing.metrics.formulas.kernel_distance import KernelReference, kernel_distance
from routing.metrics.formulas.sample_size_extrapolation import extrapolated, sizes

UNBIASED = Kind(-1, -math.inf)  # scatters around zero where the distributions are equal


@dataclass(frozen=True)
class Frechet(InSpace):
    """Frechet distance (FID in Inception features); lower is better, from 0.

    Its expectation exceeds its limit by about c / n: compare at equal n. Bootstrap draws are of
    its first-order expansion, which does not add that bias once more
    (routing/metrics/formulas/frechet_distance.py).
    """

    kinds: ClassVar = {"frechet": Kind(-1)}
    reference: ClassVar = FrechetReference
    fits_all: ClassVar[bool] = True
    resamples: ClassVar[bool] = True

    def fit(self, real: Real) -> FrechetReference:
        """Moments of all training images."""
        return FrechetReference.of_blocks(real.blocks())

    def replicates(self, view: View) -> Replicates:
        """One value per replicate."""
        value = frechet_distance(view.features, view.reference, view.weights)
        return {view.named("frechet"): value}

    def bootstrap(self, view: View, counts: Float[Tensor, "draws samples"]) -> Replicates:
        """Draws of the first-order expansion."""
        return {view.named("frechet"): frechet_bootstrap(view.features, view.reference, counts)}

    def note(self, view: View) -> str:
        """What it is worth with so few samples in so many dimensions."""
        return worth(len(view.features), view.reference)


@dataclass(frozen=True)
class FrechetInfinity(InSpace):
    """Frechet distance of infinitely many samples, by a line in 1 / n; lower is better, from 0.

    Nearer to it than the distance at n, not unbiased; noise may take it below 0. The line does not
    hold where a subset has no more samples than dimensions: worth nothing there.
    """

    kinds: ClassVar = {"frechet_infinity": Kind(-1, -math.inf)}
    reference: ClassVar = FrechetReference
    fits_all: ClassVar[bool] = True

    def fit(self, real: Real) -> FrechetReference:
        """Moments of all training images."""
        return FrechetReference.of_blocks(real.blocks())

    def replicates(self, view: View) -> Replicates:
        """One value per replicate; subsets are the first of the kept samples in `view.order`."""

        def distance(weights: Tensor) -> Tensor:
            return frechet_distance(view.features, view.reference, weights)

        return {view.named("frechet_infinity"): extrapolated(distance, view.order, view.weights)}

    def note(self, view: View) -> str:
        """Whether there are subsets for which the line does not hold."""
        num, dim = view.features.shape
        few, least = "", sizes(num)[0]
        if least <= dim:
            few = (
                f"subsets of {least} to {num} samples in {dim} dimensions: below {dim + 1} the "
                "distance is no line in 1 / n, and this is not its limit; take the kernel "
                "distance, which has no bias"
            )
        return "; ".join(filter(None, (few, worth_of_reference(view.reference))))


@dataclass(frozen=True)
class Kernel(InSpace):
    """Kernel distance, unbiased, cubic (KID in Inception features); lower is better, around 0."""

    kinds: ClassVar = {"kernel": UNBIASED}
    reference: ClassVar = KernelReference
    resamples: ClassVar[bool] = True

    def replicates(self, view: View) -> Replicates:
        """One value per replicate."""
        value = kernel_distance(view.features, view.reference, view.weights)
        return {view.named("kernel"): value}


@dataclass(frozen=True)
class Energy(InSpace):
    """Energy distance; lower is better, around 0 where the distributions are equal."""

    kinds: ClassVar = {"energy": UNBIASED}
    reference: ClassVar = EnergyReference

    def replicates(self, view: View) -> Replicates:
        """One value per replicate."""
        value = energy_distance(view.features, view.reference, view.weights)
        return {view.named("energy"): value}


@dataclass(frozen=True)
class CMMD(InSpace):
    """CMMD: Gaussian kernel (sigma 10) on unit vectors, times 1000; lower is better, from 0.

    `cmmd` is the published number, biased upward by about (1/n + 1/m) of its scale;
    `cmmd_unbiased` is without, and for few samples.
    """

    kinds: ClassVar = {"cmmd": Kind(-1), "cmmd_unbiased": UNBIASED}
    reference: ClassVar = GaussianReference
    resamples: ClassVar[bool] = True

    def replicates(self, view: View) -> Replicates:
        """Both forms."""
        both = cmmd_both(view.features, view.reference, view.weights)
        return dict(zip(map(view.named, self.kinds), both, strict=True))
