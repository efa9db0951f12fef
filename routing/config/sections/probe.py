"""The section `probe`: the noised held-out images on which all experts are evaluated once."""

from pydantic import Field

from routing.config.sections.base import Section


class Probe(Section):
    """The probe: noised held-out images on which all experts of a partition are evaluated once."""

    num_states: int = Field(default=8192, ge=1)
    """Number of states (image, time, noise) per partition and training seed. Every held-out
    image has equally many, at times spread over [0, 1]."""
    shard_size: int = Field(default=8192, ge=1)
    """States per job; must divide `num_states`."""
    num_directions: int = Field(default=2, ge=1)
    """Random projections of the velocities that are stored per state, for the label-free
    consistency objective."""
    fit_fraction: float = Field(default=0.6, gt=0, lt=1)
    """Fraction of the held-out images on whose states routers are trained."""
    calibration_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Fraction of the held-out images on whose states temperatures are fitted. The states of the
    remaining images are used only for reported diagnostics."""
