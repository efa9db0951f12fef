"""The oracle: worlds where every router and expert has a closed form.

`Mixture` is a Gaussian mixture, `LabelledMixture` one whose components also have labels, so that
there is something to condition on. Another world is another file, with the methods of these.
"""

from routing.oracle.labelled import LabelledMixture
from routing.oracle.mixture import Mixture

__all__ = ["LabelledMixture", "Mixture"]
