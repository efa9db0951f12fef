"""Data: sources, image decoding, shards, conditioners and the states of the probe."""
