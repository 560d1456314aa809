"""How fast a GPT and an LSTM train, compared with transformers, PyTorch's LSTM and keras-hub, in one run.

    python benchmarks/training.py --environments=FOLDER
    python benchmarks/training.py --environments=FOLDER --quick            tiny sizes, to see that every side runs
    python benchmarks/training.py --environments=FOLDER --models=lstm --precisions=float32,bfloat16

The GPT has 13.9 million parameters (6 layers of width 384, a vocabulary of 8,192, 16 rows of 256 tokens), the LSTM 9.3
(2 layers of width 512, a vocabulary of 10,000, 32 rows of 64 tokens). All sides of a row of the table are started and
compiled first; then they take turns, --rounds times over, so that what else the machine does falls on all alike. The
processes whose turn it is not wait for input. Compare within one row only.

A turn is some steps on the same four batches: gradient, clipping, AdamW. A number is tokens a second at the median of
the turns; the ratio is the median over the rounds of tflm's best side to the best peer of the round. Memory is the
largest resident set of the process. The losses of the first steps must fall and be alike on all sides. `FOLDER/torch`
becomes an environment with PyTorch and transformers, made by venv and pip if it is not there.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from absl import app, flags

HERE = os.path.dirname(os.path.abspath(__file__))
SIDES = os.path.join(HERE, "training_sides")
sys.path[:0] = [HERE, SIDES]

from peers import chosen_sides, environment_of_sides, torch_environment  # noqa: E402
from training_side import Setting  # noqa: E402

TORCH_PACKAGES = ("torch==2.13.0", "transformers==5.24.0")
MODELS = {
    "gpt": Setting(),
    "lstm": Setting(model="lstm", num_layers=2, hidden_dim=512, vocab_size=10_000, length=64, batch_size=32),
}
QUICK = {"hidden_dim": 32, "num_heads": 4, "vocab_size": 300, "length": 16, "batch_size": 4, "steps": 1}
PRECISIONS = ("float32", "bfloat16")
NAMES = {
    "tflm": "tflm",
    "tflm_xla": "tflm, XLA",
    "keras_hub": "keras-hub (LSTM: Keras)",
    "torch": "transformers (LSTM: PyTorch)",
    "torch_compiled": "the same, compiled",
}
"""What each side is called in the table, in its order."""
OWN = ("tflm", "tflm_xla")


def define_flags() -> None:
    """Only where this is the program: a test that reads this file has flags of its own."""
    flags.DEFINE_string(
        "environments", None, "Folder of the peers' environments; FOLDER/torch is made if need be."
    )
    flags.DEFINE_list("sides", list(NAMES), "Which to run, of: " + ", ".join(NAMES))
    flags.DEFINE_list("models", list(MODELS), "Which to train, of: " + ", ".join(MODELS))
    flags.DEFINE_list("precisions", ["float32"], "Which to use, of: " + ", ".join(PRECISIONS))
    flags.DEFINE_integer("rounds", 8, "Turns of each side.", lower_bound=1)
    flags.DEFINE_integer("steps", None, "Steps of a turn.", lower_bound=1)
    flags.DEFINE_boolean("quick", False, "Tiny sizes.")
    flags.DEFINE_string("output", None, "Also write all that was measured as JSON here.")


class Side:
    """A process that trains when it is asked to.

    Args:
        name: one of NAMES.
        setting: sizes.
        torch_python: the interpreter of PyTorch's sides.
    """

    def __init__(self, name: str, setting: Setting, torch_python: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command(name, setting, torch_python),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment_of_sides(),
            text=True,
        )
        self.start = self._read()
        self.turns: list[dict[str, Any]] = []

    def turn(self) -> None:
        """Trains for some steps, and keeps their seconds and losses."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.turns.append(self._read())

    def end(self) -> dict[str, Any]:
        """Ends the process; all that it printed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        last = self._read()
        self._process.wait()
        return {**self.start, **last, "turns": self.turns}

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"the side {self.name} ended with {self._process.wait()}.")


def command(name: str, setting: Setting, torch_python: str) -> list[str]:
    """What starts a side."""
    python = torch_python if name.startswith("torch") else sys.executable
    program, _, kind = {
        "tflm": "tflm_side plain",
        "tflm_xla": "tflm_side xla",
        "keras_hub": "keras_hub_side plain",
        "torch": "torch_side plain",
        "torch_compiled": "torch_side compiled",
    }[name].partition(" ")
    return [python, os.path.join(SIDES, f"{program}.py"), kind, setting.to_json()]


def ratios(results: Mapping[str, Mapping[str, Any]]) -> list[float]:
    """Of each round: the time of the best peer over the time of tflm's best side."""
    own = [side for side in results if side in OWN]
    peers = [side for side in results if side not in OWN]
    if not own or not peers:
        return []
    num_rounds = min(len(result["turns"]) for result in results.values())

    def best(sides: list[str], turn: int) -> float:
        return min(results[side]["turns"][turn]["seconds"] for side in sides)

    return [best(peers, turn) / best(own, turn) for turn in range(num_rounds)]


