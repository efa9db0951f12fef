"""Metrics: what is said of an arm, one frozen dataclass and one row of METRICS each.

A metric looks at one arm's samples, as features of one space, beside what was fitted on the
training images of that space, and gives a value for all samples and one for each replicate
(blocks of seeds left out: routing/statistics/intervals.py). What it says of each sample by
itself it gives as
`scores`; then the value is their mean. `kinds` holds the direction and the range of each name it
writes; a name is `<kind>_<space>`, with the options that are not the published ones
(`recall_digits_k10`) and the number of samples where that was asked for:

    frechet           fd, or fid in Inception features        Heusel 2017, arXiv:1706.08500
    frechet_infinity  its limit of infinitely many samples    Chong 2020, arXiv:1911.07023
    kernel            kd, or kid in Inception features        Binkowski 2018, arXiv:1801.01401
    energy            energy distance                         Szekely & Rizzo 2013
    cmmd              Gaussian kernel on unit vectors         Jayasumana 2024, arXiv:2401.09603
    inception_score   is                                      Salimans 2016, arXiv:1606.03498
    neighbours        precision, recall, density, coverage    arXiv:1904.06991, arXiv:2002.09797
    vendi             effective number of different samples   Friedman 2022, arXiv:2210.02410
    lpips             diversity, distance to the baseline     Zhang 2018, arXiv:1801.03924
    clip_score        cosine of image and caption             Hessel 2021, arXiv:2104.08718
    copies            nearest training image                  Alaa 2022, arXiv:2102.08921
    class_shares      shares of classes against the data's
    cluster_shares    shares of clusters against the data's
    cluster_frechet   Frechet distance cluster by cluster
    cluster_kernel    kernel distance cluster by cluster, without bias
    cluster_recall    recall and coverage cluster by cluster
    agreement         the class that was asked for is seen

To add one, write a frozen dataclass here (see base.py) and give it a row in METRICS, or in your
own package an entry point of the group `routing.metrics`.
"""

from routing.metrics.base import Kind, Measure, Real, View
from routing.metrics.classes import Agreement, ClassShares, InceptionScore
from routing.metrics.clusters import ClusterFrechet, ClusterKernel, ClusterRecall, ClusterShares
from routing.metrics.distances import CMMD, Energy, Frechet, FrechetInfinity, Kernel
from routing.metrics.neighbours import Copies, Neighbours
from routing.metrics.pairs import LPIPS
from routing.metrics.texts import CLIPScore
from routing.metrics.variety import Vendi

__all__ = ["METRICS", "Kind", "Measure", "Real", "View"]

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
