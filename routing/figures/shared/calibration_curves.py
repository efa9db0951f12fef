"""Parts of the calibration figures: which routers are drawn, titles, line styles and legend.

The curve "as trained" is the raw posterior of a router. The curve "with temperatures" divides its
logits by temperatures fitted per bin of t: those that the router samples with or, if it samples
with the raw posterior, those with the smallest cross-entropy.
"""

from typing import Any

from routing.figures.shared import router_styles, style
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label

MAX_COLUMNS = 6  # routers side by side
AS_TRAINED, SCALED = {"linewidth": 1.2}, {"linewidth": 1.0, "dashes": (2.5, 1.2)}
THIN = {"linewidth": 0.6, "dashes": (4, 1, 1, 1)}  # what an exactly calibrated router would have


def trained_routers(inputs: FigureInputs, figure: str) -> list[list[str]]:
    """Return [partition, router] of all trained routers; ValueError if there is none."""
    if not inputs.spec["routers"]:
        raise ValueError(
            f"{figure}: wanted a trained router, got none; remove the figure from the config"
        )
    return inputs.spec["routers"]


def panel_title(pairs: list[list[str]], pair: list[str]) -> str:
    """Return the name of the router, with its partition if there are several."""
    partition, router = map(figure_label, pair)
    return router if len({p for p, _ in pairs}) == 1 else f"{router}, {partition}"


def scaled_version(inputs: FigureInputs, router: str) -> str:
    """Return the version of the router reports that has temperatures."""
    own = router_styles.sampling_version(inputs, router)
    return "nll" if own == "raw" else own


def legend_handles() -> list:
    """Return the legend of the two versions."""
    grey = {"color": style.GREY}
    return [
        legend_line("as trained", **grey, **AS_TRAINED),
        legend_line("with temperatures", **grey, **SCALED),
    ]


def legend_line(text: str, **line: Any) -> Any:
    """Return a legend entry with a line."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=text, **line)
