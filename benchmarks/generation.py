"""How fast an exported model generates, beside transformers, keras-hub and CTranslate2: one run, one table.

    python benchmarks/generation.py --environments=FOLDER
    python benchmarks/generation.py --environments=FOLDER --quick         tiny sizes, to see that every side runs

The architecture is that of GPT-2 124M with random weights; 32 tokens are given, 64 written, greedily, in batches of
1, 8 and 32. tflm is what `tflm.export` wrote: `generate`, `generate_xla` where the export has it, and `prefill` with
`decode` as a stream. Each side runs in a process of its own, in turn, --rounds times over, so that what else the
machine does falls on all alike; compare within one run only. `FOLDER/torch` becomes an environment with PyTorch,
transformers and CTranslate2, made by venv and pip if it is not there.

A number is the median over rounds and repeats: tokens a second of the whole batch, prompt and all, and the time to
the first token. Memory is the largest resident set of the process. The table is printed as Markdown.
"""

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from absl import app, flags

HERE = os.path.dirname(os.path.abspath(__file__))
SIDES = os.path.join(HERE, "generation_sides")
sys.path[:0] = [HERE, SIDES]

from peers import chosen_sides, run, torch_environment  # noqa: E402
from side import Setting  # noqa: E402

TORCH_PACKAGES = ("torch==2.13.0", "transformers==5.23.0", "ctranslate2==4.8.5")
QUICK = Setting(
    num_layers=1,
    hidden_dim=32,
    num_heads=4,
    vocab_size=300,
    max_length=64,
    batch_sizes=(1, 2),
    prompt_length=8,
    new_tokens=8,
    repeats=1,
)
NAMES = {
    "generate": "tflm, exported `generate`",
    "generate_xla": "tflm, exported `generate_xla`",
    "stream": "tflm, exported `prefill` and `decode`",
    "plain": "keras-hub `generate`",
    "xla": "keras-hub `generate`, XLA",
    "transformers_float32": "transformers, float32",
    "transformers_bfloat16": "transformers, bfloat16",
    "ctranslate2_float32": "CTranslate2, float32",
    "ctranslate2_int8": "CTranslate2, int8",
}
"""What each side is called in the table, in its order."""
TFLM_SIDES = ("generate", "generate_xla", "stream")
KERAS_HUB_SIDES = ("plain", "xla")
CTRANSLATE2_SIDES = ("ctranslate2_float32", "ctranslate2_int8")


def define_flags() -> None:
    """Only where this is the program: a test that reads this file has flags of its own."""
    flags.DEFINE_string(
        "environments", None, "Folder of the peers' environments; FOLDER/torch is made if need be."
    )
    flags.DEFINE_list("sides", list(NAMES), "Which to run, of: " + ", ".join(NAMES))
    flags.DEFINE_integer("rounds", 2, "Times each side is run.", lower_bound=1)
    flags.DEFINE_integer(
        "repeats", None, "Times each size is run in a round; 3, with --quick 1.", lower_bound=1
    )
    flags.DEFINE_list("batch_sizes", None, "Texts at once; 1,8,32, with --quick 1,2.")
    flags.DEFINE_boolean("quick", False, "Tiny sizes.")
    flags.DEFINE_string("output", None, "Also write all that was measured as JSON here.")


def setting_from_flags() -> Setting:
    """The sizes that the flags ask for."""
    values = flags.FLAGS
    setting = QUICK if values.quick else Setting()
    changes: dict[str, Any] = {"num_threads": os.cpu_count() or 1}
    if values.repeats:
        changes["repeats"] = values.repeats
    if values.batch_sizes:
        changes["batch_sizes"] = tuple(int(size) for size in values.batch_sizes)
    return Setting(**{**vars(setting), **changes})


def command(verb: str, side: str, setting: Setting, folder: str, torch_python: str) -> list[str]:
    """What prepares ("prepare") or measures ("measure") one side; `folder` holds what was prepared."""
    own = [sys.executable, os.path.join(SIDES, "tflm_side.py")]
    if side in TFLM_SIDES:
        if verb == "prepare":
            side = "export_xla" if side == "generate_xla" else "export"
        return [*own, side, setting.to_json(), os.path.join(folder, "tflm")]
    if side in KERAS_HUB_SIDES:
        return [sys.executable, os.path.join(SIDES, "keras_hub_side.py"), side, setting.to_json()]
    torch_side = os.path.join(SIDES, "torch_side.py")
    verb = "convert" if verb == "prepare" else verb
    return [torch_python, torch_side, verb, side, setting.to_json(), os.path.join(folder, side)]


def table(setting: Setting, results: Mapping[str, list[dict[str, Any]]]) -> str:
    """Markdown: a line for each side, two columns for each batch size, and the memory.

    Args:
        setting: sizes.
        results: side to what `measure` printed in each round.
    """
    head = ["", *(f"batch {size}, tokens/s | first token, ms" for size in setting.batch_sizes), "memory, GiB"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * (2 * len(setting.batch_sizes) + 2)]
    for side, rounds in results.items():
        cells = [NAMES[side]]
        for size in setting.batch_sizes:
            batches = [found["batches"][str(size)] for found in rounds]
            first = statistics.median(second for batch in batches for second in batch["first"])
            whole = statistics.median(second for batch in batches for second in batch["all"])
            cells += [f"{size * setting.new_tokens / whole:.1f}", f"{1000 * first:.0f}"]
        cells.append(f"{max(found['peak_bytes'] for found in rounds) / 2**30:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Exports, runs every side in turn, prints the table."""
    del argv
    values, setting = flags.FLAGS, setting_from_flags()
    sides = chosen_sides(values.sides, NAMES)
    needs_torch = bool(set(sides) - set(TFLM_SIDES) - set(KERAS_HUB_SIDES))
    if needs_torch and not values.environments:
        raise SystemExit(
            "transformers and CTranslate2 need an environment of their own: give --environments."
        )
    torch_python = torch_environment(values.environments, TORCH_PACKAGES) if needs_torch else ""
    with tempfile.TemporaryDirectory() as folder:
        for side in prepared(sides):
            run(command("prepare", side, setting, folder, torch_python))
        if "generate_xla" in sides and not has_signature(os.path.join(folder, "tflm"), "generate_xla"):
            print("# the export has no generate_xla", file=sys.stderr, flush=True)
            sides.remove("generate_xla")
        results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        for _ in range(values.rounds):
            for side in sides:
                found = run(command("measure", side, setting, folder, torch_python)).splitlines()[-1]
                results[side].append(json.loads(found))
                print(f"# {NAMES[side]}: {found}", file=sys.stderr, flush=True)
    if values.output:
        with open(values.output, "w", encoding="utf-8") as file:
            json.dump({"setting": vars(setting), "results": results}, file, indent=2)
    print(table(setting, results))


def prepared(sides: list[str]) -> list[str]:
    """Those that write a model first; all of tflm's read one export, which has `generate_xla` if it is measured."""
    own = sorted((side for side in sides if side in TFLM_SIDES), key=lambda side: side != "generate_xla")[:1]
    return own + [side for side in sides if side in CTRANSLATE2_SIDES]


def has_signature(folder: str, name: str) -> bool:
    """Whether the newest export in `folder` has it."""
    code = f"from tflm.serving import connect; print({name!r} in connect({folder!r}).signatures)"
    return run([sys.executable, "-c", code]).split()[-1] == "True"


if __name__ == "__main__":
    define_flags()
    app.run(main)
