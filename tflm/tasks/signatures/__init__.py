"""The signatures that several tasks export, one file per family."""
