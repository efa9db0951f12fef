"""How different the samples are from each other."""

from dataclasses import dataclass
from typing import ClassVar

from routing.metrics.base import InSpace, Kind, Replicates, View
from routing.metrics.formulas.vendi_score import vendi_score


@dataclass(frozen=True)
class Vendi(InSpace):
    """Vendi score: the effective number of different samples, from 1 to n.

    No data are looked at, and noise has the most: a diagnostic, neither direction is better. Read
    it beside that of held-out images.
    """

    kinds: ClassVar = {"vendi": Kind(0, 1)}

    def replicates(self, view: View) -> Replicates:
        """One value per replicate."""
        return {view.named("vendi"): vendi_score(view.features, view.weights)}
