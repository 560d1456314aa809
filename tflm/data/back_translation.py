"""Back-translation of a data set (Sennrich et al., 2016; Edunov et al., 2018): texts to another language and back."""

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from tflm.data.config import DataConfig
from tflm.data.examples import Example, read_examples
from tflm.errors import UserError
from tflm.files.writing import whole_file, writing
from tflm.progress import track
from tflm.text.words import same_text_key

TranslateFn = Callable[[list[str]], Sequence[str]]
_BATCH = 256  # texts per call


def back_translate(
    data: DataConfig, folder: str, forward_fn: TranslateFn, backward_fn: TranslateFn, key: str = "text"
) -> int:
    """Writes the training examples, each followed by its back-translation, and the held-out examples as they are.

    The held-out side has a file of its own, since a split by hash would put translations of training texts into it.

        there, back = tflm.load("saved_models/en_zh"), tflm.load("saved_models/zh_en")
        back_translate(data, "more", there.translate, back.translate)
        # tflm train --task=classification --data=more/train.jsonl --eval_data=more/eval.jsonl ...

    Args:
        data: the data set.
        folder: where `train.jsonl` and, if there is a held-out side, `eval.jsonl` are written.
        forward_fn: texts to another language, such as `translate` of a model.
        backward_fn: the way back.
        key: the part of an example that is translated: "text", "text_pair" or "source"; others are kept, such as its
            label.
    Returns:
        The number of back-translations. Those that are empty, or equal to the text except for case and spaces, are left
        out.
    Raises:
        UserError: the examples have no such part, it has labelled spans, or a file cannot be read or written.
    """
    with writing(f"the folder {folder!r}"):
        os.makedirs(folder, exist_ok=True)
    examples = read_examples(data, "train")
    num_lines = _write(
        os.path.join(folder, "train.jsonl"), _with_translations(examples, forward_fn, backward_fn, key)
    )
    if data.has_eval:
        _write(os.path.join(folder, "eval.jsonl"), read_examples(data, "eval"))
    return num_lines - examples.report.num_examples


def _with_translations(
    examples: Iterable[Example], forward_fn: TranslateFn, backward_fn: TranslateFn, key: str
) -> Iterator[Example]:
    """Each example, and the translated one."""
    stream = iter(track(examples, "translating", "examples"))
    while batch := list(itertools.islice(stream, _BATCH)):
        if key not in batch[0] or "spans" in batch[0] or "answers" in batch[0]:
            raise UserError(
                f"back_translate changes {key!r}, and the examples have {', '.join(batch[0])}; give the key of a text "
                "without labelled spans or answers in it"
            )
        texts = [example[key] for example in batch]
        found = [str(text).strip() for text in backward_fn([str(text) for text in forward_fn(texts)])]
        if len(found) != len(texts):
            raise UserError(f"{len(texts)} texts were translated to {len(found)}; expected one for one")
        for example, text in zip(batch, found):
            yield example
            if text and same_text_key(text) != same_text_key(example[key]):
                yield {**example, key: text}


def _write(path: str, examples: Iterable[Example]) -> int:
    """Writes JSON lines; returns how many."""
    count = 0
    with writing(f"{path!r}"), whole_file(path) as aside, open(aside, "w", encoding="utf-8") as file:
        for example in examples:
            file.write(json.dumps(example, ensure_ascii=False) + "\n")
            count += 1
    return count
