"""Checks of the values along a trajectory: finite, and rows of probabilities where they must be.

Routers and policies may be those of other packages, whose tests are not known here. A check is one
reduction of a small tensor; the reason is looked for only after it has failed.
"""

from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor

TOLERANCE = 1e-4  # of the sum of a row; sums of float32 are off by about 1e-6


class ValueChecks:
    """Checks that name the step, the time and the first `seeds` [batch] of the wrong samples."""

    def __init__(self, seeds: Int[Tensor, " batch"]):
        self.seeds = seeds

    def finite(self, what: str, values: Tensor, t: Tensor, step: int | None = None, rows=...):
        """Raise ValueError unless `values`, those of the samples `rows`, are finite."""
        if values.isfinite().all():
            return
        is_bad = ~values.isfinite().flatten(1).all(dim=1)
        raise ValueError(
            f"{what} must be finite, got nan or inf {self._where(is_bad, t, step, rows)}: look at "
            f"the loss curve and the size of the steps"
        )

    def probabilities(
        self, what: str, p: Any, num_experts: int, t: Float[Tensor, " batch"], step: int | None
    ) -> None:
        """Raise ValueError unless `p` is a tensor [batch, experts] and its rows are probabilities.

        Entries must be finite and >= 0, and each row must sum to 1 within TOLERANCE.
        """
        wanted, got = [len(t), num_experts], f"a {type(p).__name__}"
        if isinstance(p, Tensor):
            got = f"the shape {list(p.shape)}"
        if not isinstance(p, Tensor) or list(p.shape) != wanted:
            raise ValueError(
                f"{what}: wanted a tensor of shape {wanted} (samples, experts), got {got}; "
                f"correct its code"
            )
        if (p >= 0).all() & (_sum_errors(p) <= TOLERANCE).all():
            return
        self.finite(what, p, t, step)
        is_bad, problem = (p < 0).any(dim=1), "entries >= 0"
        got = f"{p.min().item():.4g}"
        if not is_bad.any():
            is_bad, problem = _sum_errors(p) > TOLERANCE, "rows that sum to 1"
            got = f"the sum {p[is_bad][0].sum().item():.6g}"
        raise ValueError(
            f"{what}: wanted {problem}, got {got} {self._where(is_bad, t, step)}; correct its code"
        )

    def _where(self, is_bad: Bool[Tensor, " rows"], t: Tensor, step: int | None, rows=...) -> str:
        seeds = self.seeds.to(is_bad.device)[rows][is_bad].tolist()
        at = "at " if step is None else f"at step {step}, "
        return (
            f"{at}t = {t[is_bad][0].item():.4g}, in {len(seeds)} samples (seeds "
            f"{', '.join(map(str, seeds[:5]))})"
        )


def _sum_errors(p: Tensor) -> Tensor:
    return (p.detach().sum(dim=1) - 1).abs()
