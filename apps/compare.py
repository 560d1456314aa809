"""Compares runs: cost, size and metrics on held-out data.

  tflm compare runs/lstm runs/transformer
  tflm compare runs/lstm runs/transformer --ngram=5 --output=runs/comparison
  tflm compare runs/* --quick

Prints a table; in a pipe or a file as Markdown. Loss and perplexity of language models are recomputed, with confidence
intervals; bits per byte compare runs with different tokenizers; "loss vs first" is the difference to the first run over
the same tokens. Measures of other tasks come from report.json, which tflm evaluate writes. With --output, the table,
the same as JSON, and all loss curves in one picture go into a folder.
"""

import dataclasses
import functools
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from absl import flags

from tflm.errors import UsageError, UserError
from tflm.files.writing import whole_file

from .common.command_line import load_tensorflow, note, run_app
from .common.plugins import define_plugins, use_plugins
from .common.report_files import check_folder
from .common.tables import fill, show_table, text_width

FLAGS = flags.FlagValues()
flags.DEFINE_multi_string(
    "run", [], "Folder of a run. The flag's name may be left out: tflm compare runs/a runs/b.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_bool(
    "quick", False, "Takes the losses from the logs, without evaluating anything.", flag_values=FLAGS
)
flags.DEFINE_integer(
    "ngram",
    0,
    "Adds a Kneser-Ney n-gram model of this order, trained and evaluated on the data of the first run. 0 is off. "
    "Example: 5.",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "x", "tokens", ["step", "tokens", "seconds"], "The x axis of the loss curves.", flag_values=FLAGS
)
flags.DEFINE_string(
    "output",
    None,
    "Folder for comparison.md, comparison.json and comparison.png; not written if not given.",
    flag_values=FLAGS,
)
define_plugins(FLAGS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    if not flag_values.run:
        raise UsageError("the folders of the runs are needed: tflm compare RUN RUN ...")
    use_plugins(flag_values)
    load_tensorflow()
    from tflm.evaluation import check_axis, comparison_notes, comparison_table

    runs = [_Run(folder, name) for folder, name in zip(flag_values.run, _names(flag_values.run))]
    if flag_values.ngram and not runs[0].is_language_model:
        raise UserError(
            f"--ngram is for language models: the task of {flag_values.run[0]!r} is {runs[0].task_kind!r}. Leave it "
            "out, or name a run of language_modeling first."
        )
    if flag_values.output:  # what may fail is looked at before the work
        check_folder(flag_values.output, "cannot write into --output={folder}: {reason}.")
        check_axis({run.name: run.records for run in runs}, flag_values.x)
    rows, losses = [], {}
    for run in runs:
        note(f"{run.name}: {run.folder}")
        if not flag_values.quick and run.writes_text:
            losses[run.name] = run.losses()
        rows.append(run.row(losses.get(run.name)))
    if flag_values.ngram:
        rows.append(_ngram(flag_values.ngram, runs[0], losses))
    rows = _with_differences(rows, losses, runs[0].is_language_model)
    notes = [*comparison_notes(rows), *(text for run in runs for text in run.notes)]
    table = comparison_table(rows, notes)
    if sys.stdout.isatty():
        _show(rows, notes)
    else:
        print(table)
    if flag_values.output:
        _write(flag_values, table, rows, notes, runs)


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    program, *arguments = sys.argv if argv is None else argv
    named = [argument if argument.startswith("-") else f"--run={argument}" for argument in arguments]
    return run_app(main, FLAGS, __doc__ or "", [program, *named])


class _Run:
    """One run, and what is read or computed of it.

    Raises:
        UserError: the folder holds no run, or the run has no held-out side or no steps yet.
    """

    def __init__(self, folder: str, name: str) -> None:
        from tflm.experiments import Experiment
        from tflm.training import read_log

        self.folder, self.name, self.experiment = folder, name, Experiment.open(folder)
        self.records, self.notes = read_log(folder), []  # type: ignore[var-annotated]
        if not self.experiment.config.data.has_eval:
            raise UserError(f"{folder!r} has no held-out side: data.eval_fraction is 0.")
        if not self.records:
            raise UserError(f"{folder!r} has no steps yet. `tflm train --workdir={folder}` first.")

    @property
    def task_kind(self) -> str:
        """Of the config."""
        return self.experiment.config.task.kind

    @property
    def is_language_model(self) -> bool:
        """Whether every token of the stream is predicted, as an n-gram model does."""
        report = self.experiment.task_class.report(self.experiment.config.task)
        return report is not None and report.baseline == "ngram"

    @property
    def writes_text(self) -> bool:
        """Whether its loss is of the tokens of a text."""
        return self.experiment.task_class.loss_covers_text

    @functools.cached_property
    def trained(self) -> tuple[Any, int]:
        """The model and its step."""
        return self.experiment.trained_model()

    def losses(self) -> Any:
        """Of every held-out token, float32 [N]."""
        from tflm.evaluation import token_losses

        batches = self.experiment.batches("eval", training=False)
        return token_losses(self.experiment.task, self.trained[0], batches)

    def row(self, losses: Any) -> Any:
        """Of the table; `losses` is None where the log and the report say all."""
        from tflm.evaluation import ComparedRun, language_measures, logged_measures, training_cost

        if losses is not None:
            model, step = self.trained
            measures = {**self._reported(step), **language_measures(losses, *self.held_out[:2])}
        else:
            model, step = self.experiment.make_model(), max(record["step"] for record in self.records)
            sizes = self.held_out[:2] if self.writes_text and self._logs_all_tokens() else (0, 0)
            measures = logged_measures(self.records, *sizes)
            measures = {**measures, **self._reported(step)}
        return ComparedRun(
            self.name,
            self.experiment.config.model.kind,
            self.task_kind,
            model.num_parameters(),
            measures,
            step,
            **training_cost(self.records, step),
            held_out_id=self.held_out_id,
            tokenizer_id=self.tokenizer_id,
        )

    @functools.cached_property
    def held_out(self) -> Any:
        """The held-out text, where the loss is of its tokens."""
        from tflm.evaluation import held_out_text

        return held_out_text(self.experiment.store("eval"), self.experiment.tokenizer)

    @functools.cached_property
    def held_out_id(self) -> str:
        """Stands for the held-out side: its text, or where it comes from."""
        from tflm.config import to_dict

        if self.writes_text:
            return self.held_out.digest
        return json.dumps(to_dict(self.experiment.config.data), sort_keys=True)

    @functools.cached_property
    def tokenizer_id(self) -> str:
        """Stands for the tokenizer."""
        folder = os.path.join(self.folder, "tokenizer")
        assert self.experiment.tokenizer  # writes the folder, where a run was brought here without it
        found = hashlib.sha256()
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), "rb") as file:
                found.update(file.read())
        return found.hexdigest()

    def _logs_all_tokens(self) -> bool:
        """Whether the log's last evaluation was over the whole held-out side."""
        config = self.experiment.config.training
        last = next((record for record in reversed(self.records) if "eval_loss" in record), {"step": 0})
        return last["step"] == config.num_steps or not config.max_eval_batches

    def _reported(self, step: int) -> dict[str, Any]:
        """What tflm evaluate left, if it is of this step."""
        from tflm.evaluation import read_report, reported_measures

        path = os.path.join(self.folder, "report.json")
        report: dict[str, Any] = read_report(path) if os.path.exists(path) else {}
        if report.get("step") == step:
            measures = reported_measures(report)
            # A report takes texts one by one, the log and this table the tokens of all.
            by_text = ("loss", "perplexity") if self.writes_text else ()
            return {name: value for name, value in measures.items() if name not in by_text}
        if report or not self.writes_text:
            found = f"report.json is of step {report.get('step')}" if report else "there is no report.json"
            command = f"tflm evaluate --workdir={self.folder}"
            self.notes.append(f"{self.name}: {found}; `{command}` measures step {step}.")
        return {}


