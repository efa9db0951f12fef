"""Checks of arms: their names, and the names of their parts."""

from routing.config.checks.references import require_known

RESERVED = ("data", "heldout")  # name the real images in files and figures
PARTS = {  # the keys of an arm, and the key of the config that defines their values
    "partition": "partitions",
    "router": "routers",
    "policy": "policies",
    "sampler": "samplers",
    "guidance": "guidances",
}


def check(spec: dict) -> None:
    """The parts of an arm are defined, and its name is not reserved."""
    for name, arm in spec["arms"].items():
        if name in RESERVED:
            raise ValueError(f"arms.{name}: this name is reserved for real images; rename the arm")
        for part, group in PARTS.items():
            if arm[part] is not None:
                require_known(f"arms.{name}.{part}", arm[part], spec[group])
