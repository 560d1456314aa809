"""Writes a page about a run or several: curves, samples, data, computation, environment.

  tflm report --workdir=runs/tiny
  tflm report --workdir=runs/tiny --output=tiny.html
  tflm report runs/lstm runs/transformer --output=comparison.html

One HTML file without scripts, in light and dark, that a browser shows and prints: losses, held-out metrics, learning
rate, gradient norm, speed and gradient noise scale; generated samples (--set training.num_samples=4 of tflm train);
interruptions, skipped steps and spikes of the loss; versions, devices, commit and command of each start; the data;
floating-point operations and the share of the device's peak; energy and CO2 (--energy of tflm train). It is made from
the files in the run's folder, also while the run trains. Several runs are compared on one page.
"""

import os
import sys
from collections.abc import Sequence

from absl import flags

from tflm.errors import UsageError

from .common.command_line import load_tensorflow, run_app
from .common.plugins import define_plugins, use_plugins
from .common.report_files import check_folder

FLAGS = flags.FlagValues()
flags.DEFINE_multi_string(
    "workdir",
    [],
    "Folder of a run. The flag's name may be left out: tflm report runs/a runs/b.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output",
    None,
    "File to write; report.html in the folder of the first run if not given.",
    flag_values=FLAGS,
)
define_plugins(FLAGS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    folders = list(flag_values.workdir)
    if not folders:
        raise UsageError("--workdir is needed: the folder of a run, such as --workdir=runs/first.")
    if twice := [folder for folder in folders if folders.count(folder) > 1]:
        raise UsageError(f"--workdir={twice[0]} is given twice.")
    output = flag_values.output or os.path.join(folders[0], "report.html")
    if os.path.isdir(output):
        raise UsageError(
            f"--output={output} is a folder: give a file, such as {os.path.join(output, 'report.html')}."
        )
    use_plugins(flag_values)
    load_tensorflow()
    from tflm.experiments.run_report import read_reports, write_run_page

    reports = read_reports(folders)
    check_folder(os.path.dirname(output) or ".")
    write_run_page(reports, output)
    for report in reports:
        print(f"{report.name}: {report.state}")
    print(f"report: {output}")


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    program, *arguments = sys.argv if argv is None else argv
    named = [argument if argument.startswith("-") else f"--workdir={argument}" for argument in arguments]
    return run_app(main, FLAGS, __doc__ or "", [program, *named])


if __name__ == "__main__":
    sys.exit(run())
