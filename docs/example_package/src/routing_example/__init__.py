"""A policy, a metric and a figure for the package routing."""
