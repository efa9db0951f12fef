"""Which arms a figure compares: monoliths, guidance scales, groups, one arm per table cell."""

from typing import Any

from routing.figures.shared.config_view import require_known
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label

HELDOUT = "heldout"  # name of the held-out data in the column `arm` of the metric tables


def is_monolith(inputs: FigureInputs, arm: str) -> bool:
    """Return whether the arm has a single expert, trained on all data."""
    return inputs.num_experts[inputs.arms[arm]["partition"]] == 1


def guidance_of(inputs: FigureInputs, arm: str) -> dict:
    """Return {name, options} of the guidance of the arm; {name: none} if it is unconditional."""
    return inputs.guidances.get(inputs.arms[arm].get("guidance"), {"name": "none"})


def guidance_scale(inputs: FigureInputs, arm: str) -> float | None:
    """Return the guidance scale: 1 if conditional without guidance, None if unconditional."""
    of = guidance_of(inputs, arm)
    return None if of["name"] == "none" else float(of.get("scale", 1))


def matching_monolith(inputs: FigureInputs, arm: str, arms: list[str]) -> str | None:
    """Return the monolith among `arms` with the sampler and guidance scale of `arm`, or None."""

    def key(arm: str) -> tuple:
        return inputs.arms[arm]["sampler"], guidance_scale(inputs, arm)

    same = [a for a in arms if is_monolith(inputs, a) and key(a) == key(arm)]
    return same[0] if same else None


def group_arms(inputs: FigureInputs, arms: list[str]) -> dict[str, list[str]]:
    """Return {title: arms} with arms of equal partition, sampler and guidance scale in one group.

    Monoliths with the same guidance scale are one group, whatever their sampler. They come first.
    """
    found: dict[str, list[str]] = {}
    for arm in sorted(arms, key=lambda arm: not is_monolith(inputs, arm)):
        of, scale = inputs.arms[arm], guidance_scale(inputs, arm)
        title = "monolith"
        if not is_monolith(inputs, arm):
            title = f"{figure_label(of['partition'])}, {figure_label(of['sampler'])}"
        title += "" if scale is None else f", guidance {scale:g}"
        found.setdefault(title, []).append(arm)
    return found


def arms_by_router_and_policy(
    inputs: FigureInputs, arms: tuple[str, ...], partition: str, sampler: str, guidance: str | None
) -> dict[tuple[str, str], str]:
    """Return {(router, policy): arm} of the arms with this partition, sampler and guidance.

    `arms` restricts the selection; an empty tuple selects from all arms. Raises ValueError on
    unknown names, if no arm is left, and if two arms have the same router and policy.
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
                f"the same ones; name the arms"
            )
    if not found:
        wanted = ", ".join(f"{key} {value}" for key, value in shared.items() if value)
        raise ValueError(f"arms: wanted arms with {wanted}, got none; name others")
    return found


def require_measured(metric: str, found: Any, arms: list[str]) -> list[str]:
    """Return the `arms` in the index of `found`; raise ValueError if there is none."""
    kept = [arm for arm in arms if arm in found.index]
    if not kept:
        raise ValueError(f"{metric}: it was not measured on any of these arms; name others")
    return kept
