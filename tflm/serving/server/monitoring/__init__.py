"""Metrics, access log, health."""
