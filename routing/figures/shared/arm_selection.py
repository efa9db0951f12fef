"""Which arms a figure compares: monoliths, guidance scales, groups, one arm per table cell."""

from typing import Any

from routing.figures.shared.config_view import display_name, require_known
from routing.figures.shared.figure_inputs import FigureInputs

HELDOUT = "heldout"  # name of the held-out data in the column `arm` of the metric tables


def is_monolith(inputs: FigureInputs, arm: str) -> bool:
    """Whether the arm has one expert, trained on everything."""
    return inputs.num_experts[inputs.arms[arm]["partition"]] == 1


def guidance_of(inputs: FigureInputs, arm: str) -> dict:
    """{name, options} of the arm's guidance; {name: none} where it asks for nothing."""
    return inputs.guidances.get(inputs.arms[arm].get("guidance"), {"name": "none"})


def guidance_scale(inputs: FigureInputs, arm: str) -> float | None:
    """Scale of the guidance; 1 where the condition is asked for without, None where it is not."""
    of = guidance_of(inputs, arm)
    return None if of["name"] == "none" else float(of.get("scale", 1))


def matching_monolith(inputs: FigureInputs, arm: str, arms: list[str]) -> str | None:
    """The monolith with the sampler and strength of guidance of `arm`, if it is among `arms`."""

    def key(arm: str) -> tuple:
        return inputs.arms[arm]["sampler"], guidance_scale(inputs, arm)

    same = [a for a in arms if is_monolith(inputs, a) and key(a) == key(arm)]
    return same[0] if same else None


def group_arms(inputs: FigureInputs, arms: list[str]) -> dict[str, list[str]]:
    """Arms that differ in router, policy and kind of guidance alone; monoliths first.

    By partition, sampler and strength of the guidance; all monoliths of one strength together.
    """
    found: dict[str, list[str]] = {}
    for arm in sorted(arms, key=lambda arm: not is_monolith(inputs, arm)):
        of, scale = inputs.arms[arm], guidance_scale(inputs, arm)
        title = "monolith"
        if not is_monolith(inputs, arm):
            title = f"{display_name(of['partition'])}, {display_name(of['sampler'])}"
        title += "" if scale is None else f", guidance {scale:g}"
        found.setdefault(title, []).append(arm)
    return found


def arms_by_router_and_policy(
    inputs: FigureInputs, arms: tuple[str, ...], partition: str, sampler: str, guidance: str | None
) -> dict[tuple[str, str], str]:
    """{(router, policy): arm} of those of `arms` (all, if none) that share all but these two.

    ValueError on unknown names, where nothing is left, and where two arms are one cell.
    """
    require_known(partition, list(inputs.partitions), "partition")
    require_known(sampler, list(inputs.samplers), "sampler")
    if guidance is not None:
        require_known(guidance, list(inputs.guidances), "guidance")
    shared = {"partition": partition, "sampler": sampler, "guidance": guidance}
    found: dict[tuple[str, str], str] = {}
    for arm in inputs.selected_arms(arms):
        of = inputs.arms[arm]
        if any(of.get(key) != value for key, value in shared.items()):
            continue
        first = found.setdefault((of["router"], of["policy"]), arm)
        if first != arm:
            raise ValueError(
                f"arms: wanted one arm per router and policy, got {first!r} and {arm!r} with "
                f"equal ones; name the arms"
            )
    if not found:
        told = ", ".join(f"{key} {value}" for key, value in shared.items() if value)
        raise ValueError(f"arms: wanted some with {told}, got none; name others")
    return found


def require_measured(metric: str, found: Any, arms: list[str]) -> list[str]:
    """Those of `arms` of which `found`, a table by arm, has this metric; ValueError if none."""
    kept = [arm for arm in arms if arm in found.index]
    if not kept:
        raise ValueError(f"{metric}: it was not measured on any of these arms; name others")
    return kept
