"""Adversarial training: the loss under small perturbations of the token embeddings, chosen to increase it.

With E the embeddings of a text, float [T, D], r its perturbation and L the loss of a batch:

    fgm      r = ε g / |g|, g the gradient of L by E                            (Miyato et al., 2017, section 3)
    pgd      K steps r <- P(r + α g / |g|) from r = 0; P projects onto |r| <= ε (Madry et al., 2018, section 2.1)
    freelb   the same from a random r; the gradients of the weights of all K steps are averaged
                                                                                (Zhu et al., 2020, algorithm 1)
    vat      r = ε d / |d|, d the direction in which the prediction changes most: the gradient of KL(p(E) || p(E + ξd))
             from a random d, no labels                                         (Miyato et al., 2018, algorithm 1)

fgm and pgd minimize (L(E) + λ L(E + r)) / (1 + λ), freelb the mean of L(E + r) over the steps, vat
L(E) + λ KL(p(E) || p(E + r)). No gradient flows through r.

Norms are over the tokens of one text of one row. ε, α and ξ are fractions of the norm of its embeddings: Miyato et al.
normalize the embeddings, since a model could otherwise make a perturbation meaningless by larger ones. All passes of a
step draw the same dropout masks (Zhu et al., 2020, section 3.3), and what is random is a function of the seed, the step
and the row.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tflm.errors import UserError
from tflm.layers import drawing_masks, probing
from tflm.tasks import Task
from tflm.tasks.soft_targets import SoftTargets
from tflm.training.config import TrainingConfig
from tflm.training.dropout_masks import RowMasks

Batch = dict[str, tf.Tensor]
LossFn = Callable[[Batch], tuple[tf.Tensor, tf.Tensor]]

_PART = (1 << 16) - 1
"""The part of the random numbers of a pass that no layer draws from; see `RowMasks`."""
_PROBE_LENGTH = 0.01
"""ξ of vat: the length at which the divergence is probed."""


class Pass(NamedTuple):
    """A forward and backward pass over some rows."""

    loss_sum: tf.Tensor
    weight: tf.Tensor
    parts: list[tf.Tensor]
    """Gradients of the summed loss by the weights; empty where they are not asked for."""
    slopes: list[tf.Tensor]
    """Those by the perturbation of each text, float32 [B, T, D], times a number that is the same for all."""


RunFn = Callable[[LossFn, "Perturbing | None", bool], Pass]
"""Runs a pass of a loss, under a perturbation, with the gradients of the weights or without."""


@dataclasses.dataclass
class Perturbing:
    """Adds a perturbation to the embeddings of each text that a pass reads; implements `tflm.layers.Probe`.

    Args:
        perturb_fn: from the number of the text in the pass, its embeddings float32 [B, T, D], and the mask of its
            tokens float32 [B, T, 1] to the perturbation, float32 [B, T, D].
        pad_id: the padding of token ids.
    """

    perturb_fn: Callable[[int, tf.Tensor, tf.Tensor], tf.Tensor]
    pad_id: int
    tape: tf.GradientTape | None = None
    """Of the pass; it watches the perturbations."""
    added: list[tf.Tensor] = dataclasses.field(default_factory=list)
    """The perturbations of the pass, in the order of its texts."""
    lengths: list[tf.Tensor] = dataclasses.field(default_factory=list)
    """Norms of the texts' embeddings, float32 [B, 1, 1]."""

    def scaled(self, name: str, values: Any, token_ids: Any = None) -> Any:
        """See `tflm.layers.Probe`."""
        if name != "tokens":
            return values
        if values.shape.rank != 3:
            raise UserError(
                "training.adversarial perturbs the embeddings of texts, and this model reads single words."
            )
        mask = tf.cast(tf.not_equal(token_ids, self.pad_id), tf.float32)[:, :, None]
        embeddings = tf.stop_gradient(tf.cast(values, tf.float32))
        perturbation = tf.stop_gradient(self.perturb_fn(len(self.added), embeddings, mask))
        if self.tape is not None:
            self.tape.watch(perturbation)
        self.added.append(perturbation)
        self.lengths.append(norms(embeddings * mask))
        return values + tf.cast(perturbation * mask, values.dtype)


