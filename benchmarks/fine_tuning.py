"""How well and how fast a published encoder is fine-tuned for classification, beside transformers: one run, one table.

    python benchmarks/fine_tuning.py --checkpoint=all-MiniLM-L6-v2 --data=sst2 --environments=FOLDER

`--checkpoint` is a folder as transformers writes it; `--data` has train.tsv, dev.tsv and test.tsv with the columns text
and label. Both sides pool by the mean, put a linear layer on it and train it with AdamW, a warm-up and a linear decay,
with the same batch size, learning rate and number of epochs. Each runs in a process of its own, in turn, --rounds times
over with another seed; compare within one run only. `FOLDER/torch` becomes an environment with PyTorch and
transformers, made by venv and pip if it is not there.

Seconds are those of the training loop, from the first batch to the last, with what is traced or compiled at first, and
without reading data and measuring. Accuracy is that after the last epoch. The table is printed as Markdown.
"""

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app, flags

HERE = os.path.dirname(os.path.abspath(__file__))
SIDES = os.path.join(HERE, "fine_tuning_sides")
sys.path.insert(0, HERE)

from peers import chosen_sides, run, torch_environment  # noqa: E402

TORCH_PACKAGES = ("torch==2.13.0", "transformers==5.24.0")
NAMES = {"tflm": "tflm", "transformers": "transformers"}
SPLITS = ("train", "dev", "test")


def define_flags() -> None:
    """Only where this is the program: a test that reads this file has flags of its own."""
    flags.DEFINE_string("checkpoint", None, "Folder of the encoder.", required=True)
    flags.DEFINE_string("data", None, "Folder of train.tsv, dev.tsv and test.tsv.", required=True)
    flags.DEFINE_string(
        "environments", None, "Folder of the peer's environment; FOLDER/torch is made if need be."
    )
    flags.DEFINE_list("sides", list(NAMES), "Which to run, of: " + ", ".join(NAMES))
    flags.DEFINE_integer("rounds", 2, "Times each side is trained.", lower_bound=1)
    flags.DEFINE_integer("epochs", 3, "Passes over the training data.", lower_bound=1)
    flags.DEFINE_integer("batch_size", 32, "Texts in a batch.", lower_bound=1)
    flags.DEFINE_float("learning_rate", 5e-5, "After the warm-up.", lower_bound=0.0)
    flags.DEFINE_string("output", None, "Also write all that was measured as JSON here.")


def setting_of(values: Any, seed: int) -> dict[str, Any]:
    """The settings of a side, for JSON."""
    names = ("checkpoint", "data", "epochs", "batch_size", "learning_rate")
    return {
        **{name: getattr(values, name) for name in names},
        "seed": seed,
        "num_threads": os.cpu_count() or 1,
    }


def table(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Markdown: a line for each side, with medians over the rounds and, in brackets, the smallest and the largest.

    >>> table({"tflm": [{"seconds": 60.0, "dev": 0.875, "test": 0.89, "peak_bytes": 2**30}]}).splitlines()[-1]
    '| tflm | 60 s [60, 60] | 87.5% [87.5, 87.5] | 89.0% [89.0, 89.0] | 1.00 |'

    Args:
        results: side to what it printed in each round.
    """
    lines = ["|  | training | dev accuracy | test accuracy | memory, GiB |", "|---|---|---|---|---|"]
    for side, rounds in results.items():
        seconds = [found["seconds"] for found in rounds]
        cells = [NAMES[side], f"{statistics.median(seconds):.0f} s [{min(seconds):.0f}, {max(seconds):.0f}]"]
        for split in ("dev", "test"):
            values = [100 * found[split] for found in rounds]
            cells.append(f"{statistics.median(values):.1f}% [{min(values):.1f}, {max(values):.1f}]")
        cells.append(f"{max(found['peak_bytes'] for found in rounds) / 2**30:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Runs every side in turn, prints the table."""
    del argv
    values = flags.FLAGS
    sides = chosen_sides(values.sides, NAMES)
    absent = [name for name in SPLITS if not os.path.isfile(os.path.join(values.data, f"{name}.tsv"))]
    if absent:
        raise SystemExit(
            f"--data={values.data} has no {absent[0]}.tsv. It needs {', '.join(SPLITS)}, each .tsv."
        )
    if "transformers" in sides and not values.environments:
        raise SystemExit("transformers needs an environment of its own: give --environments.")
    pythons = {"tflm": sys.executable}
    if "transformers" in sides:
        pythons["transformers"] = torch_environment(values.environments, TORCH_PACKAGES)
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for seed in range(values.rounds):
        for side, rounds in results.items():
            setting = json.dumps(setting_of(values, seed))
            with tempfile.TemporaryDirectory() as folder:
                program = os.path.join(SIDES, f"{side}_side.py")
                found = run([pythons[side], program, setting, folder]).splitlines()[-1]
            rounds.append(json.loads(found))
            print(f"# {NAMES[side]}: {found}", file=sys.stderr, flush=True)
    if values.output:
        with open(values.output, "w", encoding="utf-8") as file:
            json.dump({"setting": setting_of(values, 0), "results": results}, file, indent=2)
    print(table(results))


if __name__ == "__main__":
    define_flags()
    app.run(main)
