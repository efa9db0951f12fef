"""Stage figures: one figure or text table per job, and a Parquet table of its numbers."""

import sys
from typing import Any

from routing.figures.registry import FIGURES
from routing.figures.shared import left_out, style
from routing.figures.shared.figure_inputs import FigureInputs
from routing.workflow import choices


def run(job) -> None:
    """Write the figure in its formats, and `table`, the numbers in it."""
    where = f"figures.{job.spec['figure_name']}"
    figure = choices.build(choices.with_plugins("figures", FIGURES), job.spec["figure"], where)
    try:
        drawing = draw(figure, FigureInputs(job))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if drawing.left_out:
        line = left_out.left_out_line(list(drawing.left_out), len(drawing.left_out))
        print(f"{where}: {line}", file=sys.stderr, flush=True)
    for kind in figure.formats:
        job.write_bytes(kind, drawing.rendered(kind))
    job.write_table("table", drawing.table)


def draw(figure: Any, inputs: FigureInputs) -> style.Drawing:
    """Return the drawing with a line about what `figure` was asked for and does not show."""
    drawing = figure.draw(inputs)
    names = left_out.names_left_out(figure, inputs, drawing.table)
    return style.with_left_out(drawing, names, left_out.left_out_line(names)) if names else drawing
