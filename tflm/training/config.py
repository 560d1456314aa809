"""Training hyperparameters."""

import dataclasses

from tflm.config import since

OPTIMIZERS = ("adamw", "muon")
SCHEDULES = ("cosine", "linear", "constant")
PRECISIONS = ("float32", "mixed_bfloat16")
DROPOUT_MASKS = ("per_example", "per_device")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Hyperparameters of a `Trainer`."""

    num_steps: int = 1000
    """Total number of optimizer steps."""
    global_batch_size: int = 16
    """Rows per optimizer step, over all replicas and micro-batches."""
    num_micro_batches: int = 1
    """Gradient accumulation: sequential micro-batches per replica and step, to save memory."""
    optimizer: str = "adamw"
    """adamw, or muon (Jordan et al., 2024): Muon for the matrices inside the blocks, AdamW for the rest."""
    peak_learning_rate: float = 1e-3
    """Learning rate after the warm-up."""
    schedule: str = "cosine"
    """Learning rate decay after the warm-up: cosine, linear or constant."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    final_learning_rate: float = 0.1
    """Learning rate at the end of the schedule, as a fraction of the peak."""
    weight_decay: float = 0.1
    """Decoupled weight decay (Loshchilov and Hutter, 2019); not applied to norms, biases and embeddings."""
    beta_1: float = 0.9
    """Decay rate of the first moment of AdamW."""
    beta_2: float = 0.95
    """Decay rate of the second moment of AdamW."""
    muon_learning_rate_ratio: float = 1.0
    """With muon: learning rate of AdamW, as a multiple of the peak."""
    muon_iterations: int = 5
    """With muon: Newton-Schulz iterations per step. Fewer are cheaper and less accurate."""
    clip_norm: float = 1.0
    """Maximum global norm of the gradients; 0 for no clipping."""
    precision: str = "float32"
    """float32, or mixed_bfloat16: bfloat16 matrix products; float32 weights, norms, softmax and loss."""
    jit_compile: bool = False
    """Compile the gradient step with XLA: faster for small models in float32; see docs/training.md."""
    log_every: int = 10
    """Steps between two log records; also the steps per call of the compiled loop."""
    eval_every: int = 500
    """Steps between two evaluations."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""
    keep_checkpoints: int = 2
    """Number of checkpoints to keep."""
    max_eval_batches: int = 0
    """Maximum number of batches of an evaluation during training; 0 for all. The final evaluation uses all."""
    seed: int = 0
    """Seed of the initial weights, the dropout and the order of the data."""
    dropout_masks: str = since("per_example", before="per_device")
    """per_example: a function of the seed, the step and the row of the batch, on any number of devices. per_device:
    from a generator on each device, all of which draw the same; the meaning of a config without this field."""

    def __post_init__(self) -> None:
        choices: tuple[tuple[str, tuple[str, ...]], ...] = (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
            ("dropout_masks", DROPOUT_MASKS),
        )
        for field, allowed in choices:
            if getattr(self, field) not in allowed:
                raise ValueError(f"{field} is one of {', '.join(allowed)}; got {getattr(self, field)!r}.")
        at_least_one = ("num_steps", "global_batch_size", "num_micro_batches", "log_every", "eval_every")
        for field in (*at_least_one, "checkpoint_every", "keep_checkpoints", "muon_iterations"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is at least 1; got {getattr(self, field)}.")
        if self.global_batch_size % self.num_micro_batches:
            raise ValueError(
                f"num_micro_batches divides global_batch_size; got {self.num_micro_batches} and "
                f"{self.global_batch_size}."
            )
        for field in ("warmup_steps", "weight_decay", "clip_norm", "peak_learning_rate"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} is not negative; got {getattr(self, field)}.")
