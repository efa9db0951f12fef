"""Exact assignment with prescribed sizes: few clusters, many rows.

    min over a of  sum_i cost[a_i, i]   such that cluster k gets capacity_k rows.

Its dual are prices b_k: row i goes to  argmin_k cost[k, i] - b_k  (for squared distances: a power
diagram), and  g(b) = sum_i min_k (cost[k, i] - b_k) + sum_k capacity_k b_k  is concave and at
most the optimum. Three steps:

1. coordinate ascent of g: b_k moves to where exactly capacity_k rows prefer k. Nearly all is done;
2. successive shortest paths: any prices' assignment is optimal for the sizes it has, and stays so
   if a row moves along each edge of a cheapest path from a full to a wanting cluster. An edge
   k -> j costs  gap[k, j] = min over rows i of k of  cost[j, i] - cost[k, i] , so the graph has as
   many nodes as there are clusters (Ahuja, Magnanti, Orlin, Network Flows, 9.7);
3. prices in the middle of those that fit:  b_j - b_k <= gap[k, j]  for all k, j.
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
    """The optimal assignment, and prices b (mean 0) whose argmin it is (but for exact ties).

    `start`: prices near the answer, if any are known; they change the time and no optimum.
    """
    num_clusters, num_rows = cost.shape
    assert capacity.sum() == num_rows and (capacity >= 1).all()
    if num_clusters == 1:
        return np.zeros(num_rows, np.int64), np.zeros(1)
    b = _ascent(cost, capacity, np.zeros(num_clusters) if start is None else start.copy())
    clusters = (cost - b[:, None]).argmin(axis=0)
    movers = _Movers(cost, clusters)
    _settle(movers, capacity, b)
    return clusters, _middle(movers.gaps)


def equal_sizes(num_rows: int, num_clusters: int) -> Capacity:
    """Sizes equal up to one; the first clusters have the rows that are left over."""
    k = np.arange(num_clusters)
    return num_rows // num_clusters + (k < num_rows % num_clusters)


def _ascent(cost: Cost, capacity: Capacity, b: Prices) -> Prices:
    """Until sizes are within 1 %, or K steps have moved less than a third of what is to move."""
    before = np.inf
    for step in range(10 * len(b)):
        reduced = cost - b[:, None]
        excess = (reduced == reduced.min(axis=0)).sum(axis=1) - capacity  # argmin takes far longer
        k, total = np.abs(excess).argmax(), np.abs(excess).sum()
        if abs(excess[k]) <= max(1, 0.01 * capacity.min()):
            break
        if step % len(b) == 0:  # from here on, paths are faster
            if total > 2 / 3 * before:
                break
            before = total
        reduced[k] = np.inf
        margin = cost[k] - reduced.min(axis=0)  # a row prefers k where this is below b_k
        around = [capacity[k] - 1, capacity[k]]
        b[k] = np.partition(margin, around)[around].mean()
    return b


class _Movers:
    """For all clusters k, j: what the row of k loses that loses least by going to j, and the row.

    Rows wait in order for each pair; one that has left k since is passed over when its turn comes.
    """

    def __init__(self, cost: Cost, clusters: Assigned):
        """Sort the rows of every cluster by what they lose elsewhere."""
        num = len(cost)
        self.cost, self.clusters = cost, clusters
        self.gaps, self.rows = np.full((num, num), np.inf), np.zeros((num, num), np.int64)
        self._order: list[np.ndarray] = []  # of each k [clusters, rows of k]
        self._at = np.zeros((num, num), np.int64)
        self._late: list[list[list]] = [[[] for _ in range(num)] for _ in range(num)]  # heaps
        for k in range(num):
            rows = np.flatnonzero(clusters == k)
            lost = cost[:, rows] - cost[k, rows]
            self._order.append(rows[lost.argsort(axis=1, kind="stable")])
            self.look(k)

    def move(self, row: int, j: int) -> None:
        """Put `row` into cluster j; `look` at both clusters when all have moved."""
        self.clusters[row] = j
        for h, heap in enumerate(self._late[j]):
            heapq.heappush(heap, (self.cost[h, row] - self.cost[j, row], row))

    def look(self, k: int) -> None:
        """Renew row k of `gaps` and `rows`; inf where k is empty, and from k to itself."""
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


def _settle(movers: _Movers, capacity: Capacity, b: Prices) -> None:
    """Make an assignment, optimal for its sizes and the prices `b`, optimal for `capacity`."""
    sizes = np.bincount(movers.clusters, minlength=len(b))
    while (sizes > capacity).any():
        first = int((sizes - capacity).argmax())
        # Reduced costs are >= 0 but for rounding: cheapest paths without negative edges.
        edges = np.maximum(movers.gaps + b[:, None] - b[None, :], 0.0)
        far, before = _cheapest_paths(edges, first)
        last = int(np.where(sizes < capacity, far, np.inf).argmin())
        b += np.minimum(far, far[last])
        sizes[first] -= 1
        sizes[last] += 1
        path = [last]
        while path[-1] != first:
            j, k = path[-1], int(before[path[-1]])
            movers.move(int(movers.rows[k, j]), j)
            path.append(k)
        for k in path:
            movers.look(k)


def _cheapest_paths(edges: Square, first: int) -> tuple[Prices, Capacity]:
    """Dijkstra: the cost of reaching every node from `first`, and the node before it."""
    far, before = np.full(len(edges), np.inf), np.full(len(edges), first)
    far[first], is_open = 0.0, np.ones(len(edges), bool)
    for _ in range(len(edges)):
        k = int(np.where(is_open, far, np.inf).argmin())
        is_open[k] = False
        shorter = is_open & (far[k] + edges[k] < far)
        far[shorter], before[shorter] = far[k] + edges[k][shorter], k
    return far, before


def _middle(gaps: Square) -> Prices:
    """The mean of the extreme prices: for all cheapest paths S,  +S[r, :] and -S[:, r]  fit."""
    S = gaps.copy()
    np.fill_diagonal(S, 0.0)
    for k in range(len(S)):
        S = np.minimum(S, S[:, k : k + 1] + S[k : k + 1])
    return (S.mean(axis=0) - S.mean(axis=1)) / 2
