"""Panels over the density of an exact world in the plane.

An exact world is a data distribution with closed-form experts and posterior, the Gaussian mixture
q(x) = sum_c pi_c N(x; m_c, s_c^2 I). Grey areas are the smallest ones that contain 50 %, 90 % and
99 % of its mass.
"""

from typing import Any

import numpy as np

from routing.figures.shared import page_layout, style
from routing.figures.shared.figure_inputs import FigureInputs

MASSES = (0.99, 0.9, 0.5)
GREYS = ("#F4F4F4", "#E6E6E6", "#D3D3D3")
MAX_COLUMNS = 6


def exact_world(inputs: FigureInputs, figure: str) -> dict[str, np.ndarray]:
    """Return weights, means and stds of the mixture; ValueError if the data are not one."""
    if inputs.world is None:
        raise ValueError(
            f"{figure}: wanted data.source 'mixture' (an exact world), got another source; remove "
            f"the figure from the config"
        )
    found = {key: np.asarray(inputs.world[key], float) for key in ("weights", "means", "stds")}
    return found | {"weights": found["weights"] / found["weights"].sum()}


def density(world: dict[str, np.ndarray], points: np.ndarray) -> np.ndarray:
    """Return q at `points` [..., 2]."""
    square = ((points[..., None, :] - world["means"]) ** 2).sum(-1)
    variance = world["stds"] ** 2
    return (world["weights"] * np.exp(-square / (2 * variance)) / (2 * np.pi * variance)).sum(-1)


def density_levels(q: np.ndarray, cell: float) -> list[float]:
    """Return the densities above which `q` has MASSES, on a grid of cells with this area."""
    heights = np.sort(q.ravel())[::-1]
    mass = np.cumsum(heights) * cell
    return [float(heights[np.searchsorted(mass, fraction)]) for fraction in MASSES]


def density_panels(num: int, world: dict[str, np.ndarray]) -> tuple[Any, np.ndarray]:
    """Return a figure with `num` square axes of equal limits, with the density in grey."""
    from matplotlib.ticker import MaxNLocator

    low = (world["means"] - 4 * world["stds"][:, None]).min()
    high = (world["means"] + 4 * world["stds"][:, None]).max()
    line = np.linspace(low, high, 241)
    points = np.stack(np.meshgrid(line, line), -1)
    q = density(world, points)
    edges = [*density_levels(q, (line[1] - line[0]) ** 2), q.max()]
    ticks = MaxNLocator(4, integer=True).tick_values(low, high)[1:-1]
    columns = page_layout.balanced_columns(num, MAX_COLUMNS)
    width = style.PAGE * min(1, max(columns, 2) / 4)
    figure, axes = page_layout.panel_grid(
        num, columns, width, width / columns + 0.1, sharex=True, sharey=True
    )
    for i, ax in enumerate(axes):
        ax.contourf(line, line, q, edges, colors=GREYS)
        ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        ax.set(xticks=ticks, yticks=ticks)
        ax.tick_params(labelbottom=i >= num - columns, labelleft=i % columns == 0)
    figure.supxlabel("$x_1$")
    figure.supylabel("$x_2$")
    return figure, axes
