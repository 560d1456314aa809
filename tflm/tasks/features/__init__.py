"""Features that tasks make of token ids: masking, spans, windows, conversations. In graph, unless a file says so."""
