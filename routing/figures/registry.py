"""The table of figures and tables: FIGURES maps the name in the config to a class.

A figure is a frozen dataclass whose fields are its options. It has `needs`, the groups of input
files that it reads (see `shared.figure_inputs`), `formats`, the formats that it writes, and
`draw(FigureInputs) -> Drawing`. To add one, write the class in a file of its name and add a row to
FIGURES. Figures do not import each other; code that several use is in `figures/shared/`.
"""

from routing.figures.agreement import Agreement
from routing.figures.calibration import Calibration
from routing.figures.clusters import Clusters
from routing.figures.comparison import Comparison
from routing.figures.contact_sheet import ContactSheet
from routing.figures.critical_difference import CriticalDifference
from routing.figures.densities import Densities
from routing.figures.departure import Departure
from routing.figures.differences import Differences
from routing.figures.distinguishable import Distinguishable
from routing.figures.expert_errors import ExpertErrors
from routing.figures.exposure import Exposure
from routing.figures.frontier import Frontier
from routing.figures.gains import Gains
from routing.figures.grids import Grids
from routing.figures.guidance import Guidance
from routing.figures.imbalance import Imbalance
from routing.figures.losses import Losses
from routing.figures.partition_quality import PartitionQuality
from routing.figures.partition_report import PartitionReport
from routing.figures.partition_table import PartitionTable
from routing.figures.quality import Quality
from routing.figures.reliability import Reliability
from routing.figures.results import Results
from routing.figures.router_matrix import RouterMatrix
from routing.figures.router_table import RouterTable
from routing.figures.routing import Routing
from routing.figures.shares import Shares
from routing.figures.switching import Switching
from routing.figures.trajectories import Trajectories
from routing.figures.weights_by_time import WeightsByTime

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
