"""Which strategies, precisions, accumulation, recomputation and adapters go together, and how equal they are.

    python benchmarks/training_matrix.py

A Transformer decoder with dropout trains five steps on lines in English and Chinese, in every combination: one device,
two replicas on virtual CPUs, two worker processes; float32, bfloat16, float16; with and without two micro-batches,
recomputed activations, LoRA. Each loss is compared with that of the same precision and adapters on one device, with the
whole batch at once and nothing recomputed. The largest relative difference is printed as a Markdown table.
"""

import argparse
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
STRATEGIES = ("one_device", "mirrored", "multi_worker")
OPTIONS = ("accumulation", "recomputation", "LoRA")
Losses = dict[str, list[float]]


def combinations() -> list[tuple[str, tuple[bool, ...]]]:
    """Precision, and which of `OPTIONS` are used."""
    return list(itertools.product(PRECISIONS, itertools.product((False, True), repeat=len(OPTIONS))))


def name_of(precision: str, used: Sequence[bool]) -> str:
    """A key for JSON."""
    return " ".join([precision, *(option for option, is_used in zip(OPTIONS, used, strict=True) if is_used)])


def train_all(strategy_name: str, num_steps: int) -> Losses:
    """The losses of each step, by combination."""
    import tensorflow as tf

    from tflm.data import build_store
    from tflm.generation import DecodingConfig
    from tflm.models import TransformerDecoderConfig, build_model
    from tflm.tasks import LanguageModeling, LanguageModelingConfig
    from tflm.text import TokenizerConfig, train_tokenizer
    from tflm.training import FineTuningConfig, Trainer, TrainingConfig, make_strategy, read_log

    if strategy_name == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = make_strategy(strategy_name)
    tokenizer = train_tokenizer(TokenizerConfig(kind="byte"), [])
    task = LanguageModeling(LanguageModelingConfig(), tokenizer, max_length=24, decoding=DecodingConfig())
    lines = [f"Line {number} of the text, 第{number}行。" for number in range(200)]
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        store = build_store([{"text": line} for line in lines], task.encode, f"{folder}/store", "lines")
        for precision, used in combinations():
            accumulates, recomputes, adapts = used
            model = TransformerDecoderConfig(
                vocab_size=tokenizer.vocab_size,
                num_layers=2,
                hidden_dim=32,
                num_heads=4,
                max_length=24,
                dropout=0.1,
                recompute=recomputes,
            )
            training = TrainingConfig(
                num_steps=num_steps,
                global_batch_size=8,
                num_micro_batches=2 if accumulates else 1,
                peak_learning_rate=3e-3,
                warmup_steps=1,
                log_every=1,
                eval_every=num_steps,
                checkpoint_every=num_steps,
                precision=precision,
            )
            trainer = Trainer(
                lambda model=model: build_model(model),
                task,
                training,
                f"{folder}/{name_of(precision, used)}",
                strategy,
                FineTuningConfig(lora_rank=2 if adapts else 0),
            )
            trainer.train(task.batches(store, batch_size=8, seed=0, training=True), None)
            result[name_of(precision, used)] = [record["loss"] for record in read_log(trainer.workdir)]
    return result


def processes_of(strategy: str, num_steps: int) -> Losses:
    """`train_all` in a process of its own, or in two workers; the chief's losses."""
    command = [sys.executable, os.path.abspath(__file__), f"--side={strategy}", f"--num_steps={num_steps}"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }
    configs = [""]
    if strategy == "multi_worker":
        workers = [f"127.0.0.1:{port}" for port in _free_ports(2)]
        configs = [
            json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
            for index in range(2)
        ]
    started = [
        subprocess.Popen(
            command,
            env={**environment, **({"TF_CONFIG": config} if config else {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for config in configs
    ]
    outputs = [process.communicate() for process in started]
    for process, (_, errors) in zip(started, outputs, strict=True):
        if process.returncode:
            raise SystemExit(f"--side={strategy} failed:\n{errors[-2000:]}")
    return json.loads(next(line for line in reversed(outputs[0][0].splitlines()) if line.startswith("{")))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def table(results: Mapping[str, Losses]) -> str:
    """Markdown: a row for each strategy and precision, a column for each combination of `OPTIONS`.

    Args:
        results: strategy to the losses by combination; those of one_device are the reference.
    """
    columns = list(itertools.product((False, True), repeat=len(OPTIONS)))
    names = [
        " + ".join(option for option, is_used in zip(OPTIONS, used, strict=True) if is_used) or "none"
        for used in columns
    ]
    lines = ["| strategy | precision | " + " | ".join(names) + " |", "|---" * (len(columns) + 2) + "|"]
    for strategy, losses in results.items():
        for precision in PRECISIONS:
            cells = []
            for used in columns:
                reference = results["one_device"][name_of(precision, (False, False, used[-1]))]
                found = losses[name_of(precision, used)]
                worst = max(abs(a - b) / abs(b) for a, b in zip(found, reference, strict=True))
                is_reference = strategy == "one_device" and not any(used[:-1])
                cells.append("reference" if is_reference else f"{worst:.0e}" if worst else "equal")
            lines.append(f"| {strategy} | {precision} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Runs every strategy in turn, prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", choices=STRATEGIES, help=argparse.SUPPRESS)
    parser.add_argument("--num_steps", type=int, default=5, help="steps of each training")
    values = parser.parse_args()
    if values.side:
        print(json.dumps(train_all(values.side, values.num_steps)))
        return
    results = {}
    for strategy in STRATEGIES:
        results[strategy] = processes_of(strategy, values.num_steps)
        print(f"# {strategy}: {len(results[strategy])} combinations", file=sys.stderr, flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
