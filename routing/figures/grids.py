"""The same seeds under every arm, side by side, with real images of the training split first."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import image_grids, page_layout, style
from routing.figures.shared.config_view import display_name
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

REAL = "data"
LARGEST = 4096  # values per image up to which the table holds the pixels too


@dataclass(frozen=True)
class Grids:
    """A square grid of the first seeds for each arm; one position is one seed in all of them."""

    num_images: int = 64
    columns: int = 6
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("samples", "data")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    def __post_init__(self):
        """Refuse empty grids."""
        if min(self.num_images, self.columns) < 1:
            raise ValueError(
                f"grids: wanted num_images and columns >= 1, got {self.num_images} and "
                f"{self.columns}; raise them"
            )

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Panels in reading order: the data, then the arms in the order of the config."""
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
            ax.set_title("real images" if name == REAL else display_name(name))
            parts.append(_rows(name, numbers, tiles, side))
        return Drawing(pd.concat(parts, ignore_index=True), figure)

    def _grids(self, inputs: FigureInputs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Numbers (seeds; for real images rows of the index) and stored images by name."""
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
    """Where each image is, and its stored values in the order channel, row, column if few."""
    place = np.arange(len(tiles))
    table = pd.DataFrame(
        {"arm": name, "number": numbers, "row": place // side, "column": place % side}
    )
    if tiles[0].size <= LARGEST:
        table["pixels"] = list(tiles.reshape(len(tiles), -1))
    return table
