"""Stage figures: one figure or text table per job, and a Parquet table of its numbers."""

from routing.figures.registry import FIGURES
from routing.figures.shared.figure_inputs import FigureInputs
from routing.workflow import choices


def run(job) -> None:
    """Write the figure in its formats, and `table`, the numbers in it."""
    where = f"figures.{job.spec['figure_name']}"
    figure = choices.build(choices.with_plugins("figures", FIGURES), job.spec["figure"], where)
    try:
        drawing = figure.draw(FigureInputs(job))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    for kind in figure.formats:
        job.write_bytes(kind, drawing.rendered(kind))
    job.write_table("table", drawing.table)
