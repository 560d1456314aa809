"""Models and their lifecycle, admission, batching; what REST, gRPC and OpenAI handlers share."""
