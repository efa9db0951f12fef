"""Checks of partitions: their encoder, and the partition whose cluster sizes they copy."""

from routing.config.checks.references import require_known


def check(spec: dict) -> None:
    """A random partition copies the cluster sizes of a partition that copies none."""
    partitions = spec["partitions"]
    for name, partition in partitions.items():
        require_known(f"partitions.{name}.encoder", partition["encoder"], spec["encoders"])
        like = partition["method"].get("like")
        if like is None:
            continue
        where = f"partitions.{name}.method.like"
        require_known(where, like, partitions)
        if "like" in partitions[like]["method"]:
            raise ValueError(
                f"{where}: wanted a partition without `like`, got {like!r}; name a partition that "
                f"has a number of clusters"
            )
