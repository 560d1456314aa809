"""Files: encodings, formats, atomic writes and locks. Does not import TensorFlow."""