def _names(folders: Sequence[str]) -> list[str]:
    """The last part of each path, where that tells the runs apart."""
    short = [os.path.basename(os.path.normpath(folder)) for folder in folders]
    return short if len(set(short)) == len(short) else list(folders)


def _ngram(order: int, run: _Run, losses: dict[str, Any]) -> Any:
    """The row of a Kneser-Ney model on the data of a run; its losses are added."""
    from tflm.evaluation import ComparedRun, NgramModel, language_measures

    name = f"{order}-gram"
    note(f"{name}: on the data of {run.folder}")
    train, held_out = (run.experiment.store(split).values("token_ids") for split in ("train", "eval"))
    begin = time.perf_counter()
    model = NgramModel.train(train, run.experiment.tokenizer.vocab_size, order)
    seconds = time.perf_counter() - begin
    losses[name] = -model.log_probabilities(held_out)[1:]  # as in the batches, the first token is given
    measures = language_measures(losses[name], *run.held_out[:2])
    return ComparedRun(
        name,
        "kneser_ney",
        run.task_kind,
        model.num_parameters,
        measures,
        tokens=len(train),
        seconds=seconds,
        held_out_id=run.held_out_id,
        tokenizer_id=run.tokenizer_id,
    )


def _with_differences(rows: Sequence[Any], losses: dict[str, Any], is_language_model: bool) -> list[Any]:
    """Adds `loss_vs_first` to each language model that was measured over the first one's tokens."""
    from tflm.evaluation import loss_difference

    first = rows[0]
    found = [first]
    for row in rows[1:]:
        ids = (row.task, row.held_out_id, row.tokenizer_id)
        if is_language_model and ids == (first.task, first.held_out_id, first.tokenizer_id):
            pair = [losses[name] for name in (row.name, first.name) if name in losses]
            if len(pair) == 2 and len(pair[0]) == len(pair[1]):  # with marks of documents or without
                difference = {"loss_vs_first": loss_difference(*pair)}
                row = dataclasses.replace(row, measures={**row.measures, **difference})
        found.append(row)
    return found


