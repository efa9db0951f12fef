"""How different the samples are from each other."""

from dataclasses import dataclass
from typing import ClassVar

from routing.measures.base import InSpace, Kind, Replicates, View
from routing.vendi import vendi_score


@dataclass(frozen=True)
class Vendi(InSpace):
    """Vendi score: the effective number of different samples; higher is better, from 1 to n."""

    kinds: ClassVar = {"vendi": Kind(1, 1)}

    def replicates(self, view: View) -> Replicates:
        """One value per replicate."""
        return {view.named("vendi"): vendi_score(view.features, view.weights)}
