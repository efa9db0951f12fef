"""One look for all figures: sizes, type, scales, and what a finished drawing is.

Sizes are inches on paper: a column (3.3) or a page (6.9) wide, type of 7 points, so that nothing
is scaled when printed. Fonts come with matplotlib and are embedded; there are no dates, so that
equal figures are equal files. Only object figures, no pyplot: nothing global is changed.
"""

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

COLUMN, PAGE = 3.3, 6.9  # widths, in
ROW = 0.135  # height of a row of text, in
WIDER = 1.05  # type on a screen than as it is designed, at most
LINE = 0.15  # height of a line of a label or of a legend, in
GREY, BAND = "#595959", "#E4E4E4"
DOTTED = {"color": GREY, "linewidth": 0.8, "dashes": (1, 1.5)}
TIME = "time $t$, from noise (1) to data (0)"

PICTURES = ("pdf", "png")
TEXT_ENCODERS = ("md", "tex")

RC = {
    "font.family": "STIXGeneral",
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
    """A matplotlib figure (or texts by format) and the numbers behind it."""

    table: pd.DataFrame
    figure: Any = None
    texts: dict[str, str] | None = None

    def rendered(self, kind: str) -> bytes:
        """The file of format `kind`."""
        if self.texts is not None:
            return self.texts[kind].encode()
        buffer = io.BytesIO()
        metadata = {"pdf": {"CreationDate": None}, "png": {"Software": None}}[kind]
        with _look():
            self.figure.savefig(buffer, format=kind, metadata=metadata)
        return buffer.getvalue()


def styled(draw: Callable) -> Callable:
    """`draw` under this look and no other, whatever the user's own matplotlib settings are."""

    @functools.wraps(draw)
    def drawn(*args: Any) -> Drawing:
        with _look():
            return draw(*args)

    return drawn


def canvas(width: float, height: float) -> Any:
    """An empty figure of this size (in) that makes room for its labels itself."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def width_of(texts: list[str], of: str = "ytick.labelsize") -> float:
    """Width of the widest of `texts` as names at an axis (or in the size `of` of RC), in."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=RC["font.family"], size=RC[of])
    wide = [text_to_path.get_text_width_height_descent(t, font, ismath=False) for t in texts]
    return max(width for width, _, _ in wide) / 72


def wrapped(text: str, width: float) -> list[str]:
    """Lines of `text` as the label of an axis `width` in long: cut at "; ", else "," or spaces."""
    lines = [text]
    for between, kept in (("; ", ""), (", ", ","), (" ", "")):
        packed = (_packed(line.split(between), between, kept, width) for line in lines)
        lines = [part for found in packed for part in found]
    return lines


def _packed(parts: list[str], between: str, kept: str, width: float) -> list[str]:
    """Lines of as many of `parts` as fit, one at least; of `between` a cut leaves `kept`."""
    lines = parts[:1]
    for i, part in enumerate(parts[1:], 2):
        longer = f"{lines[-1]}{between}{part}"
        end = kept if i < len(parts) else ""
        if WIDER * width_of([longer + end], "axes.labelsize") <= width:
            lines[-1] = longer
        else:
            lines[-1] += kept
            lines.append(part)
    return lines


def balanced(num: int, most: int) -> int:
    """The fewest columns, at most `most`, that need no more rows than `most` columns do."""
    return -(-num // -(-num // most))


def panels(num: int, columns: int, width: float, height: float, **options: Any) -> tuple:
    """A figure with `num` axes in reading order, each row `height` in high."""
    rows = -(-num // columns)
    figure = canvas(width, height * rows)
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for empty in axes[num:]:
        empty.remove()
    return figure, axes[:num]


def columns(num: int, rows: int, widest: int, height: float) -> tuple[Any, list[np.ndarray]]:
    """A figure with `num` columns of `rows` axes: `widest` side by side, then another band.

    A band is `height` in high.
    """
    across = min(widest, num)
    bands = -(-num // across)
    figure = canvas(PAGE * max(across, 3) / widest, height * bands + 0.5)
    axes = figure.subplots(rows * bands, across, squeeze=False)
    found = []
    for i in range(bands * across):
        own = axes[rows * (i // across) :][:rows, i % across]
        if i < num:
            found.append(own)
            continue
        for ax in own:
            ax.remove()
    return figure, found


def label_column(axes: np.ndarray, words: list[str]) -> None:
    """Names and ticks of a column of axes along t: on the left of a band and at its bottom."""
    is_first = axes[0].get_subplotspec().is_first_col()
    for ax, text in zip(axes, words, strict=True):
        time_axis(ax)
        ax.tick_params(labelleft=is_first, labelbottom=ax is axes[-1])
        ax.set_ylabel(text if is_first else "")


def steps(rows: pd.DataFrame) -> list[np.ndarray]:
    """Corners t, value, low and high of a step curve over the bins t_low..t_high, cut at gaps."""
    rows = rows.sort_values("t_low")
    low, high = rows["t_low"].to_numpy(), rows["t_high"].to_numpy()
    corners = [np.stack([low, high], 1).ravel()]
    corners += [np.repeat(rows[c].to_numpy(np.float64), 2) for c in ("value", "low", "high")]
    gaps = 2 * (1 + np.flatnonzero(np.abs(low[1:] - high[:-1]) > 1e-9))
    return [np.insert(c, gaps, np.nan) for c in corners]


def legend(figure: Any, handles: list, columns: int) -> None:
    """A legend above the axes, outside of them."""
    figure.legend(handles=handles, loc="outside upper center", ncols=min(columns, len(handles)))


def fit_scale(axes: Any, which: str, values: np.ndarray, half_widths: np.ndarray) -> None:
    """Give the axis `which` (x, y) the scale that shows all `values`, linear where that does.

    Logarithmic where all intervals are positive and span a factor of 30; where some reach zero,
    linear within the power of ten above the median half-width and logarithmic outside.
    """
    low, high = (values - half_widths).min(), np.abs(values).max()
    set_scale = getattr(axes, f"set_{which}scale")
    if low > 0 and high / values.min() > 30:
        set_scale("log")
    elif low <= 0 and (half := np.median(half_widths)) > 0:
        linear = 10.0 ** np.ceil(np.log10(half))
        if high > 30 * linear and np.median(np.abs(values)) < 3 * linear:
            set_scale("symlog", linthresh=linear, linscale=0.6)


def time_axis(axes: Any) -> None:
    """x runs as the sampler does, from t = 1 (noise) to t = 0 (data)."""
    axes.set_xlim(1, 0)
    axes.set_xticks([1, 0.5, 0], ["1", "0.5", "0"])


def _look() -> Any:
    from matplotlib import style

    return style.context(RC, after_reset=True)
