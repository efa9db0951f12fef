"""Partitions of the training images: methods, membership, quality and agreement."""
