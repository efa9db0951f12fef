"""The section `arms`: the rows of the comparison."""

from routing.config.sections.base import Name, Section


class Arm(Section):
    """An arm: one way of sampling, and one row of the comparison.

    The key of an arm is its name in files, tables and legends.
    """

    partition: Name
    """The partition (a key of `partitions`) whose experts are evaluated."""
    router: Name
    """The router (a key of `routers`) that gives the posterior over experts."""
    policy: Name
    """The policy (a key of `policies`) that turns the posterior into weights."""
    sampler: Name
    """The sampler (a key of `samplers`) that integrates the weighted velocity."""
    guidance: Name | None = None
    """The guidance (a key of `guidances`). Null: samples are unconditional."""
