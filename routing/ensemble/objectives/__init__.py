"""Objectives of a learned router: the losses by which its logits z(x_t, t) are trained.

With p = softmax(z), G the Gram matrix of expert errors at the state
(`routing.ensemble.gram_matrix`), pi the prior:

    cluster        -log p_c ,  c the cluster of x_0                     (DDM, arXiv:2501.05450;
                                                                         Paris, arXiv:2510.03434)
    soft_cluster   -sum_k q_k log p_k ,  q_k ~ pi_k exp(-d_k^2 / (2 temperature^2))
    expert_error   -sum_k q_k log p_k ,  q_k ~ exp(-G_kk / tau)
    velocity       p^T G p : the flow-matching loss of the ensemble; no expert is evaluated
    velocity_topk  sum_S P(S) p_S^T G p_S ,  p_S = p on S, renormalised ,  S of k experts ,
                   P(S) ~ prod_{k in S} p_k
    consistency    mean_u Var_k(t u . grad z_k + (1 - t) u . v_k) / dim + weight * prior_chi2
                   (exact routers have  grad log p_k = -((1 - t) / t) (v_k - sum_j p_j v_j))

The minimum of `cluster` is the exact posterior; so is that of `velocity` if the experts are exact.
Only the objectives that read the probe depend on the experts' errors. Each loss is a mean over the
batch.

To add an objective, write a frozen dataclass with `__call__(logits, batch)` and `reads` ("images":
x_0 and its cluster are enough; "probe": the experts' outputs at the state are needed). Give it a
row in OBJECTIVES, or in your own package an entry point of the group `routing.objectives`.
"""

from routing.ensemble.objectives.base import Batch, Objective
from routing.ensemble.objectives.cluster import Cluster
from routing.ensemble.objectives.consistency import Consistency
from routing.ensemble.objectives.expert_error import ExpertError
from routing.ensemble.objectives.soft_cluster import SoftCluster
from routing.ensemble.objectives.velocity import Velocity
from routing.ensemble.objectives.velocity_topk import VelocityTopK

__all__ = ["OBJECTIVES", "Batch", "Objective"]

OBJECTIVES: dict[str, type] = {
    "cluster": Cluster,
    "soft_cluster": SoftCluster,
    "expert_error": ExpertError,
    "velocity": Velocity,
    "velocity_topk": VelocityTopK,
    "consistency": Consistency,
}
