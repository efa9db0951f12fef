"""Grids of samples with equal seeds in every arm, beside real images of the training split."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import image_grids, page_layout, style
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label
from routing.figures.shared.style import Drawing

REAL = "data"
MAX_PIXEL_VALUES = 4096  # per image; the table has the pixels of images up to this size


@dataclass(frozen=True)
class Grids:
    """A square grid of samples per arm; equal positions have equal seeds in all grids."""

    num_images: int = 64
    columns: int = 6
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("samples", "data")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    def __post_init__(self):
        """Validate the options."""
        if min(self.num_images, self.columns) < 1:
            raise ValueError(
                f"grids: wanted num_images and columns >= 1, got {self.num_images} and "
                f"{self.columns}; raise them"
            )

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Real images first, then the arms in the order of the config."""
        grids = self._grids(inputs)
        side = math.isqrt(self.num_images - 1) + 1
        columns = page_layout.balanced_columns(len(grids), self.columns)
        size = style.PAGE / max(columns, 3)
        shape = next(iter(grids.values()))[1].shape[2:]
        height = size * shape[0] / shape[1] * math.ceil(self.num_images / side) / side
        figure, axes = page_layout.panel_grid(len(grids), columns, size * columns, height + 0.14)
        parts = []
        for ax, (name, (numbers, tiles)) in zip(axes, grids.items(), strict=True):
            image_grids.show_grid(ax, image_grids.image_grid(tiles, side, inputs.levels))
            ax.set_title("real images" if name == REAL else figure_label(name))
            parts.append(_rows(name, numbers, tiles, side))
        return Drawing(pd.concat(parts, ignore_index=True), figure)

    def _grids(self, inputs: FigureInputs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return {name: (numbers, stored images)}; numbers are seeds, or rows of the index."""
        train = np.flatnonzero((inputs.index["split"] == "train").to_numpy())
        chosen = image_grids.evenly_spaced(self.num_images, train)
        levels = inputs.levels
        found = {
            REAL: (chosen, image_grids.stored_integers(inputs.images(chosen), levels, "grids"))
        }
        for arm in inputs.selected_arms(self.arms):
            values = inputs.samples(arm, self.num_images)
            found[arm] = (
                np.arange(len(values)),
                image_grids.stored_integers(values, levels, "grids"),
            )
        return found


def _rows(name: str, numbers: np.ndarray, tiles: np.ndarray, side: int) -> pd.DataFrame:
    """Return arm, number, row, column and, for small images, pixels (channel, row, column)."""
    index = np.arange(len(tiles))
    table = pd.DataFrame(
        {"arm": name, "number": numbers, "row": index // side, "column": index % side}
    )
    if tiles[0].size <= MAX_PIXEL_VALUES:
        table["pixels"] = list(tiles.reshape(len(tiles), -1))
    return table
