"""Stage figures: one figure or table per job, with the Parquet behind it.

A figure is a frozen dataclass with `needs` (what it reads), `formats`, and
`draw(Inputs) -> Drawing`; to add one, write it in the file of its notion and give it a row in
FIGURES. The config names the file and the options.
"""

from routing import choices
from routing.figures.agreement import Agreement
from routing.figures.calibration import Calibration, Reliability
from routing.figures.clusters import Clusters
from routing.figures.comparison import Comparison
from routing.figures.contact import ContactSheet
from routing.figures.critical_difference import CriticalDifference
from routing.figures.curves import Losses
from routing.figures.departure import Departure
from routing.figures.distinguishable import Distinguishable
from routing.figures.division_quality import PartitionQuality
from routing.figures.division_tables import PartitionReport, PartitionTable
from routing.figures.dynamics import Routing
from routing.figures.errors import ExpertErrors
from routing.figures.exposure import Exposure
from routing.figures.frontier import Frontier
from routing.figures.gains import Gains
from routing.figures.grids import Grids
from routing.figures.guidance import Guidance
from routing.figures.imbalance import Imbalance
from routing.figures.inputs import Inputs
from routing.figures.matrix import RouterMatrix, RouterTable
from routing.figures.plane import Densities, Trajectories
from routing.figures.quality import Differences, Quality
from routing.figures.results import Results
from routing.figures.shares import Shares
from routing.figures.switching import Switching
from routing.figures.weights import WeightsByTime

FIGURES = {
    "grids": Grids,
    "quality": Quality,
    "differences": Differences,
    "frontier": Frontier,
    "routing": Routing,
    "clusters": Clusters,
    "losses": Losses,
    "calibration": Calibration,
    "reliability": Reliability,
    "shares": Shares,
    "results": Results,
    "densities": Densities,
    "trajectories": Trajectories,
    "router_table": RouterTable,
    "router_matrix": RouterMatrix,
    "gains": Gains,
    "weights_by_time": WeightsByTime,
    "switching": Switching,
    "expert_errors": ExpertErrors,
    "guidance": Guidance,
    "departure": Departure,
    "exposure": Exposure,
    "partition_quality": PartitionQuality,
    "partition_table": PartitionTable,
    "partition_report": PartitionReport,
    "contact_sheet": ContactSheet,
    "imbalance": Imbalance,
    "agreement": Agreement,
    "critical_difference": CriticalDifference,
    "comparison": Comparison,
    "distinguishable": Distinguishable,
}


def run(job) -> None:
    """Write the figure in its formats, and `table`, the numbers behind it."""
    where = f"figures.{job.spec['figure_name']}"
    figure = choices.build(choices.rows("figures", FIGURES), job.spec["figure"], where)
    try:
        drawing = figure.draw(Inputs(job))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    for kind in figure.formats:
        job.write_bytes(kind, drawing.rendered(kind))
    job.write_table("table", drawing.table)
