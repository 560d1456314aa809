"""Requests to the signatures `generate` and `beam`, and their outputs as `Generated`."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tflm.serving.handle.inputs import num_bytes, run_in_batches, truncated_column
from tflm.serving.handle.results import Generated
from tflm.serving.handle.settings import GenerationSettings
from tflm.serving.model import Model


@dataclasses.dataclass(frozen=True)
class TextGenerator:
    """A model with the signature `generate`, and settings for it."""

    model: Model
    settings: GenerationSettings
    batch_size: int

    def __call__(
        self, texts: Sequence[str], seeds: Sequence[int] | None = None, **changes: Any
    ) -> list[Generated]:
        """A generated text for each of `texts`, in their order.

        Args:
            seeds: one a text; that of the settings when None.
            changes: settings of this call alone, such as `max_new_tokens=10`.
        """
        if self.settings.beams is not None:
            return self._in_batches([(text, 0) for text in texts], self._search)
        settings = dataclasses.replace(
            self.settings, decoding=dataclasses.replace(self.settings.decoding, **changes)
        )
        seeds = [settings.decoding.seed] * len(texts) if seeds is None else seeds
        rows = list(zip(texts, seeds, strict=True))
        return self._in_batches(rows, lambda batch: self._generate(settings, batch))

    def _in_batches(self, rows: Sequence[tuple[str, int]], run_fn: Any) -> list[Generated]:
        return run_in_batches(rows, run_fn, self.batch_size, lambda row: num_bytes(row[0]))

    def _generate(self, settings: GenerationSettings, rows: list[tuple[str, int]]) -> list[Generated]:
        texts, seeds = [text for text, _ in rows], [seed for _, seed in rows]
        inputs = settings.inputs(self.model, "generate", len(rows), seeds)
        return generated(self.model.predict("generate", {"text": texts, **inputs}))

    def _search(self, rows: list[tuple[str, int]]) -> list[Generated]:
        """The best text of each row, with all that beam search found in `beams`."""
        inputs = self.settings.inputs(self.model, "beam", len(rows))
        outputs = self.model.predict("beam", {"text": [text for text, _ in rows], **inputs})
        columns = {name: value for name, value in outputs.items() if value.ndim == 2}
        found = []
        for row, truncated in enumerate(truncated_column(outputs)):
            beams = generated({name: value[row] for name, value in columns.items()})
            beams = [dataclasses.replace(each, truncated=truncated) for each in beams if _is_found(each)]
            best = beams[0] if beams else Generated("", 0, None, truncated=truncated)
            found.append(dataclasses.replace(best, beams=tuple(beams)))
        return found


def generated(outputs: Mapping[str, Any]) -> list[Generated]:
    """The rows of `generate`, `chat` or `beam`; of an older export without what it does not report."""
    number = len(outputs["text"])
    columns: dict[str, Sequence[Any]] = {
        name: outputs[name].tolist() if name in outputs else [missing] * number
        for name, missing in (
            ("num_tokens", 0), ("log_probability", None), ("finish_reason", b""), ("score", None),
            ("num_left_out", None),
        )
    }  # fmt: skip
    columns["truncated"] = truncated_column(outputs)
    columns["text"] = [text.decode("utf-8") for text in outputs["text"]]
    columns["finish_reason"] = [reason.decode("utf-8") for reason in columns["finish_reason"]]
    return [Generated(**{name: values[row] for name, values in columns.items()}) for row in range(number)]


def _is_found(beam: Generated) -> bool:
    return beam.score is not None and math.isfinite(beam.score)
