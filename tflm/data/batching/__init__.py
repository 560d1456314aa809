"""Batches from a token store: packed blocks, length buckets, single rows, skip-gram pairs."""
