"""Exact worlds: data distributions for which every router and expert has a closed form.

`GaussianMixture` is unconditional. `LabelledMixture` gives each component a label, so that there
is something to condition on. To add an exact world, write a file with a class that has the
methods of these.
"""

from routing.flow.exact_worlds.gaussian_mixture import GaussianMixture
from routing.flow.exact_worlds.labelled_mixture import LabelledMixture

__all__ = ["GaussianMixture", "LabelledMixture"]
