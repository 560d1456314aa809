"""How long, how fast and how carefully to train."""

import dataclasses

OPTIMIZERS = ("adamw", "muon")
SCHEDULES = ("cosine", "linear", "constant")
PRECISIONS = ("float32", "mixed_bfloat16")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Settings of a `Trainer`."""

    num_steps: int = 1000
    """Optimizer steps in all."""
    global_batch_size: int = 16
    """Rows in one optimizer step, over all replicas and micro-batches."""
    num_micro_batches: int = 1
    """Parts that a replica's rows are worked on in, one after the other, to save memory."""
    optimizer: str = "adamw"
    """adamw, or muon (Jordan et al., 2024): Muon for the matrices inside the blocks, AdamW for the rest."""
    peak_learning_rate: float = 1e-3
    schedule: str = "cosine"
    """cosine, linear or constant, after the warm-up."""
    warmup_steps: int = 100
    final_learning_rate: float = 0.1
    """What the schedule ends at, as a fraction of the peak."""
    weight_decay: float = 0.1
    """Decoupled (Loshchilov and Hutter, 2019); none on norms, biases and embeddings."""
    beta_1: float = 0.9
    beta_2: float = 0.95
    muon_learning_rate_ratio: float = 1.0
    """With muon: AdamW's learning rate for the rest, as a multiple of the peak."""
    muon_iterations: int = 5
    """With muon: Newton-Schulz iterations a step. Fewer are cheaper and less exact."""
    clip_norm: float = 1.0
    """The largest global norm of the gradients; 0 for no clipping."""
    precision: str = "float32"
    """float32, or mixed_bfloat16: bfloat16 products, float32 weights, norms, softmax and loss."""
    jit_compile: bool = False
    """Compile the gradient step with XLA: faster for small models in float32; see docs/training.md."""
    log_every: int = 10
    """Steps in one call of the compiled loop, and between two lines of the log."""
    eval_every: int = 500
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    max_eval_batches: int = 0
    """Batches of the held-out side in an evaluation on the way; 0 for all. The one at the end takes all."""
    seed: int = 0

    def __post_init__(self) -> None:
        choices = (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS))
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
