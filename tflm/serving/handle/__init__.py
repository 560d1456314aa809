"""What `tflm.load` returns: one object for a folder and for a server's model. Nothing here imports TensorFlow."""
