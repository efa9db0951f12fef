"""Samples: sources, decoding, shards, prompts and probe states."""
