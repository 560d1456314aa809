"""tflm: language models on Keras 3 and TensorFlow, from a text file to a served model.

Importing this package imports nothing heavy; each part is imported by name, for instance
`from tflm.text import load_tokenizer`.
"""

__version__ = "0.1.0"
