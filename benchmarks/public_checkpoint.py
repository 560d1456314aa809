"""How fast a public chat checkpoint answers from its exports, and in how much memory, beside transformers.

    python benchmarks/public_checkpoint.py --checkpoint=Qwen2.5-0.5B-Instruct --environments=FOLDER

`--checkpoint` is a folder as transformers writes it, or a GGUF file. It is imported and exported in float32 and in
bfloat16. Each export is asked over TensorFlow Serving's REST interface (`tflm serve` in a process of its own) and
through TensorFlow's C API, as a C++ server calls it; transformers answers the same questions with `generate`. One
question at a time, in English and Chinese, greedily. Sides run in turn, --rounds times over; compare within one run
only. `FOLDER/torch` becomes an environment with PyTorch and transformers, made by venv and pip if it is not there.

A number is the median over rounds and questions. Tokens a second are those after the first; the first token includes
reading the question. Memory is the largest resident set of the process that has the model. "Same text" counts the
answers that equal transformers' in float32. The table is printed as Markdown.
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
SIDES = os.path.join(HERE, "public_checkpoint_sides")
sys.path.insert(0, HERE)

from peers import chosen_sides, run, torch_environment  # noqa: E402

TORCH_PACKAGES = ("torch==2.13.0", "transformers==5.24.0", "gguf", "accelerate", "psutil")
REFERENCE = "transformers_float32"
NAMES = {
    "rest_float32": "tflm, REST, float32",
    "rest_bfloat16": "tflm, REST, bfloat16",
    "c_api_float32": "tflm, C API, float32",
    "c_api_bfloat16": "tflm, C API, bfloat16",
    REFERENCE: "transformers, float32",
    "transformers_bfloat16": "transformers, bfloat16",
}
"""What each side is called in the table, in its order."""
QUESTIONS = (
    "What is the capital of France? Answer in one sentence.",
    "用一句话介绍北京。",
    "Write a Python function that adds two numbers.",
    "把“我喜欢读书”翻译成英文。",
)


def define_flags() -> None:
    """Only where this is the program: a test that reads this file has flags of its own."""
    flags.DEFINE_string("checkpoint", None, "Folder or GGUF file of the checkpoint.", required=True)
    flags.DEFINE_string(
        "environments", None, "Folder of the peer's environment; FOLDER/torch is made if need be."
    )
    flags.DEFINE_string("folder", None, "Keeps the run and its exports here; temporary if not given.")
    flags.DEFINE_list("sides", list(NAMES), "Which to run, of: " + ", ".join(NAMES))
    flags.DEFINE_integer("rounds", 2, "Times each side is run.", lower_bound=1)
    flags.DEFINE_integer("max_new_tokens", 64, "Longest answer.", lower_bound=2)
    flags.DEFINE_string("output", None, "Also write all that was measured as JSON here.")


def prepare(checkpoint: str, precisions: Sequence[str], folder: str) -> dict[str, str]:
    """Imports and exports what is not in `folder` yet.

    Returns:
        precision to the folder of the export's version.
    """
    tflm, workdir = [sys.executable, "-m", "tflm"], os.path.join(folder, "run")
    if precisions and not os.path.exists(workdir):
        run([*tflm, "import", f"--checkpoint={checkpoint}", f"--workdir={workdir}"])
    exports = {}
    for precision in precisions:
        exports[precision] = os.path.join(folder, precision, "1")
        if not os.path.exists(exports[precision]):
            options = [f"--weights={precision}", "--signatures=serving_default,generate,chat"]
            run([*tflm, "export", f"--workdir={workdir}", f"--output={exports[precision]}", *options])
    return exports


def table(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Markdown: a line for each side.

    Args:
        results: side to what it printed in each round: `load` in seconds, `peak_bytes`, and `answers`, each with
            `text`, `num_tokens`, and the seconds `first` and `all`.
    """
    head = "|  | tokens/s | first token, ms | until loaded, s | memory, GiB | same text |"
    lines = [head, "|---|---|---|---|---|---|"]
    expected = (
        [answer["text"] for answer in results[REFERENCE][0]["answers"]] if REFERENCE in results else None
    )
    for side, rounds in results.items():
        answers = [answer for found in rounds for answer in found["answers"]]
        speeds = [
            (answer["num_tokens"] - 1) / (answer["all"] - answer["first"])
            for answer in answers
            if answer["num_tokens"] > 1 and answer["all"] > answer["first"]
        ]
        same = "–"
        if expected is not None:
            texts = [answer["text"] for answer in rounds[0]["answers"]]
            same = f"{sum(a == b for a, b in zip(texts, expected, strict=True))} of {len(expected)}"
        cells = (
            NAMES[side],
            f"{statistics.median(speeds):.1f}" if speeds else "–",
            f"{1000 * statistics.median(answer['first'] for answer in answers):.0f}",
            f"{statistics.median(found['load'] for found in rounds):.1f}",
            f"{max(found['peak_bytes'] for found in rounds) / 2**30:.2f}",
            same,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Imports, exports, runs every side in turn, prints the table."""
    del argv
    values = flags.FLAGS
    sides = chosen_sides(values.sides, NAMES)
    needs_torch = any(side.startswith("transformers") for side in sides)
    if needs_torch and not values.environments:
        raise SystemExit("transformers needs an environment of its own: give --environments.")
    torch_python = torch_environment(values.environments, TORCH_PACKAGES) if needs_torch else ""
    own = {side.rpartition("_")[2] for side in sides if not side.startswith("transformers")}
    task = json.dumps(
        {"questions": QUESTIONS, "max_new_tokens": values.max_new_tokens, "threads": os.cpu_count()}
    )
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as temporary:
        exports = prepare(values.checkpoint, sorted(own), values.folder or temporary)
        for _ in range(values.rounds):
            for side, rounds in results.items():
                kind, _, precision = side.rpartition("_")
                python = torch_python if kind == "transformers" else sys.executable
                path = values.checkpoint if kind == "transformers" else exports[precision]
                program = os.path.join(SIDES, f"{kind}_side.py")
                found = json.loads(run([python, program, path, precision, task]).splitlines()[-1])
                rounds.append(found)
                print(
                    f"# {NAMES[side]}: {json.dumps(found, ensure_ascii=False)}", file=sys.stderr, flush=True
                )
    if values.output:
        with open(values.output, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2, ensure_ascii=False)
    print(table(results))


if __name__ == "__main__":
    define_flags()
    app.run(main)
