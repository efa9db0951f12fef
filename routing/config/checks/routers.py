"""Checks of learned routers that start from the weights of another router."""

from routing.config.checks.references import require_known

ARCHITECTURE = ("patch_size", "width", "depth", "num_heads", "condition")


def check(spec: dict) -> None:
    """A router starts from a learned router of the same architecture, without a cycle."""
    for name in spec["routers"]:
        chain = [name]
        while start := spec["routers"][chain[-1]].get("start"):
            where = f"routers.{chain[-1]}.start"
            require_known(where, start, spec["routers"])
            if "start" not in spec["routers"][start]:
                kind = spec["routers"][start]["name"]
                raise ValueError(
                    f"{where}: wanted a learned router, got {start!r} ({kind}); name another"
                )
            if start in chain:
                raise ValueError(
                    f"{where}: wanted a router that does not start from this one, got {start!r}; "
                    f"remove one `start` of the cycle"
                )
            chain.append(start)
        if len(chain) > 1:
            _check_architecture(name, chain[1], spec["routers"])


def _check_architecture(name: str, start: str, routers: dict[str, dict]) -> None:
    for key in ARCHITECTURE:
        if routers[name][key] != routers[start][key]:
            raise ValueError(
                f"routers.{name}.start: wanted a router with the same {key} "
                f"({routers[name][key]!r}), got {start!r} with {routers[start][key]!r}; make them "
                f"equal"
            )
