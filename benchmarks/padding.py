"""The share of padding in the training batches of recipes, and in how many shapes they come.

    python benchmarks/padding.py --presets=gpt_small,t5_small
    cd DATA && python CHECKOUT/benchmarks/padding.py --presets=sst2_lstm_small       a recipe with files of its own

Nothing is trained: each recipe's data is read and tokenised in a temporary folder, and the first --batches of its
training batches are counted, source tokens included.
"""

import os
import tempfile
from typing import Any

from absl import app, flags

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def define_flags() -> None:
    """Only where this is the program: a test that reads this file has flags of its own."""
    flags.DEFINE_list("presets", [], "Recipes, as of tflm train --preset.")
    flags.DEFINE_integer("batches", 200, "How many batches are counted.", lower_bound=1)


def count(batches: Any, pad_id: int, num_batches: int) -> dict[str, float]:
    """Of the first batches: `padding`, the share of padding; `shapes`, their number; `tokens`, the mean of a batch.

    Args:
        batches: `tflm.data.Batches`.
        pad_id: int.
        num_batches: int.
    """
    shapes, tokens, positions, read = set(), 0, 0, 0
    for batch in batches.dataset().take(num_batches):
        ids = [batch[name].numpy() for name in ("source_ids", "token_ids") if name in batch]
        shapes.add(tuple(each.shape for each in ids))
        tokens += sum(int((each != pad_id).sum()) for each in ids)
        positions += sum(each.size for each in ids)
        read += 1
    return {"padding": 1.0 - tokens / positions, "shapes": len(shapes), "tokens": tokens / read}


def main(argv: list[str]) -> None:
    """A line of the table for each recipe."""
    del argv
    from tflm.experiments.recipe_registry import load_preset
    from tflm.experiments.run import Run

    print("| recipe | padding | shapes | tokens in a batch |\n|---|---|---|---|")
    for name in flags.FLAGS.presets:
        with tempfile.TemporaryDirectory() as folder:
            run = Run.begin(load_preset(name), os.path.join(folder, "run"))
            found = count(run.batches("train", training=True), run.tokenizer.pad_id, flags.FLAGS.batches)
        print(f"| {name} | {found['padding']:.1%} | {found['shapes']} | {found['tokens']:,.0f} |", flush=True)


if __name__ == "__main__":
    define_flags()
    app.run(main)
