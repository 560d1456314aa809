"""What every task that writes text has in common: loss, metrics, and the signatures of its export."""

import abc
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tflm.decoding import DecodingConfig, cut_at_stop, settings_lists
from tflm.models import LanguageModel
from tflm.tasks.beam_signature import beam_requests, beam_signature
from tflm.tasks.losses import token_cross_entropy
from tflm.tasks.rows import Cut, join, keep_first
from tflm.tasks.streaming import decode_request
from tflm.tasks.task import TEXT, Batch, Task, mean
from tflm.tasks.text_signatures import (
    alternatives_signature,
    choose_signature,
    generate_signature,
    serving_default_signature,
    streaming_signatures,
)
from tflm.tasks.writer import Writer, signature
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
    def prompts(self, text: tf.Tensor, max_new_tokens: tf.Tensor) -> Cut:
        """What generation begins from, for string [B]; leaves room for what is to come."""

    @abc.abstractmethod
    def score_rows(self, inputs: dict[str, tf.Tensor]) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Rows int32 [B, (T)] to score, and how many of each row's first tokens are given, int32 [B]."""

    score_inputs: tuple[tf.TensorSpec, ...] = (TEXT,)

    def sources(self, text: tf.Tensor) -> Cut | None:
        """What an encoder reads, for string [B]; None where there is no encoder."""
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
    ) -> tuple[Cut, dict[str, tf.Tensor]]:
        """`prompts` for the inputs that `request_inputs` names, or for `text`; and what else is told of them."""
        return self.prompts(inputs["text"], max_new_tokens), {}

    def context(self, model: LanguageModel, text: tf.Tensor | None) -> tuple[Any, tf.Tensor]:
        """What the model's encoder makes of string [B], None without one; and of which texts something was left out."""
        sources = None if text is None else self.sources(text)
        if sources is None:
            return None, tf.constant(False)
        return model.encode(_padded(sources.rows)), sources.truncated

    def choice_ids(self, choices: tf.Tensor) -> tf.Tensor:
        """int32 [B, C, L] for string [B, C]: the tokens of each and the end token, filled up with -1; of "" none."""
        rows = join(self.tokenizer.tokenize(tf.reshape(choices, [-1])), self.tokenizer.end_id)
        is_given = tf.reshape(choices != "", [-1, 1])
        ids = tf.where(is_given, rows.to_tensor(-1), -1)
        return tf.reshape(ids, tf.concat([tf.shape(choices), tf.shape(ids)[1:]], axis=0))

    def answers(self, text: tf.Tensor | None, token_ids: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        """What is answered to string [B] when int32 [B, N] was written, padded: string [B]. Stop texts string [B, S]
        and what comes after one are cut off."""
        del text
        written = self.tokenizer.detokenize(token_ids)
        cut = lambda: cut_at_stop(written[:, None], stop)[:, 0]  # noqa: E731
        return tf.cond(tf.reduce_any(stop != ""), cut, lambda: written)

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
        """As docs/architecture.md lists them: `serving_default`, `generate`, `beam`, `choose`,
        `alternatives`, `score`, `tokenize`; and where text can be given out as it comes `prefill` and `decode`."""
        return self.signatures_of(Writer(self, model))

    def signatures_of(self, writer: Writer) -> dict[str, Callable[..., Any]]:
        """`signatures`, of which all that write do so by one writer."""
        model = writer.model
        generate = generate_signature(writer, [TEXT])
        made = {
            "serving_default": serving_default_signature(self, generate),
            "generate": generate,
            "beam": beam_signature(writer),
            "choose": choose_signature(writer),
            "alternatives": alternatives_signature(writer),
            "score": signature([*self.score_inputs], lambda inputs: self._score(model, inputs)),
            "tokenize": self.tokenize_signature(),
        }
        return made | (streaming_signatures(writer, [*self.request_inputs]) if self.streams else {})

    def example_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """Requests for each signature, to check an export with and to warm a server up: one row and several of
        unequal length, in English and in Chinese, greedy and sampled."""
        batches = [
            ["What is a language model?"],
            ["你好，世界", "", "def main():", "语言模型 and a mixed text 😀"],
        ]
        requests: dict[str, list[dict[str, Any]]] = {name: [] for name in ("generate", "score", "choose")}
        for batch in batches:
            rows = len(batch)
            requests["generate"].append({"text": list(batch), **_example_settings(rows)})
            requests["choose"].append({"text": list(batch), "choices": [["good", "不好"]] * rows})
            requests["score"].append({spec.name: list(batch) for spec in self.score_inputs})
        requests["beam"] = beam_requests(batches)
        requests["alternatives"] = [
            {
                "text": list(batch),
                "token_ids": [[5, 6, -1]] * len(batch),
                "max_new_tokens": [12] * len(batch),
                "num_alternatives": [3] * len(batch),
            }
            for batch in batches
        ]
        if self.streams:
            requests["prefill"] = [dict(request) for request in requests["generate"]]
        plain = [{"text": list(batch)} for batch in batches]
        return {"serving_default": plain, "tokenize": plain, **requests}

    def requests(self, signatures: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """Those of every task, and `decode` with the states that the examples of `prefill` leave."""
        requests: dict[str, list[dict[str, Any]]] = self.example_requests()
        for request in requests.get("prefill", []) if "prefill" in signatures else []:
            specs = signatures["prefill"].input_signature
            outputs = signatures["prefill"](*(tf.constant(request[spec.name], spec.dtype) for spec in specs))
            state = {name: value.numpy() for name, value in outputs.items()}
            for name, follow_up in self.follow_ups(request, state).items():
                if name in signatures:
                    requests.setdefault(name, []).append(follow_up)
        return requests

    def follow_ups(self, request: dict[str, Any], outputs: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Signature to what may be asked of it next, after a request of `prefill` and its outputs."""
        del request
        return {"decode": decode_request(outputs, 4)}

    def _score(self, model: LanguageModel, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Of the tokens after the given ones `log_probability` float32 [B] and `num_tokens` int32 [B]; `token_ids`
        int32 [B, T] without the first, and `token_log_probabilities` float32 [B, T], 0 where a token is given or
        padding."""
        rows, num_given = self.score_rows(inputs)
        rows = keep_first(rows, self.max_length + 1)
        # One place of padding more, so that a batch of empty rows still has a column to read.
        token_ids = tf.concat(
            [rows.to_tensor(self.tokenizer.pad_id), tf.zeros([rows.nrows(), 2], tf.int32)], 1
        )
        token_ids = token_ids[:, : self.max_length + 1]
        sources = self.sources(inputs["text"])
        features = {} if sources is None else {"source_ids": _padded(sources.rows)}
        logits = model(token_ids[:, :-1], training=False, **features)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(token_ids[:, 1:], logits)
        places = tf.range(1, tf.shape(token_ids)[1])[None]
        lengths = tf.cast(rows.row_lengths(), tf.int32)
        counted = (places >= num_given[:, None]) & (places < lengths[:, None])
        each = -tf.where(counted, losses, 0.0)
        return {
            "log_probability": tf.reduce_sum(each, axis=1),
            "num_tokens": tf.math.count_nonzero(counted, axis=1, dtype=tf.int32),
            "token_ids": token_ids[:, 1:],
            "token_log_probabilities": each,
        }


def _padded(sources: tf.RaggedTensor) -> tf.Tensor:
    """int32 [B, S] with 0 on the right; one place at least, so that a batch of empty texts has a column."""
    rows = sources.to_tensor(0)
    return tf.pad(rows, [[0, 0], [0, tf.cast(tf.equal(tf.shape(rows)[1], 0), tf.int32)]])


def _example_settings(num_rows: int) -> dict[str, list[Any]]:
    """Settings for up to four rows: the first greedy, the others with a little of everything."""
    each: dict[str, list[Any]] = {
        "temperature": [0.0, 0.8, 1.0, 0.7],
        "top_k": [0, 40, 0, 5],
        "top_p": [1.0, 0.9, 0.95, 1.0],
        "typical_p": [1.0, 1.0, 0.95, 1.0],
        "frequency_penalty": [0.0, 0.0, 0.2, 0.0],
        "no_repeat_ngram_size": [0, 0, 0, 3],
        "stop": [[""], ["的"], ["\n"], [""]],
        "seed": [0, 1, 2, 3],
    }
    config = DecodingConfig(min_p=0.05, repetition_penalty=1.1, min_new_tokens=2, max_new_tokens=12)
    return {**settings_lists(config, num_rows), **{name: values[:num_rows] for name, values in each.items()}}
