"""The table of metrics: one frozen dataclass and one row of METRICS each.

A metric compares the samples of one arm, as features in one feature space, with what was fitted
on the training images in that space. It returns a value for all samples and one for each
replicate (a block of seeds left out, routing/statistics/jackknife.py). A metric that is a mean
over the samples also returns the `scores` of which it is the mean. `kinds` gives the direction and
the range of each kind of value. A metric is named `<kind>_<feature space>`, followed by the
options that differ from the published ones (`recall_digits_k10`) and by the number of samples if
that was set:

    frechet           fd, or fid in Inception features        Heusel 2017, arXiv:1706.08500
    frechet_infinity  its limit for infinitely many samples   Chong 2020, arXiv:1911.07023
    kernel            kd, or kid in Inception features        Binkowski 2018, arXiv:1801.01401
    energy            energy distance                         Szekely & Rizzo 2013
    cmmd              Gaussian kernel on unit vectors         Jayasumana 2024, arXiv:2401.09603
    inception_score   is                                      Salimans 2016, arXiv:1606.03498
    neighbours        precision, recall, density, coverage    arXiv:1904.06991, arXiv:2002.09797
    vendi             effective number of different samples   Friedman 2022, arXiv:2210.02410
    lpips             diversity, distance to reference arm    Zhang 2018, arXiv:1801.03924
    clip_score        cosine of image and caption             Hessel 2021, arXiv:2104.08718
    copies            distance to nearest training image      Alaa 2022, arXiv:2102.08921
    class_shares      shares of classes, beside the data's
    cluster_shares    shares of clusters, beside the data's
    cluster_frechet   Frechet distance cluster by cluster
    cluster_kernel    kernel distance cluster by cluster, unbiased
    cluster_recall    recall and coverage cluster by cluster
    agreement         predicted class = requested class

Each metric is in the module of its name; the formulas are in routing/metrics/formulas. To add
one, write a frozen dataclass derived from `Metric` (protocol.py) and give it a row in METRICS, or
an entry point of the group `routing.metrics` in your own package.
"""

from routing.metrics.agreement import Agreement
from routing.metrics.class_shares import ClassShares
from routing.metrics.clip_score import CLIPScore
from routing.metrics.cluster_frechet import ClusterFrechet
from routing.metrics.cluster_kernel import ClusterKernel
from routing.metrics.cluster_recall import ClusterRecall
from routing.metrics.cluster_shares import ClusterShares
from routing.metrics.cmmd import CMMD
from routing.metrics.copies import Copies
from routing.metrics.energy import Energy
from routing.metrics.frechet import Frechet
from routing.metrics.frechet_infinity import FrechetInfinity
from routing.metrics.inception_score import InceptionScore
from routing.metrics.kernel import Kernel
from routing.metrics.lpips import LPIPS
from routing.metrics.neighbours import Neighbours
from routing.metrics.protocol import ArmSamples, Kind, Metric, ReferenceSamples
from routing.metrics.vendi import Vendi

__all__ = ["METRICS", "ArmSamples", "Kind", "Metric", "ReferenceSamples"]

METRICS: dict[str, type] = {
    "frechet": Frechet,
    "frechet_infinity": FrechetInfinity,
    "kernel": Kernel,
    "energy": Energy,
    "cmmd": CMMD,
    "inception_score": InceptionScore,
    "neighbours": Neighbours,
    "vendi": Vendi,
    "lpips": LPIPS,
    "clip_score": CLIPScore,
    "copies": Copies,
    "class_shares": ClassShares,
    "cluster_shares": ClusterShares,
    "cluster_frechet": ClusterFrechet,
    "cluster_kernel": ClusterKernel,
    "cluster_recall": ClusterRecall,
    "agreement": Agreement,
}
