"""Preparation of data: shards and test sets."""
