"""Optimal assignment of many rows to few clusters of given sizes (a transportation problem).

    min over a of  sum_i cost[a_i, i]   such that cluster k gets capacity_k rows.

The dual variables are prices b_k: row i goes to  argmin_k cost[k, i] - b_k  (for squared
distances, a power diagram). The dual  g(b) = sum_i min_k (cost[k, i] - b_k) + sum_k capacity_k b_k
is concave and at most the optimum. There are three steps:

1. coordinate ascent on g: b_k moves to where exactly capacity_k rows prefer k. This assigns nearly
   all rows;
2. successive shortest paths: the assignment of any prices is optimal for its own sizes. It stays
   optimal if one row moves along each edge of a cheapest path from a cluster above its capacity to
   one below. An edge k -> j costs  gap[k, j] = min over rows i of k of  cost[j, i] - cost[k, i] ,
   so the graph has one node per cluster (Ahuja, Magnanti, Orlin, Network Flows, 9.7);
3. prices in the middle of the feasible ones:  b_j - b_k <= gap[k, j]  for all k, j.
"""

import heapq

import numpy as np
from jaxtyping import Float, Int

Cost = Float[np.ndarray, "clusters rows"]
Square = Float[np.ndarray, "clusters clusters"]
Capacity = Int[np.ndarray, " clusters"]  # >= 1 each, their sum the number of rows
Prices = Float[np.ndarray, " clusters"]
Assigned = Int[np.ndarray, " rows"]


def transport(
    cost: Cost, capacity: Capacity, start: Prices | None = None
) -> tuple[Assigned, Prices]:
    """Return the optimal assignment, and prices b (mean 0) whose argmin it is, up to exact ties.

    `start` holds prices near the solution, if known; they change the running time only.
    """
    num_clusters, num_rows = cost.shape
    assert capacity.sum() == num_rows and (capacity >= 1).all()
    if num_clusters == 1:
        return np.zeros(num_rows, np.int64), np.zeros(1)
    b = _ascent(cost, capacity, np.zeros(num_clusters) if start is None else start.copy())
    clusters = (cost - b[:, None]).argmin(axis=0)
    moves = _Moves(cost, clusters)
    _fill_to_capacity(moves, capacity, b)
    return clusters, _middle(moves.gaps)


def equal_cluster_sizes(num_rows: int, num_clusters: int) -> Capacity:
    """Return sizes that are equal up to one; the first clusters are the larger ones."""
    k = np.arange(num_clusters)
    return num_rows // num_clusters + (k < num_rows % num_clusters)


def _ascent(cost: Cost, capacity: Capacity, b: Prices) -> Prices:
    """Ascend until sizes are within 1 %, or K steps reduce the excess by less than a third."""
    before = np.inf
    for step in range(10 * len(b)):
        reduced = cost - b[:, None]
        excess = (reduced == reduced.min(axis=0)).sum(axis=1) - capacity  # argmin is far slower
        k, total = np.abs(excess).argmax(), np.abs(excess).sum()
        if abs(excess[k]) <= max(1, 0.01 * capacity.min()):
            break
        if step % len(b) == 0:
            if total > 2 / 3 * before:  # shortest paths are faster from here on
                break
            before = total
        reduced[k] = np.inf
        margin = cost[k] - reduced.min(axis=0)  # a row prefers k where this is below b_k
        around = [capacity[k] - 1, capacity[k]]
        b[k] = np.partition(margin, around)[around].mean()
    return b


class _Moves:
    """For all clusters k, j: the row of k that is cheapest to move to j, and the cost of the move.

    `gaps[k, j]` is that cost and `rows[k, j]` the row. Each pair keeps its rows in order of cost;
    rows that have left k in the meantime are skipped.
    """

    def __init__(self, cost: Cost, clusters: Assigned):
        """Sort the rows of each cluster by the cost of moving them to every other cluster."""
        num = len(cost)
        self.cost, self.clusters = cost, clusters
        self.gaps, self.rows = np.full((num, num), np.inf), np.zeros((num, num), np.int64)
        self._order: list[np.ndarray] = []  # for each k: [clusters, rows of k]
        self._at = np.zeros((num, num), np.int64)
        self._late: list[list[list]] = [[[] for _ in range(num)] for _ in range(num)]  # heaps
        for k in range(num):
            rows = np.flatnonzero(clusters == k)
            lost = cost[:, rows] - cost[k, rows]
            self._order.append(rows[lost.argsort(axis=1, kind="stable")])
            self.update(k)

    def move(self, row: int, j: int) -> None:
        """Move `row` to cluster j; call `update` for both clusters after all moves."""
        self.clusters[row] = j
        for h, heap in enumerate(self._late[j]):
            heapq.heappush(heap, (self.cost[h, row] - self.cost[j, row], row))

    def update(self, k: int) -> None:
        """Recompute row k of `gaps` and `rows`; inf if k is empty, and from k to itself."""
        for j in range(len(self.cost)):
            order, heap, at = self._order[k][j], self._late[k][j], self._at[k, j]
            while at < len(order) and self.clusters[order[at]] != k:
                at += 1
            while heap and self.clusters[heap[0][1]] != k:
                heapq.heappop(heap)
            self._at[k, j], best = at, (np.inf, 0)
            if at < len(order):
                best = (self.cost[j, order[at]] - self.cost[k, order[at]], order[at])
            if heap:
                best = min(best, heap[0])
            self.gaps[k, j], self.rows[k, j] = best if j != k else (np.inf, 0)


def _fill_to_capacity(moves: _Moves, capacity: Capacity, b: Prices) -> None:
    """Move rows from an assignment that is optimal for its own sizes to one for `capacity`."""
    sizes = np.bincount(moves.clusters, minlength=len(b))
    while (sizes > capacity).any():
        first = int((sizes - capacity).argmax())
        # Reduced costs are >= 0 up to rounding, so Dijkstra applies.
        edges = np.maximum(moves.gaps + b[:, None] - b[None, :], 0.0)
        far, before = _cheapest_paths(edges, first)
        last = int(np.where(sizes < capacity, far, np.inf).argmin())
        b += np.minimum(far, far[last])
        sizes[first] -= 1
        sizes[last] += 1
        path = [last]
        while path[-1] != first:
            j, k = path[-1], int(before[path[-1]])
            moves.move(int(moves.rows[k, j]), j)
            path.append(k)
        for k in path:
            moves.update(k)


def _cheapest_paths(edges: Square, first: int) -> tuple[Prices, Capacity]:
    """Dijkstra: return the cost of reaching each node from `first`, and its predecessor."""
    far, before = np.full(len(edges), np.inf), np.full(len(edges), first)
    far[first], is_open = 0.0, np.ones(len(edges), bool)
    for _ in range(len(edges)):
        k = int(np.where(is_open, far, np.inf).argmin())
        is_open[k] = False
        shorter = is_open & (far[k] + edges[k] < far)
        far[shorter], before[shorter] = far[k] + edges[k][shorter], k
    return far, before


def _middle(gaps: Square) -> Prices:
    """Return the mean of the extreme prices: with S all cheapest paths, S[r, :] and -S[:, r]."""
    S = gaps.copy()
    np.fill_diagonal(S, 0.0)
    for k in range(len(S)):
        S = np.minimum(S, S[:, k : k + 1] + S[k : k + 1])
    return (S.mean(axis=0) - S.mean(axis=1)) / 2
