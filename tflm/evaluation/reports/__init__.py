"""Reports, comparisons and plots."""
