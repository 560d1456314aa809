"""Settings of distillation and pruning."""

import dataclasses
import re

from tflm.config import option

REMOVED = ("heads", "units", "layers")
"""What is removed as a whole, with its rows and columns."""
_PATTERN = re.compile(r"(\d+):(\d+)")


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """A student is trained on a teacher's predictions (Hinton et al., 2015)."""

    teacher: str = ""
    """Folder of the run that teaches; "" for no distillation. With `outputs` also an export or the URL of a served
    model."""
    checkpoint: str = "newest"
    """Which of its checkpoints: newest, best, average, ema or a step. `tflm compress` writes the step here."""
    temperature: float = 2.0
    """The logits of both are divided by it, and the soft loss is multiplied by its square (section 2)."""
    alpha: float = 0.5
    """Weight of the soft loss, the divergence from the teacher's predictions; that of the hard loss is 1 - alpha."""
    hidden: float = option(0.0)
    """Weight of the squared difference of hidden states, layer by layer (Jiao et al., 2020, section 3.1); needs the
    same width."""
    attention: float = option(0.0)
    """Weight of the divergence of the last layer's attention and of its relations between values (Wang et al., 2020,
    section 3); needs Transformers with the same number of heads. Widths may differ."""
    outputs: bool = option(False)
    """The training targets are the teacher's outputs: the texts that it generates (Kim and Rush, 2016, section 3.2), or
    its labels."""
    beam_size: int = option(0)
    """With outputs: beams of the search for texts; 0 for the teacher's own settings of decoding."""

    def __post_init__(self) -> None:
        if self.temperature <= 0.0:
            raise ValueError(f"temperature is above 0; got {self.temperature}.")
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"alpha is from 0 to 1; got {self.alpha}.")
        for field in ("hidden", "attention", "beam_size"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} is not negative; got {getattr(self, field)}.")

    @property
    def is_on(self) -> bool:
        """Whether there is a teacher."""
        return bool(self.teacher)

    @property
    def reads_teacher(self) -> bool:
        """Whether the teacher reads each batch."""
        return self.is_on and bool(self.alpha or self.hidden or self.attention)


@dataclasses.dataclass(frozen=True)
class PruningConfig:
    """A trained model is made smaller, and trained on."""

    source: str = ""
    """Folder of the run whose weights are pruned; "" for no pruning."""
    checkpoint: str = "newest"
    """Which of its checkpoints: newest, best, average, ema or a step. `tflm compress` writes the step here."""
    share: float = 0.5
    """How much is removed: of the weights of each matrix inside the layers; of the heads or the units of each layer; or
    of the layers."""
    structure: tuple[str, ...] = ("weights",)
    """weights: single ones, by their magnitude; N:M, such as 2:4: N of M weights in a row of a column stay. Or some of
    heads, units (of the feed-forward networks) and layers, which are removed with their rows and columns."""
    begin: float = option(0.0)
    """With weights: the share of num_steps before the first pruning."""
    end: float = option(0.6)
    """With weights: the share of num_steps after which `share` is reached."""
    every: int = option(0)
    """With weights: steps between two prunings; 0 for a twentieth of the steps from begin to end."""
    batches: int = option(32)
    """With heads, units and layers: the number of training batches that importance is measured on."""

    def __post_init__(self) -> None:
        if not 0.0 < self.share < 1.0:
            raise ValueError(f"share is above 0 and below 1; got {self.share}.")
        self._check_structure()
        if not 0.0 <= self.begin <= self.end <= 1.0:
            raise ValueError(f"0 <= begin <= end <= 1; got begin={self.begin} and end={self.end}.")
        if self.every < 0 or self.batches < 1:
            raise ValueError(
                f"every is not negative and batches is at least 1; got {self.every} and {self.batches}."
            )

    def _check_structure(self) -> None:
        names = self.structure
        known = "weights, N:M (such as 2:4), or some of heads, units and layers"
        if not names or len(set(names)) < len(names):
            raise ValueError(f"structure is {known}; got {list(names)}.")
        for name in names:
            match = _PATTERN.fullmatch(name)
            if name not in ("weights", *REMOVED) and not match:
                raise ValueError(f"structure is {known}; got {name!r}.")
            if match and not 0 < int(match[1]) < int(match[2]):
                raise ValueError(f"structure N:M has 0 < N < M, such as 2:4; got {name!r}.")
        if len(names) > 1 and not set(names) <= set(REMOVED):
            raise ValueError(
                f"structure is weights or N:M alone, or some of heads, units and layers; got {list(names)}."
            )
        if self.pattern and abs(1.0 - self.pattern[0] / self.pattern[1] - self.share) > 1e-6:
            wanted = 1.0 - self.pattern[0] / self.pattern[1]
            raise ValueError(
                f"structure={names[0]!r} removes a share of {wanted:g}; got share={self.share:g}."
            )

    @property
    def is_on(self) -> bool:
        """Whether there is a model to prune."""
        return bool(self.source)

    @property
    def removes(self) -> bool:
        """Whether heads, units or layers are removed as a whole."""
        return set(self.structure) <= set(REMOVED)

    @property
    def pattern(self) -> tuple[int, int] | None:
        """(N, M) of the structure N:M."""
        match = _PATTERN.fullmatch(self.structure[0])
        return (int(match[1]), int(match[2])) if match else None
