"""Checks of counts: samples, blocks, probe states, and the experts of every arm."""

from routing.config.plan import num_experts
from routing.ensemble.policies import POLICIES
from routing.stages.experts import EXPERTS, Transformer
from routing.statistics.jackknife import seed_blocks
from routing.workflow import choices


def check(spec: dict) -> None:
    """Shards and blocks divide their totals, and every arm has the experts that it needs."""
    _check_samples(spec["samples"], spec["metrics"])
    _check_probe(spec["probe"])
    nums = num_experts(spec["partitions"])
    for name, arm in spec["arms"].items():
        _check_experts(name, arm, nums[arm["partition"]], spec)


def _check_samples(samples: dict, metrics: dict) -> None:
    if samples["num_samples"] % samples["shard_size"]:
        raise ValueError(
            f"samples.shard_size: wanted a divisor of {samples['num_samples']} (num_samples), "
            f"got {samples['shard_size']}; change one of them"
        )
    try:
        seed_blocks(samples["num_samples"], metrics["num_blocks"])
    except ValueError as error:
        raise ValueError(f"metrics.{error}") from None


def _check_probe(probe: dict) -> None:
    if probe["num_states"] % probe["shard_size"]:
        raise ValueError(
            f"probe.shard_size: wanted a divisor of {probe['num_states']} (num_states), got "
            f"{probe['shard_size']}; change one of them"
        )
    fit, calibration = probe["fit_fraction"], probe["calibration_fraction"]
    if not fit + calibration < 1:
        raise ValueError(
            f"probe.calibration_fraction: wanted fit_fraction + calibration_fraction < 1, so that "
            f"some images are left for diagnostics, got {fit} + {calibration}; lower one"
        )


def _check_experts(name: str, arm: dict, num: int, spec: dict) -> None:
    where = f"policies.{arm['policy']}"
    policies = choices.with_plugins("policies", POLICIES)
    policy = choices.build(policies, spec["policies"][arm["policy"]], where)
    if policy.min_experts > num:
        raise ValueError(
            f"arms.{name}.policy: {arm['policy']!r} needs at least {policy.min_experts} "
            f"experts, partition {arm['partition']!r} has {num}; choose a policy for fewer, or "
            f"another partition"
        )
    experts = choices.with_plugins("experts", EXPERTS)
    kind = choices.build(experts, spec["experts"], "experts")
    if isinstance(kind, Transformer):
        try:
            kind.batch_size(num)
        except ValueError as error:
            raise ValueError(f"experts.{error}") from None
