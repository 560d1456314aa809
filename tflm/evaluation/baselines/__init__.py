"""Baselines: n-gram model, logistic regression, first sentence."""
