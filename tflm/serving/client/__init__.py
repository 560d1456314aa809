"""Clients of a model server: REST and gRPC, credentials, retries. Nothing here imports TensorFlow."""
