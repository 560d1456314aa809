"""What every task that writes text has in common: loss, metrics, and the signatures of its export."""

import abc
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tflm.decoding import DecodingConfig, Progress, advance, begin, generate, settings_specs, settings_tensors
from tflm.models import LanguageModel
from tflm.tasks.losses import token_cross_entropy
from tflm.tasks.rows import keep_first
from tflm.tasks.streaming import decode_request, streaming_signatures
from tflm.tasks.task import TEXT, Batch, Task, mean
from tflm.text import Tokenizer


class TextTask(Task):
    """A subclass says what a row of tokens looks like: `encode`, `batches`, `prompts` and `score_rows`; and, for a
    model with an encoder, `sources`.

    Args:
        tokenizer: strings to ids.
        max_length: int, the longest row of tokens, prompt and answer together.
        decoding: the settings of `serving_default`.
    """

    compact_loss = False
    """See `token_cross_entropy`."""
    label_smoothing = 0.0
    """See `token_cross_entropy`; in training alone."""

    def __init__(self, tokenizer: Tokenizer, max_length: int, decoding: DecodingConfig) -> None:
        super().__init__(tokenizer, max_length)
        self.decoding = decoding

    @abc.abstractmethod
    def prompts(self, text: tf.Tensor, max_new_tokens: tf.Tensor) -> tf.RaggedTensor:
        """What generation begins from, int32 [B, (P)], for string [B]; leaves room for what is to come."""

    @abc.abstractmethod
    def score_rows(self, inputs: dict[str, tf.Tensor]) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Rows int32 [B, (T)] to score, and how many of each row's first tokens are given, int32 [B]."""

    score_inputs: tuple[tf.TensorSpec, ...] = (TEXT,)

    def sources(self, text: tf.Tensor) -> tf.RaggedTensor | None:
        """What an encoder reads, int32 [B, (S)], for string [B]; None where there is no encoder."""
        del text
        return None

    def suppressed_ids(self) -> tuple[int, ...]:
        """Tokens that are never written."""
        tokenizer = self.tokenizer
        return (tokenizer.start_id, tokenizer.unk_id, *tokenizer.special_tokens.values())

    request_inputs: tuple[tf.TensorSpec, ...] = (TEXT,)
    """What a request of `prefill` brings beside the settings."""

    @property
    def streams(self) -> bool:
        """Whether what is written first stays first in the answer, so that it can be given out as it comes."""
        return True

    def request_prompts(
        self, inputs: dict[str, tf.Tensor], max_new_tokens: tf.Tensor
    ) -> tuple[tf.RaggedTensor, dict[str, tf.Tensor]]:
        """`prompts` for the inputs that `request_inputs` names, and what else `prefill` tells of them."""
        return self.prompts(inputs["text"], max_new_tokens), {}

    def answers(self, text: tf.Tensor, token_ids: tf.Tensor) -> tf.Tensor:
        """What is answered to string [B] when int32 [B, N] was written, padded: string [B]."""
        del text
        return self.tokenizer.detokenize(token_ids)

    def predicted(self, batch: Batch) -> Batch:
        """A batch with `token_ids`, `targets` int32 [B, T] and `loss_weights` float32 [B, T], what counts of them."""
        return batch

    def features(self, batch: Batch) -> dict[str, tf.Tensor]:
        """What the model reads of a batch beside its `token_ids`."""
        return {"source_ids": batch["source_ids"]} if "source_ids" in batch else {}

    def loss(self, model: LanguageModel, batch: Batch, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Summed cross entropy of the targets that count, and their number: float32 scalars."""
        batch = self.predicted(batch)
        states = model.hidden_states(batch["token_ids"], training=training, **self.features(batch))
        return token_cross_entropy(
            model,
            states,
            batch["targets"],
            batch["loss_weights"],
            compact=self.compact_loss,
            label_smoothing=self.label_smoothing if training else 0.0,
        )

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """`loss` in nats a token, `perplexity`, and the number of tokens they are over."""
        loss = mean(sums["loss"], sums["weight"])
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "num_tokens": sums["weight"]}

    def signatures(self, model: LanguageModel) -> dict[str, Callable[..., Any]]:
        """`serving_default`, `generate`, `score`, `tokenize`, and where text can be given out as it comes `prefill` and
        `decode`, as docs/architecture.md lists them."""

        @tf.function(input_signature=[TEXT, *settings_specs().values()], autograph=False)
        def generate_(text: tf.Tensor, *settings: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._generate(model, text, dict(zip(settings_specs(), settings, strict=True)))

        @tf.function(input_signature=[TEXT], autograph=False)
        def serving_default(text: tf.Tensor) -> dict[str, tf.Tensor]:
            settings = settings_tensors(self.decoding, tf.shape(text)[0])
            return {"text": generate_(text, *settings.values())["text"]}  # one loop in the graph for both

        @tf.function(input_signature=[*self.score_inputs], autograph=False)
        def score(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            names = [spec.name for spec in self.score_inputs]
            return self._score(model, dict(zip(names, inputs, strict=True)))

        return {
            "serving_default": serving_default,
            "generate": generate_,
            "score": score,
            "tokenize": self.tokenize_signature(),
            **(self._streaming(model) if self.streams else {}),
        }

    def example_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """Requests for each signature, to check an export with and to warm a server up: one row and several of
        unequal length, in English and in Chinese, greedy and sampled."""
        batches = [
            ["What is a language model?"],
            ["你好，世界", "", "def main():", "语言模型 and a mixed text 😀"],
        ]
        settings: dict[str, list[Any]] = {
            "temperature": [0.0, 0.8, 1.0, 0.7],
            "top_k": [0, 40, 0, 5],
            "top_p": [1.0, 0.9, 0.95, 1.0],
        }
        requests: dict[str, list[dict[str, list[Any]]]] = {name: [] for name in ("generate", "score")}
        for batch in batches:
            rows = len(batch)
            full: dict[str, list[Any]] = {"text": list(batch), "seed": list(range(rows))}
            full.update({name: values[:rows] for name, values in settings.items()})
            full.update(min_p=[0.05] * rows, repetition_penalty=[1.1] * rows)
            full.update(min_new_tokens=[2] * rows, max_new_tokens=[12] * rows)
            requests["generate"].append(full)
            names = [spec.name for spec in self.score_inputs]
            requests["score"].append({name: list(batch) for name in names})
        if self.streams:
            requests["prefill"] = [dict(request) for request in requests["generate"]]
        plain = [{"text": list(batch)} for batch in batches]
        return {"serving_default": plain, "tokenize": plain, **requests}

    def requests(self, signatures: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """Those of every task, and `decode` with the states that the examples of `prefill` leave."""
        requests: dict[str, list[dict[str, Any]]] = self.example_requests()
        for request in requests.get("prefill", []):
            specs = signatures["prefill"].input_signature
            outputs = signatures["prefill"](*(tf.constant(request[spec.name], spec.dtype) for spec in specs))
            arrays = {name: value.numpy() for name, value in outputs.items()}
            requests.setdefault("decode", []).append(decode_request(arrays, 4))
        return requests

    def _special_ids(self) -> dict[str, Any]:
        tokenizer = self.tokenizer
        return {
            "end_id": tokenizer.end_id,
            "pad_id": tokenizer.pad_id,
            "suppressed_ids": self.suppressed_ids(),
        }

    def _context(self, model: LanguageModel, text: tf.Tensor | None) -> Any:
        sources = None if text is None else self.sources(text)
        return None if sources is None else model.encode(_padded(sources))

    def _streaming(self, model: LanguageModel) -> dict[str, Callable[..., Any]]:
        """`prefill` and `decode`; see `streaming_signatures`."""

        def begin_fn(inputs: dict[str, tf.Tensor]) -> tuple[Progress, dict[str, tf.Tensor]]:
            settings = {name: inputs[name] for name in settings_specs()}
            prompts, told = self.request_prompts(inputs, settings["max_new_tokens"])
            context = self._context(model, inputs.get("text"))
            ids = self._special_ids()
            progress = begin(
                model, prompts, settings, context=context, max_total_length=self.max_length, **ids
            )
            return progress, told

        def advance_fn(progress: Progress, num_tokens: tf.Tensor) -> Progress:
            return advance(model, progress, num_tokens, **self._special_ids())

        specs = [*self.request_inputs, *settings_specs().values()]
        return streaming_signatures(model, specs, begin_fn, advance_fn, self.tokenizer.detokenize)

    def _generate(
        self, model: LanguageModel, text: tf.Tensor, settings: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        prompts = self.prompts(text, settings["max_new_tokens"])
        outputs, token_ids = self._write(model, prompts, settings, self._context(model, text))
        return {**outputs, "text": self.answers(text, token_ids)}

    def _write(
        self,
        model: LanguageModel,
        prompts: tf.RaggedTensor,
        settings: dict[str, tf.Tensor],
        context: Any = None,
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """`num_tokens` and `log_probability`, and the token ids int32 [B, N], padded."""
        generation = generate(
            model, prompts, settings, context=context, max_total_length=self.max_length, **self._special_ids()
        )
        outputs = {"num_tokens": generation.num_tokens, "log_probability": generation.log_probability}
        return outputs, generation.token_ids

    def _score(self, model: LanguageModel, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Log-probability of the tokens after the given ones, and how many they are."""
        rows, num_given = self.score_rows(inputs)
        rows = keep_first(rows, self.max_length + 1)
        # One place of padding more, so that a batch of empty rows still has a column to read.
        token_ids = tf.concat(
            [rows.to_tensor(self.tokenizer.pad_id), tf.zeros([rows.nrows(), 2], tf.int32)], 1
        )
        token_ids = token_ids[:, : self.max_length + 1]
        sources = self.sources(inputs["text"])
        features = {} if sources is None else {"source_ids": _padded(sources)}
        logits = model(token_ids[:, :-1], training=False, **features)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(token_ids[:, 1:], logits)
        places = tf.range(1, tf.shape(token_ids)[1])[None]
        lengths = tf.cast(rows.row_lengths(), tf.int32)
        counted = (places >= num_given[:, None]) & (places < lengths[:, None])
        return {
            "log_probability": -tf.reduce_sum(tf.where(counted, losses, 0.0), axis=1),
            "num_tokens": tf.math.count_nonzero(counted, axis=1, dtype=tf.int32),
        }


def _padded(sources: tf.RaggedTensor) -> tf.Tensor:
    """int32 [B, S] with 0 on the right; one place at least, so that a batch of empty texts has a column."""
    rows = sources.to_tensor(0)
    return tf.pad(rows, [[0, 0], [0, tf.cast(tf.equal(tf.shape(rows)[1], 0), tf.int32)]])
