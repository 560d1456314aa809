"""A SavedModel in this process."""
