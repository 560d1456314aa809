"""The base class of tasks whose model generates text: a `TextTask` with the signatures of its export."""

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import tensorflow as tf

from tflm.generation import DecodingConfig, settings_lists
from tflm.models import LanguageModel
from tflm.tasks.signatures.beam import beam_requests, beam_signature
from tflm.tasks.signatures.explain_texts import text_explanation_requests, text_explanations
from tflm.tasks.signatures.generate import (
    STREAMING,
    alternatives_signature,
    choose_signature,
    generate_signature,
    serving_default_signature,
    streaming_signatures,
)
from tflm.tasks.signatures.score import score_signature
from tflm.tasks.signatures.streaming import decode_request
from tflm.tasks.signatures.writer import Writer
from tflm.tasks.task import TEXT
from tflm.tasks.text_task import TextTask
from tflm.text.cjk import CHARACTER

_GREETING, _SHORT = "你好", 40
"""`serving_default` takes no limit of tokens. Where its answers may have more than `_SHORT`, it is asked once, with a
text that is answered shortly: an export of a large model is verified, and a server ready, minutes earlier."""


_PROMPT_LENGTH, _PROMPT_LENGTH_CJK = 60, 20  # in characters: about as many words


class GenerativeTask(TextTask):
    """Adds the signatures and example requests to a `TextTask`; Args as there."""

    def signatures(self, model: LanguageModel) -> dict[str, Callable[..., Any]]:
        """As docs/architecture.md lists them: `serving_default`, `generate`, `beam`, `choose`,
        `alternatives`, `score`, `tokenize`; and where text can be streamed `prefill` and `decode`."""
        return self.signatures_of(Writer(self, model))

    def export_signatures(
        self, model: LanguageModel, only: Collection[str] = ()
    ) -> tuple[dict[str, Callable[..., Any]], Writer]:
        """`signatures`, and the `Writer` that they share."""
        writer = Writer(self, model)
        return self.signatures_of(writer, only), writer

    def signatures_of(self, writer: Writer, only: Collection[str] = ()) -> dict[str, Callable[..., Any]]:
        """`signatures`, of which all that write do so by one writer. Those of `STREAMING` take a trace of `prefill`,
        for its state: they are left out if `only` names others alone."""
        model = writer.model
        generate = generate_signature(writer, [TEXT])
        made = {
            "serving_default": serving_default_signature(self, generate),
            "generate": generate,
            "beam": beam_signature(writer),
            "choose": choose_signature(writer),
            "alternatives": alternatives_signature(writer, [TEXT]),
            "score": score_signature(self, model),
            "tokenize": self.tokenize_signature(),
        }
        if self.streams and (not only or STREAMING & {*only}):
            made |= streaming_signatures(writer, [*self.request_inputs])
        return made

    def prompt_and_target(self, example: Mapping[str, str]) -> tuple[str, str]:
        """What is asked of the model to see what it generates for an example, and what the example itself has there.

        `{"source": "ab", "target": "c"}` to `("ab", "c")`; of a conversation the first question and its answer; of a
        text its beginning, and as much again of what follows.
        """
        if "source" in example:
            return example["source"], example["target"]
        if "messages" in example:
            messages = json.loads(example["messages"])
            asked = next((n for n, message in enumerate(messages) if message["role"] == "user"), 0)
            contents = [message["content"] for message in messages[asked:]]
            return contents[0], contents[1] if len(contents) > 1 else ""
        text = example["text"]
        is_cjk = re.search(f"[{CHARACTER}]", text[:_PROMPT_LENGTH_CJK])
        length = min(_PROMPT_LENGTH_CJK if is_cjk else _PROMPT_LENGTH, len(text) // 2)
        space = text.rfind(" ", 1, length + 1)
        cut = length if is_cjk or space < length // 2 else space
        return text[:cut], text[cut : 3 * cut]

    def explanations(self, model: LanguageModel, writer: Any = None) -> dict[str, Callable[..., Any]]:
        """See `text_explanations`."""
        return text_explanations(writer or Writer(self, model)) if self.explains else {}

    def explanation_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """Greedy continuations and given ones."""
        return text_explanation_requests() if self.explains else {}

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
        short = plain if self.decoding.max_new_tokens <= _SHORT else [{"text": [_GREETING]}]
        return {"serving_default": short, "tokenize": plain, **requests}

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
