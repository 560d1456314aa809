"""Public checkpoints in and out: BERT, GPT-2, T5, Llama, Qwen and others, as folders of transformers or as GGUF.

checkpoint = read_checkpoint("Qwen2.5-0.5B-Instruct")
model = build_model(checkpoint.model_config)
checkpoint.load_into(model)
write_checkpoint(model, "out", family="qwen2")
"""

from tflm.models.checkpoints.checkpoint import Checkpoint, read_checkpoint
from tflm.models.checkpoints.family import FAMILIES, Family, register_family
from tflm.models.checkpoints.writing import family_of, write_checkpoint

__all__ = [
    "FAMILIES",
    "Checkpoint",
    "Family",
    "family_of",
    "read_checkpoint",
    "register_family",
    "write_checkpoint",
]
