"""Metrics of sets of samples: what the results tables report of an arm.

table.py                 METRICS, the table of metrics; each is in the module of its name
protocol.py              what a metric is, and the inputs it gets
feature_space_names.py   published names of feature spaces, names of metrics
share_metrics.py         shared by class_shares and cluster_shares
cluster_distances.py     shared by cluster_frechet and cluster_kernel
formulas/                the mathematics, under the names of the literature
"""
