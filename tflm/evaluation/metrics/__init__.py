"""Metrics, with intervals."""