def norms(values: tf.Tensor) -> tf.Tensor:
    """L2 norms of texts, float32 [B, 1, 1] of float32 [B, T, D]."""
    return tf.sqrt(tf.reduce_sum(values**2, axis=[1, 2], keepdims=True))


def directions(values: tf.Tensor) -> tf.Tensor:
    """Texts divided by their norms; zeros stay zeros. The largest element is divided out first: a gradient may be so
    small or so large that its square is not a float32."""
    values = tf.math.divide_no_nan(values, tf.reduce_max(tf.abs(values), axis=[1, 2], keepdims=True))
    return tf.math.divide_no_nan(values, norms(values))


def make_adversarial(
    config: TrainingConfig, task: Task, model: Any, has_teacher: bool
) -> "AdversarialTraining | None":
    """Adversarial training as the config has it; None where it has none.

    Raises:
        UserError: it cannot be combined with a teacher, or does not fit the task.
    """
    if not config.adversarial:
        return None
    if has_teacher:
        raise UserError(
            f"training.adversarial={config.adversarial} and a teacher (distillation) cannot go together: the teacher's "
            "embeddings would be perturbed, too. Leave one of them out."
        )
    architecture = getattr(getattr(model, "body", model), "architecture", "")
    if architecture == "bag of n-grams":
        raise UserError(
            f"training.adversarial needs a network; this model is a {architecture}. Leave it out."
        )
    if hasattr(task, "save_vectors"):
        raise UserError(
            "training.adversarial perturbs the embeddings of texts; word_vectors reads single words. Leave it out."
        )
    return AdversarialTraining(config, task, model, pad_id_of(model))


def pad_id_of(model: Any) -> int:
    """The padding of a model's token ids."""
    return getattr(getattr(getattr(model, "body", model), "config", None), "pad_id", 0)


