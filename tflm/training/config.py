"""Training hyperparameters."""

import dataclasses
import re

from tflm.config import option, since

OPTIMIZERS = ("adamw", "muon", "adafactor", "lion", "sgd")
SCHEDULES = ("cosine", "linear", "constant", "inverse_sqrt", "warmup_stable_decay")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
DROPOUT_MASKS = ("per_example", "per_device")
ADVERSARIAL = ("fgm", "pgd", "freelb", "vat")


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
    """adamw; muon (Jordan et al., 2024): Muon for the matrices inside the blocks, AdamW for the rest; adafactor
    (Shazeer and Stern, 2018), whose state is small; lion (Chen et al., 2023); or sgd, with momentum."""
    peak_learning_rate: float = 1e-3
    """Learning rate after the warm-up."""
    schedule: str = "cosine"
    """Learning rate after the warm-up: cosine, linear, constant, inverse_sqrt (the peak times the square root of
    warmup_steps / step; Vaswani et al., 2017), or warmup_stable_decay (constant, then a linear decay over the last
    decay_fraction of the steps; Hu et al., 2024)."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    final_learning_rate: float = 0.1
    """Learning rate at the end of the schedule, as a fraction of the peak."""
    weight_decay: float = 0.1
    """Decoupled weight decay (Loshchilov and Hutter, 2019); not applied to norms, biases and embeddings."""
    decay_fraction: float = option(0.2)
    """With warmup_stable_decay: the share of num_steps in which the learning rate falls to final_learning_rate."""
    l2: float = option(0.0)
    """L2 regularization: this times the weight is added to each gradient, after clipping. Like weight_decay, it is not
    applied to norms, biases and embeddings."""
    rate_rules: tuple[str, ...] = option(())
    """Learning rates by name: "PATTERN=FACTOR" each, such as "embeddings=0.5". The pattern is a regular expression that
    is searched in the variable's path; the last rule that matches counts."""
    decay_rules: tuple[str, ...] = option(())
    """Weight decay and L2 by name: "PATTERN=FACTOR" each, such as "/head/=0" or "embeddings=1". Without a rule the
    factor is 1, and 0 for norms, biases and embeddings."""
    beta_1: float = 0.9
    """Decay rate of the first moment of AdamW and Lion; the momentum of SGD."""
    beta_2: float = 0.95
    """Decay rate of the second moment of AdamW and of Lion's momentum."""
    muon_learning_rate_ratio: float = 1.0
    """With muon: learning rate of AdamW, as a multiple of the peak."""
    muon_iterations: int = 5
    """With muon: Newton-Schulz iterations per step. Fewer are cheaper and less accurate."""
    clip_norm: float = 1.0
    """Maximum global norm of the gradients; 0 for no clipping."""
    max_skipped_steps: int = option(3)
    """Steps in a row without a finite loss and gradient that are skipped; the next one stops the training."""
    precision: str = "float32"
    """float32; mixed_bfloat16: bfloat16 matrix products; float32 weights, norms, softmax and loss; or mixed_float16:
    float16 products with a dynamic loss scale (Micikevicius et al., 2018), for GPUs without bfloat16."""
    jit_compile: bool = False
    """Compile the gradient step with XLA: faster for small models in float32; see docs/training.md."""
    fusion: bool = option(True)
    """Compile chains of elementwise operations (norms, activations, the loss, the cell of an LSTM) by XLA, one kernel
    for each, where tensors are large; with jit_compile all of a step is compiled."""
    adversarial: str = option("")
    """Adversarial training, of token embeddings: fgm (Miyato et al., 2017), pgd (Madry et al., 2018), freelb (Zhu et
    al., 2020), or vat, which needs no labels (Miyato et al., 2018); "" for none. See docs/robustness.md."""
    adversarial_epsilon: float = option(0.01)
    """L2 norm of the perturbation of a text, as a fraction of the norm of its embeddings."""
    adversarial_steps: int = option(0)
    """Steps in which pgd and freelb look for the perturbation (0 for 3), and vat for its direction (0 for 1)."""
    adversarial_step_size: float = option(0.0)
    """Length of a step of pgd and freelb, as adversarial_epsilon; 0 for adversarial_epsilon / adversarial_steps."""
    adversarial_weight: float = option(1.0)
    """Weight of the loss under the perturbation, next to 1 for that without, in fgm and pgd; of the divergence, in
    vat."""
    log_every: int = 10
    """Steps between two log records; also the steps per call of the compiled loop."""
    eval_every: int = 500
    """Steps between two evaluations."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""
    keep_checkpoints: int = 2
    """Number of checkpoints to keep: the newest ones."""
    keep_every: int = 0
    """Steps between two checkpoints that are kept for good, a multiple of checkpoint_every; 0 for none."""
    keep_best: str = ""
    """Held-out measure by which the best checkpoint is kept besides the newest, such as loss or accuracy; "" for none.
    Each evaluation that improves it writes a checkpoint."""
    async_checkpoints: bool = True
    """Write checkpoints in a thread while training goes on. It takes memory for one more copy of weights and optimizer
    state."""
    early_stopping_patience: int = 0
    """Evaluations without improvement of keep_best (of the loss if that is "") after which training stops; 0 for
    never."""
    ema_decay: float = 0.0
    """Decay rate of the exponential moving average of the weights, such as 0.999; 0 for no average. At step t it is at
    most t / (t + 9), so that a short run is averaged, too."""
    minutes: float = option(0.0)
    """About the time that a training may take: when a run begins, the time of a step is measured and num_steps lowered
    to what fits, with evaluations; 0 for no limit."""
    max_eval_batches: int = 0
    """Maximum number of batches of an evaluation during training; 0 for all. The final evaluation uses all."""
    num_samples: int = option(0)
    """Texts that are generated after each evaluation, for prompts from the held-out side; of tasks that generate text.
    They go to samples.jsonl, TensorBoard and the page of `tflm report`."""
    histograms: bool = option(False)
    """Histograms of the weights in TensorBoard, after each evaluation."""
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
        if not 0.0 < self.decay_fraction <= 1.0:
            raise ValueError(f"decay_fraction is above 0 and at most 1; got {self.decay_fraction}.")
        for field in ("rate_rules", "decay_rules"):
            for rule in getattr(self, field):
                parse_rule(field, rule)
        not_negative = (
            "warmup_steps",
            "weight_decay",
            "clip_norm",
            "peak_learning_rate",
            "l2",
            "max_skipped_steps",
        )
        for field in (*not_negative, "keep_every", "early_stopping_patience", "minutes", "num_samples"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} is not negative; got {getattr(self, field)}.")
        self._check_adversarial()
        if self.keep_every % self.checkpoint_every:
            raise ValueError(
                f"keep_every is a multiple of checkpoint_every; got {self.keep_every} and {self.checkpoint_every}."
            )
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(f"ema_decay is at least 0 and below 1; got {self.ema_decay}.")

    def _check_adversarial(self) -> None:
        if self.adversarial not in ("", *ADVERSARIAL):
            raise ValueError(f"adversarial is {', '.join(ADVERSARIAL)} or empty; got {self.adversarial!r}.")
        for field in ("epsilon", "steps", "step_size", "weight"):
            name = f"adversarial_{field}"
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} is not negative and finite; got {value}.")
        if self.adversarial == "fgm" and (self.adversarial_steps > 1 or self.adversarial_step_size):
            raise ValueError(
                "adversarial=fgm is one step of length adversarial_epsilon; pgd takes several steps."
            )
        if self.adversarial and self.dropout_masks != "per_example":
            raise ValueError(
                f"adversarial={self.adversarial} draws the same dropout masks in each pass of a step, which needs "
                f"dropout_masks=per_example; got {self.dropout_masks!r}."
            )


def parse_rule(field: str, rule: str) -> tuple[re.Pattern[str], float]:
    """The pattern and the factor of a rule.

    >>> parse_rule("rate_rules", "embeddings=0.5")
    (re.compile('embeddings'), 0.5)

    Raises:
        ValueError: it is not "PATTERN=FACTOR", or the factor is negative or not finite.
    """
    pattern, _, factor = rule.rpartition("=")
    try:
        value = float(factor)
        compiled = re.compile(pattern)
    except (ValueError, re.error):
        compiled, value = None, -1.0
    if compiled is None or not pattern or not 0.0 <= value < float("inf"):
        raise ValueError(
            f'{field}: each is "PATTERN=FACTOR" with a regular expression and a factor of 0 or more, such as '
            f'"embeddings=0.5"; got {rule!r}.'
        )
    return compiled, value