def _show(rows: Sequence[Any], notes: Sequence[str]) -> None:
    """The table and the notes on a terminal."""
    from tflm.evaluation import comparison_cells, interval_note

    header, *lines = comparison_cells(rows)
    show_table(header, lines)
    for text in (*interval_note(rows), *notes):
        print("\n" + fill(text, text_width(100)))


def _write(
    flag_values: flags.FlagValues, table: str, rows: Sequence[Any], notes: Sequence[str], runs: Sequence[_Run]
) -> None:
    from tflm.evaluation import Interval, comparison_record, plot_comparison

    folder = flag_values.output
    levels = {row.name: row.measures["loss"] for row in rows[len(runs) :]}
    levels = {name: loss.mean if isinstance(loss, Interval) else loss for name, loss in levels.items()}
    plot = os.path.join(folder, "comparison.png")
    try:
        with (
            whole_file(os.path.join(folder, "comparison.md")) as aside,
            open(aside, "w", encoding="utf-8") as file,
        ):
            file.write(table + "\n")
        with (
            whole_file(os.path.join(folder, "comparison.json")) as aside,
            open(aside, "w", encoding="utf-8") as file,
        ):
            json.dump(comparison_record(rows, notes), file, indent=2, ensure_ascii=False)
        drawn = plot_comparison({run.name: run.records for run in runs}, plot, flag_values.x, levels)
    except OSError as error:
        raise UserError(f"cannot write into --output={folder}: {error.strerror}.") from error
    if notice := drawn.notice(plot):
        note(notice)
    note(f"comparison.md, comparison.json and comparison.png are in {folder}")


if __name__ == "__main__":
    sys.exit(run())
