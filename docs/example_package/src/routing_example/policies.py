"""A policy that sharpens the posterior:  w_k = p_k^(1/T) / sum_j p_j^(1/T) , T the temperature."""

from dataclasses import dataclass

from routing.ensemble.policies import Policy


@dataclass(frozen=True)
class Sharpened(Policy):
    """All experts, with the posterior raised to the power 1 / temperature and renormalised.

    A temperature of 1 is the policy `full`; near 0 it is top-1.
    """

    temperature: float = 0.5

    def __post_init__(self):
        """Validate the options."""
        if not self.temperature > 0:
            raise ValueError(
                f"sharpened: temperature must be > 0, got {self.temperature}; raise it"
            )

    def __call__(self, p, t, u, carry):
        """Return the weights [batch, experts] and the unchanged memory."""
        # Divided by the largest, so that small powers do not all become 0.
        powers = (p / p.amax(dim=1, keepdim=True)) ** (1 / self.temperature)
        return powers / powers.sum(dim=1, keepdim=True), carry
