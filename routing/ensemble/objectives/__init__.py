"""Objectives of a learned router: what its logits z(x_t, t) are trained to do.

With p = softmax(z), G the Gram matrix of expert errors at the state (gram.py), pi the prior:

    cluster        -log p_c ,  c the cluster of x_0                     (DDM, arXiv:2501.05450;
                                                                         Paris, arXiv:2510.03434)
    soft_cluster   -sum_k q_k log p_k ,  q_k ~ pi_k exp(-d_k^2 / (2 temperature^2))
    expert_error   -sum_k q_k log p_k ,  q_k ~ exp(-G_kk / tau)
    velocity       p^T G p : the flow-matching loss of the ensemble, no expert is run
    velocity_topk  sum_S P(S) p_S^T G p_S ,  p_S = p on S, renormalised ,  S of k experts ,
                   P(S) ~ prod_{k in S} p_k
    consistency    mean_u Var_k(t u . grad z_k + (1 - t) u . v_k) / dim + weight * moments
                   (exact routers have  grad log p_k = -((1 - t) / t) (v_k - sum_j p_j v_j))

`cluster` is least at the exact posterior, and so is `velocity` where the experts are exact; of
experts that err, only those objectives know that read the probe. Each is a mean over the batch.
To add one, write a frozen dataclass with `reads` ("images": x_0 and its cluster are enough;
"probe": what experts said at the state) and `__call__(logits, batch)`, and give it a row in
OBJECTIVES, or in your own package an entry point of the group `routing.objectives`.
"""

from routing.ensemble.objectives.base import Batch, Objective
from routing.ensemble.objectives.consistency import Consistency
from routing.ensemble.objectives.labels import Cluster, ExpertError, SoftCluster
from routing.ensemble.objectives.velocity import Velocity, VelocityTopK

__all__ = ["OBJECTIVES", "Batch", "Objective"]

OBJECTIVES: dict[str, type] = {
    "cluster": Cluster,
    "soft_cluster": SoftCluster,
    "expert_error": ExpertError,
    "velocity": Velocity,
    "velocity_topk": VelocityTopK,
    "consistency": Consistency,
}
