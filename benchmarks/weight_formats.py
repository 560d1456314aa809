"""Size, memory and speed of one model in each format of `tflm export --weights`: one run, one table.

    python benchmarks/weight_formats.py
    python benchmarks/weight_formats.py --quick         tiny sizes, to see that all formats run

The model has the architecture of GPT-2 124M and random weights. The prompt has 32 tokens; 64 are generated, greedily,
in batches of 1 and 8, by `generate` and by `generate_xla`. Each variant runs in a process of its own, in turn, --rounds
times over; compare within one run only. Tokens per second are medians over rounds and repeats, in parentheses their
ratio to those of float32 by the same signature. The table is printed as Markdown; all measurements are written as JSON.
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
SIDES = os.path.join(HERE, "generation_sides")
sys.path[:0] = [HERE, SIDES]

from peers import run  # noqa: E402
from side import Setting  # noqa: E402

FORMATS = ("float32", "bfloat16", "int8", "int4")
SIGNATURES = ("generate", "generate_xla")
PROGRAM = os.path.join(SIDES, "tflm_side.py")
QUICK = Setting(
    num_layers=1,
    hidden_dim=64,
    num_heads=4,
    vocab_size=300,
    max_length=64,
    batch_sizes=(1, 2),
    prompt_length=8,
    new_tokens=8,
    repeats=1,
)


def define_flags() -> None:
    """Only where this is the program: a test that reads this file has flags of its own."""
    flags.DEFINE_list("formats", list(FORMATS), "Formats to measure; float32 is the reference.")
    flags.DEFINE_list("signatures", list(SIGNATURES), "Signatures to measure.")
    flags.DEFINE_integer("rounds", 3, "Times each variant is run.", lower_bound=1)
    flags.DEFINE_integer("repeats", 2, "Times each batch is run in a round.", lower_bound=1)
    flags.DEFINE_boolean("quick", False, "Tiny sizes.")
    flags.DEFINE_string(
        "exports", None, "Folder that keeps the exports; those that it has are measured again."
    )
    flags.DEFINE_string(
        "output",
        os.path.join(HERE, "reports", "weight_formats.json"),
        "File for everything measured, as JSON.",
    )


def folder_bytes(folder: str) -> int:
    """Size of all files below a folder."""
    return sum(
        os.path.getsize(os.path.join(place, name)) for place, _, names in os.walk(folder) for name in names
    )


def table(
    setting: Setting,
    sizes: Mapping[str, int],
    results: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
) -> str:
    """Markdown: a line for each format and signature.

    Args:
        setting: sizes.
        sizes: bytes of the export by format.
        results: by signature and format what `measure` printed in each round.
    """
    head = [
        "weights",
        "signature",
        "export, MB",
        *(f"batch {size}, tokens/s" for size in setting.batch_sizes),
    ]
    lines = ["| " + " | ".join([*head, "memory, GiB"]) + " |", "|" + "---|" * (len(head) + 1)]
    for signature, formats in results.items():
        for weights, rounds in formats.items():
            cells = [weights, f"`{signature}`", f"{sizes[weights] / 1e6:.0f}"]
            for size in setting.batch_sizes:
                speed = _speed(setting, size, rounds)
                cells.append(f"{speed:.1f}")
                if "float32" in formats:
                    cells[-1] += f" ({speed / _speed(setting, size, formats['float32']):.2f})"
            memory = statistics.median(found["resident_bytes"] for found in rounds)
            lines.append("| " + " | ".join([*cells, f"{memory / 2**30:.2f}"]) + " |")
    return "\n".join(lines)


def _speed(setting: Setting, batch_size: int, rounds: Sequence[Mapping[str, Any]]) -> float:
    """Tokens per second."""
    seconds = [second for found in rounds for second in found["batches"][str(batch_size)]["all"]]
    return batch_size * setting.new_tokens / statistics.median(seconds)


def main(argv: list[str]) -> None:
    """Exports each format, runs all variants in turn, prints the table."""
    del argv
    values = flags.FLAGS
    setting = QUICK if values.quick else Setting(batch_sizes=(1, 8), repeats=values.repeats)
    setting = Setting(**{**vars(setting), "num_threads": os.cpu_count() or 1})
    results: dict[str, dict[str, list[Any]]] = {
        signature: {weights: [] for weights in values.formats} for signature in values.signatures
    }
    loads = [os.getloadavg()]
    with tempfile.TemporaryDirectory() as temporary:
        sizes, folder = {}, values.exports or temporary
        verb = "export_xla" if "generate_xla" in values.signatures else "export"
        for weights in values.formats:
            path = os.path.join(folder, weights)
            if not os.path.isdir(path):
                run([sys.executable, PROGRAM, verb, setting.to_json(), path, weights])
            sizes[weights] = folder_bytes(path)
            print(f"# {weights}: {sizes[weights]:,} bytes", file=sys.stderr, flush=True)
        for _ in range(values.rounds):
            for weights in values.formats:
                for signature in values.signatures:
                    arguments = [signature, setting.to_json(), os.path.join(folder, weights)]
                    found = run([sys.executable, PROGRAM, *arguments]).splitlines()[-1]
                    results[signature][weights].append(json.loads(found))
                    print(f"# {weights} {signature}: {found}", file=sys.stderr, flush=True)
            loads.append(os.getloadavg())
    with open(values.output, "w", encoding="utf-8") as file:
        made = {"setting": vars(setting), "sizes": sizes, "load_averages": loads, "results": results}
        json.dump(made, file, indent=2)
        file.write("\n")
    print(table(setting, sizes, results))


if __name__ == "__main__":
    define_flags()
    app.run(main)
