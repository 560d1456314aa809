"""tflm's side of `fine_tuning.py`: what `tflm import` and `tflm train --task=classification --init_from` do."""

import json
import os
import resource
import sys
import time

import tensorflow as tf

from tflm.evaluation import evaluate
from tflm.experiments import Experiment
from tflm.experiments.auto_recipe import automatic
from tflm.experiments.import_run import import_checkpoint


def main(setting_text: str, folder: str) -> None:
    """Trains, and prints one line of JSON."""
    setting = json.loads(setting_text)
    tf.config.threading.set_intra_op_parallelism_threads(setting["num_threads"])
    import_checkpoint(setting["checkpoint"], f"{folder}/imported")
    path = setting["data"]
    with open(os.path.join(path, "train.tsv"), encoding="utf-8") as file:
        num_rows = sum(1 for _ in file) - 1
    num_steps = setting["epochs"] * -(-num_rows // setting["batch_size"])
    settings = {
        "data.test_path": f"{path}/test.tsv",
        "training.num_steps": num_steps,
        "training.warmup_steps": num_steps // 16,
        "training.global_batch_size": setting["batch_size"],
        "training.peak_learning_rate": setting["learning_rate"],
        "training.seed": setting["seed"],
        "training.checkpoint_every": num_steps,
    }
    assignments = [f"{name}={value}" for name, value in settings.items()]
    config = automatic(
        "classification", f"{path}/train.tsv", f"{path}/dev.tsv", assignments, f"{folder}/imported"
    )
    run = Experiment.create(config, f"{folder}/run")
    trainer, batches = run.trainer(), run.batches("train", training=True)
    begin = time.perf_counter()
    trainer.train(batches, None)
    found = {"seconds": time.perf_counter() - begin}
    for name, split in (("dev", "eval"), ("test", "test")):
        found[name] = evaluate(run.task, trainer.model, run.batches(split, training=False))["accuracy"]
    found["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
