"""Sizes, fonts and colours of all figures, and the finished drawing.

Sizes are inches on paper: a figure is one column (3.3) or a page (6.9) wide and its text has 7
points, so nothing is scaled in print. Fonts come with matplotlib and are embedded. Files contain
no dates, so equal figures are equal files. Figures are objects without pyplot, so no global state
of matplotlib changes.
"""

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from routing.figures.shared.figure_text import FONTS, figure_text, font_families

COLUMN, PAGE = 3.3, 6.9  # widths, in
ROW = 0.135  # height of a row of text, in
LINE = 0.15  # height of a line of an axis label or a legend, in
GREY, BAND = "#595959", "#E4E4E4"
DOTTED = {"color": GREY, "linewidth": 0.8, "dashes": (1, 1.5)}
TIME_LABEL = "time $t$, from noise (1) to data (0)"

IMAGE_FORMATS = ("pdf", "png")
TEXT_FORMATS = ("md", "tex")

RC = {
    "font.family": list(FONTS),
    "mathtext.fontset": "stix",
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.labelsize": 7.5,
    "axes.titlepad": 3,
    "axes.labelpad": 2,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.minor.width": 0.35,
    "ytick.minor.width": 0.35,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "lines.linewidth": 1,
    "lines.markersize": 4,
    "grid.linewidth": 0.4,
    "grid.color": "#E0E0E0",
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.w_pad": 0.02,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Drawing:
    """A matplotlib figure, or texts by format, and the table of the numbers in it."""

    table: pd.DataFrame
    figure: Any = None
    texts: dict[str, str] | None = None
    left_out: tuple[str, ...] = ()  # what the figure was asked for and does not show

    def rendered(self, kind: str) -> bytes:
        """Return the content of the file in format `kind`."""
        if self.texts is not None:
            return self.texts[kind].encode()
        buffer = io.BytesIO()
        metadata = {"pdf": {"CreationDate": None}, "png": {"Software": None}}[kind]
        with _settings():
            self.figure.savefig(buffer, format=kind, metadata=metadata)
        return buffer.getvalue()


def with_left_out(drawing: Drawing, names: list[str], line: str) -> Drawing:
    """Return `drawing` with `left_out` and `line` as a note.

    The note is below a figure and below a Markdown table; in LaTeX it is a comment.
    """
    from routing.figures.shared import page_layout, text_tables

    if drawing.texts is None:
        with _settings():
            page_layout.write_note(drawing.figure, figure_text(line))
        return replace(drawing, left_out=tuple(names))
    notes = {"md": f"\n{text_tables.escape_markdown(line)}\n", "tex": f"% {line}\n"}
    texts = {kind: text + notes[kind] for kind, text in drawing.texts.items()}
    return replace(drawing, texts=texts, left_out=tuple(names))


def styled(draw: Callable) -> Callable:
    """Decorate `draw` to use the settings RC instead of the user's matplotlib settings."""

    @functools.wraps(draw)
    def drawn(*args: Any) -> Drawing:
        with _settings():
            return draw(*args)

    return drawn


def _settings() -> Any:
    from matplotlib import style

    return style.context(RC | {"font.family": font_families()}, after_reset=True)
