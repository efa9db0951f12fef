"""Heat maps with a number in each cell."""

from typing import Any

import numpy as np


def draw_heat_map(axes: Any, dark: np.ndarray) -> None:
    """Draw cells of darkness `dark` in [0, 1]; cells with NaN are white."""
    from matplotlib.colors import LinearSegmentedColormap

    tone = LinearSegmentedColormap.from_list("tone", ["#F3F6FA", "#2C7FB8", "#08306B"])
    axes.imshow(np.ma.masked_invalid(dark), cmap=tone, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(np.arange(dark.shape[1] - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(dark.shape[0] - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


def text_colour(dark: float) -> str:
    """Return the colour of text on a cell of this darkness."""
    return "white" if dark > 0.42 else "black"


def outline_cell(axes: Any, i: int, j: int) -> None:
    """Draw a frame around the cell in row `i`, column `j`."""
    from matplotlib.patches import Rectangle

    look = {"fill": False, "edgecolor": "#EDA81C", "linewidth": 1.6}
    axes.add_patch(Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, **look))
