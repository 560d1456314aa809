"""Protocol buffers of TensorFlow Serving that are read or sent without TensorFlow; `make protos` compiles them.

The published messages import TensorFlow, or are not published at all. These have the same fields under the package name
`tflm.serving`, so that both can be loaded into one process.
"""
