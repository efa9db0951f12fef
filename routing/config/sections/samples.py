"""The section `samples`: how many samples are drawn, and in what parts."""

from pydantic import Field

from routing.config.sections.base import Section


class Samples(Section):
    """How many samples every arm draws, and in what parts."""

    num_samples: int = Field(ge=2)
    """Samples per arm. Sample i has the same random numbers in every arm."""
    shard_size: int = Field(ge=1)
    """Samples per job; must divide `num_samples`."""
    batch_size: int = Field(default=256, ge=1)
    """Samples in memory at once. It changes results only by rounding."""
    num_trajectories: int = Field(default=64, ge=0)
    """Number of samples whose whole trajectory is stored."""
