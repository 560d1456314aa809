"""tflm's `shakespeare_char` beside nanoGPT's CPU recipe: same text, tokens and parameters; loss and wall clock.

    python benchmarks/shakespeare_char.py --data=input.txt --peer_python=PATH --rounds=2

Runs A B A B, each in a process of its own, and prints one table with the ratio of the median times. A time is
that of training: compilation and checkpoints in it, evaluation and imports not. The loss is that of the last
tenth of the text in consecutive blocks of 64. `--peer_python` is an interpreter with PyTorch 2.13 and NumPy;
by default this one, after `pip install 'tflm[bench]'`.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app, flags

HERE = os.path.dirname(os.path.abspath(__file__))

flags.DEFINE_string("data", None, "Tiny Shakespeare, one text file of 1,115,394 characters.", required=True)
flags.DEFINE_string("peer_python", sys.executable, "An interpreter with PyTorch and NumPy.")
flags.DEFINE_integer("rounds", 2, "Times each is run.", lower_bound=1)
flags.DEFINE_integer("num_steps", 2000, "Steps of each run.", lower_bound=1)
flags.DEFINE_boolean("ours", False, "Run tflm once and print one line of JSON; used by this program itself.")


def run_ours(path: str, num_steps: int) -> dict[str, float]:
    """Trains the preset once."""
    from tflm.config import override
    from tflm.evaluation import evaluate
    from tflm.experiments import Experiment
    from tflm.recipes import load_preset

    settings = [
        f"data.path={path}",
        f"training.num_steps={num_steps}",
        f"training.checkpoint_every={num_steps}",
    ]
    with tempfile.TemporaryDirectory() as workdir:
        experiment = Experiment.create(override(load_preset("shakespeare_char"), settings), workdir)
        trainer, batches = experiment.trainer(), experiment.batches("train", training=True)
        begin = time.perf_counter()
        trainer.train(batches, None)
        seconds = time.perf_counter() - begin
        metrics = evaluate(experiment.task, trainer.model, experiment.batches("eval", training=False))
    return {
        "parameters": trainer.model.num_parameters(),
        "seconds": seconds,
        "validation_loss": metrics["loss"],
    }


def run_in_process(command: list[str]) -> dict[str, float]:
    """The JSON that a command prints last."""
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(HERE), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(argv: list[str]) -> None:
    """Prints the table, or with --ours one line of JSON."""
    del argv
    values = flags.FLAGS
    if values.ours:
        print(json.dumps(run_ours(values.data, values.num_steps)))
        return
    steps = str(values.num_steps)
    commands = {
        "nanoGPT's recipe, PyTorch": [
            values.peer_python,
            os.path.join(HERE, "nanogpt_peer.py"),
            values.data,
            steps,
        ],
        "tflm shakespeare_char": [
            sys.executable,
            __file__,
            "--ours",
            f"--data={values.data}",
            f"--num_steps={steps}",
        ],
    }
    results: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(values.rounds):
        for name, command in commands.items():
            results[name].append(run_in_process(command))
            print(f"# {name}: {results[name][-1]}", file=sys.stderr, flush=True)
    medians = {name: statistics.median(r["seconds"] for r in rows) for name, rows in results.items()}
    peer_time = next(iter(medians.values()))
    print("| | parameters | validation loss | training seconds, median (all) | time, as a ratio |")
    print("|---|---|---|---|---|")
    for name, rows in results.items():
        losses = " ".join(f"{row['validation_loss']:.3f}" for row in rows)
        seconds = " ".join(f"{row['seconds']:.0f}" for row in rows)
        ratio = medians[name] / peer_time
        print(
            f"| {name} | {rows[0]['parameters']:,} | {losses} | {medians[name]:.0f} ({seconds}) | {ratio:.2f} |"
        )


if __name__ == "__main__":
    app.run(main)