def table(setting: Setting, results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a line for each side, and the ratio of tflm to the best peer.

    Args:
        setting: sizes.
        results: side to what `Side.end` gives.
    """
    title = f"{setting.model}, {setting.precision}"
    lines = [
        f"| {title} | tokens/s | ready after | memory, GiB | loss, first and last |",
        "|---|---|---|---|---|",
    ]
    for side, result in results.items():
        seconds = statistics.median(turn["seconds"] for turn in result["turns"])
        speed = setting.steps * setting.batch_size * setting.length / seconds
        first, last = result["losses"][0], result["turns"][-1]["losses"][-1]
        lines.append(
            f"| {NAMES[side]} | {speed:,.0f} | {result['ready']:.0f} s | {result['peak_bytes'] / 2**30:.2f} | "
            f"{first:.3f}, {last:.3f} |"
        )
    if found := ratios(results):
        lines.append(
            f"\ntflm to the best peer: {statistics.median(found):.2f} [{min(found):.2f}, {max(found):.2f}]"
        )
    return "\n".join(lines)


def measure(setting: Setting, sides: list[str], num_rounds: int, torch_python: str) -> dict[str, Any]:
    """What each side found, with all of them taking turns."""
    started = []
    for name in sides:
        started.append(Side(name, setting, torch_python))
        print(
            f"# {setting.model}, {setting.precision}, {NAMES[name]}: ready after {started[-1].start['ready']:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    for _ in range(num_rounds):
        for side in started:
            side.turn()
    return {side.name: side.end() for side in started}


def main(argv: list[str]) -> None:
    """Measures each row of the table."""
    del argv
    values = flags.FLAGS
    sides = chosen_sides(values.sides, NAMES)
    models = chosen_sides(values.models, MODELS)
    precisions = chosen_sides(values.precisions, PRECISIONS)
    torch_python = ""
    if any(side.startswith("torch") for side in sides):
        if not values.environments:
            raise SystemExit("PyTorch needs an environment of its own: give --environments.")
        torch_python = torch_environment(values.environments, TORCH_PACKAGES)
    found = []
    for model in models:
        for precision in precisions:
            changes: dict[str, Any] = {"precision": precision, "num_threads": os.cpu_count() or 1}
            changes |= QUICK if values.quick else {}
            changes |= {"steps": values.steps} if values.steps else {}
            setting = Setting(**{**vars(MODELS[model]), **changes})
            results = measure(setting, sides, values.rounds, torch_python)
            found.append({"setting": vars(setting), "results": results})
            print(table(setting, results) + "\n", flush=True)
    if values.output:
        with open(values.output, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=2)


if __name__ == "__main__":
    define_flags()
    app.run(main)