class AdversarialTraining:
    """The gradients of a step under perturbations.

    Args:
        config: with `adversarial`.
        task: whose loss is minimized.
        model: whose embeddings are perturbed.
        pad_id: the padding of token ids.
    Raises:
        UserError: the task gives no predictions for vat to compare.
    """

    def __init__(self, config: TrainingConfig, task: Task, model: Any, pad_id: int) -> None:
        self._config, self._task, self._model, self._pad_id = config, task, model, pad_id
        self._steps = config.adversarial_steps or (1 if config.adversarial in ("fgm", "vat") else 3)
        self._step_size = config.adversarial_step_size or config.adversarial_epsilon / self._steps
        if config.adversarial == "vat" and not getattr(task, "has_soft_targets", False):
            raise UserError(
                "training.adversarial=vat compares predictions, and this task has none that can be compared: use fgm, "
                "pgd or freelb. vat is for classification, tagging, question answering and language models."
            )

    def gradients(self, run_fn: RunFn, loss_fn: LossFn, masks: RowMasks) -> Pass:
        """Loss, weight and gradients of some rows.

        Args:
            run_fn: runs a pass over them.
            loss_fn: the loss of training.
            masks: random numbers of these rows in this step.
        Raises:
            UserError: the model reads no token embeddings.
        """
        method = {"fgm": self._ascent, "pgd": self._ascent, "freelb": self._freelb, "vat": self._vat}
        return method[self._config.adversarial](run_fn, loss_fn, masks)

    def _ascent(self, run_fn: RunFn, loss_fn: LossFn, masks: RowMasks) -> Pass:
        """fgm and pgd; the clean pass gives the first step's direction."""
        del masks
        start = self._given(None)
        clean = run_fn(loss_fn, start, True)
        given = self._climbed(start, clean.slopes)
        for _ in range(self._steps - 1):
            inner = self._given(given)
            given = self._climbed(inner, run_fn(loss_fn, inner, False).slopes)
        other = run_fn(loss_fn, self._given(given), True)
        weight = self._config.adversarial_weight
        parts = [(a + weight * b) / (1.0 + weight) for a, b in zip(clean.parts, other.parts, strict=True)]
        return clean._replace(parts=parts)

    def _freelb(self, run_fn: RunFn, loss_fn: LossFn, masks: RowMasks) -> Pass:
        """Each pass gives gradients of the weights and the next step; there is no clean one."""
        random, share = masks.part(_PART), 1.0 / self._steps

        def start(number: int, embeddings: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
            size = tf.reduce_sum(mask, axis=[1, 2], keepdims=True) * float(embeddings.shape[-1])
            length = self._config.adversarial_epsilon * norms(embeddings * mask)
            return _noise(random, number, embeddings) * mask * tf.math.divide_no_nan(length, tf.sqrt(size))

        perturbing, found = self._new(start), []
        for number in range(self._steps):
            found.append(run_fn(loss_fn, perturbing, True))
            if number + 1 < self._steps:
                perturbing = self._given(self._climbed(perturbing, found[-1].slopes))
        parts = [tf.add_n(list(each)) * share for each in zip(*(one.parts for one in found), strict=True)]
        return Pass(tf.add_n([one.loss_sum for one in found]) * share, found[0].weight, parts, [])

    def _vat(self, run_fn: RunFn, loss_fn: LossFn, masks: RowMasks) -> Pass:
        clean = run_fn(loss_fn, self._given(None), True)
        soft = SoftTargets(_Unperturbed(self._model, masks), temperature=1.0, alpha=1.0)

        def divergence(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
            return self._task.distilled_loss(self._model, batch, soft)

        random = masks.part(_PART)

        def start(number: int, embeddings: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
            length = _PROBE_LENGTH * norms(embeddings * mask)
            return directions(_noise(random, number, embeddings) * mask) * length

        perturbing = self._new(start)
        for number in range(self._steps):
            slopes = run_fn(divergence, perturbing, False).slopes
            is_last = number + 1 == self._steps
            length = self._config.adversarial_epsilon if is_last else _PROBE_LENGTH
            ways = [directions(slope) * length for slope in slopes]
            found = [way * size for way, size in zip(ways, perturbing.lengths, strict=True)]
            perturbing = self._given(found)
        other = run_fn(divergence, perturbing, True)
        weight = self._config.adversarial_weight
        parts = [a + weight * b for a, b in zip(clean.parts, other.parts, strict=True)]
        return clean._replace(parts=parts)

    def _climbed(self, perturbing: Perturbing, slopes: list[tf.Tensor]) -> list[tf.Tensor]:
        """A step of steepest ascent, and the projection onto the ball."""
        if not slopes:
            raise UserError(
                f"training.adversarial={self._config.adversarial} perturbs token embeddings, and this model reads "
                "none. Leave it out."
            )
        found = []
        for old, slope, length in zip(perturbing.added, slopes, perturbing.lengths, strict=True):
            new = old + directions(slope) * (self._step_size * length)
            most = self._config.adversarial_epsilon * length
            found.append(new * tf.minimum(1.0, tf.math.divide_no_nan(most, norms(new))))
        return found

    def _given(self, found: list[tf.Tensor] | None) -> Perturbing:
        """Perturbations of a pass; zeros if None."""
        if found is None:
            return self._new(lambda number, embeddings, mask: tf.zeros_like(embeddings))
        return self._new(lambda number, embeddings, mask: found[number])

    def _new(self, perturb_fn: Callable[[int, tf.Tensor, tf.Tensor], tf.Tensor]) -> Perturbing:
        return Perturbing(perturb_fn, self._pad_id)


def _noise(masks: RowMasks, number: int, embeddings: tf.Tensor) -> tf.Tensor:
    """Uniform in [-1, 1), float32 [B, T, D]; for text `number` of a pass."""
    rows, length = tf.unstack(tf.shape(embeddings)[:2])
    return 2.0 * masks.uniform(number + 1, (rows, length, embeddings.shape[-1])) - 1.0


class _Unperturbed:
    """A model in training as its own teacher: its predictions without the perturbation, under the same masks."""

    def __init__(self, model: Any, masks: RowMasks) -> None:
        self._model, self._masks = model, masks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, *inputs: Any, training: bool = False, **features: Any) -> Any:
        del training
        with probing(None), drawing_masks(self._masks.again()):
            return self._model(*inputs, training=True, **features)

    def hidden_states(self, *inputs: Any, training: bool = False, **features: Any) -> Any:
        """As of the model."""
        del training
        with probing(None), drawing_masks(self._masks.again()):
            return self._model.hidden_states(*inputs, training=True, **features)
