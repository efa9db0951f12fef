"""The oracle: worlds where every router and expert has a closed form.

`Mixture` is a Gaussian mixture, `LabelledMixture` one whose components also have labels, so that
there is something to condition on. Another world is another file, with the methods of these.
"""

from routing.flow.exact_worlds.gaussian_mixture import Mixture
from routing.flow.exact_worlds.labelled_mixture import LabelledMixture

__all__ = ["LabelledMixture", "Mixture"]
