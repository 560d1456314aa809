"""Command-line programs, one verb each: they parse flags, call tflm, and print."""
