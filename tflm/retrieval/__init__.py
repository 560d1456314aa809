"""Search in documents: passages, BM25, an index of vectors, keywords."""
