"""The REST interface of TensorFlow Serving, and server-sent events."""
