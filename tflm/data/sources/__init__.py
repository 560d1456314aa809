"""Readers of rows, one file per format."""
