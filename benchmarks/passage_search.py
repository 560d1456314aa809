"""The search of passages in time: tflm's index beside plain NumPy, over the same vectors of real text.

    python benchmarks/passage_search.py --embedder=saved_models/NAME

Cuts the sources of the installed packages into passages, embeds them, and asks for each of some docstrings' summaries.
Prints a table: median and 95th percentile of one search among 100,000 passages. NumPy's is the product of all vectors
with that of the question and `argpartition`; its passages are compared with the index's. The last line is a whole
question: embedding it, vectors and words together, and the passages' texts.
"""

import os
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable

import numpy as np
from absl import app, flags

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tflm.data.sources.docstrings import read_docstrings
from tflm.evaluation.metrics.retrieval import unit_rows
from tflm.retrieval.embedder import Embedder
from tflm.retrieval.index import PassageIndex
from tflm.retrieval.index_folder import read_index
from tflm.retrieval.passages import cut_document, find_documents
from tflm.serving import connect

flags.DEFINE_string("embedder", None, "A SavedModel with the signature embed.", required=True)
flags.DEFINE_string("sources", sysconfig.get_path("purelib"), "A folder of Python packages.")
flags.DEFINE_integer("num_passages", 100_000, "Passages to search.", lower_bound=1)
flags.DEFINE_integer("num_questions", 200, "Searches to time.", lower_bound=2)
flags.DEFINE_integer("k", 10, "Passages to find.", lower_bound=1)


def first_files(folder: str, num_passages: int) -> list[str]:
    """The first files, in order, that together have that number of passages."""
    files, total = [], 0
    for file in find_documents([folder]):
        with open(file, "rb") as source:
            total += len(cut_document(source.read(), file)[0])
        files.append(file)
        if total >= num_passages:
            return files
    raise SystemExit(
        f"{folder} has {total:,} passages; {num_passages:,} were asked for. Give other --sources."
    )


def times(run_fns: dict[str, Callable[[int], object]], count: int) -> dict[str, list[float]]:
    """Milliseconds of each of some calls, the functions in turn, after one round that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in run_fns}
    for number in (0, *range(count)):
        for name, run_fn in run_fns.items():
            begin = time.perf_counter()
            run_fn(number)
            found[name].append(1000 * (time.perf_counter() - begin))
    return {name: milliseconds[1:] for name, milliseconds in found.items()}


def numpy_search(vectors: np.ndarray, query: np.ndarray, k: int) -> np.ndarray:
    """The rows of the k largest products, from high to low."""
    products = vectors @ query
    best = np.argpartition(-products, k)[:k]
    return best[np.argsort(-products[best], kind="stable")]


def main(argv: list[str]) -> None:
    """Prints the table; what it took to get there to standard error."""
    del argv
    values, clock = flags.FLAGS, time.perf_counter
    embedder, count, k = Embedder(connect(values.embedder)), values.num_questions, values.k
    files = first_files(values.sources, values.num_passages)
    rows = read_docstrings(values.sources)
    questions = [row.example["target"] for row, _ in zip(rows, range(count))]
    with tempfile.TemporaryDirectory() as folder:
        begin = clock()
        index = PassageIndex.open_or_create(folder, embedder)
        index.update(files)
        made = clock() - begin
        begin = clock()
        index = PassageIndex.open_or_create(folder, embedder)
        index.update(files)
        opened = clock() - begin
        begin = clock()
        index.closest(questions[0], k)
        weighed = clock() - begin
        vectors = read_index(folder).vectors.reconstruct_n(0, len(index))
    print(
        f"# {len(index):,} passages of {len(files):,} files: embedded and written in {made:.0f} s; opened again in "
        f"{opened:.1f} s; their words weighed in {weighed:.1f} s; {os.cpu_count()} cores",
        file=sys.stderr,
    )
    queries = unit_rows(embedder(questions))
    for query in queries:
        ours, theirs = (vectors @ query)[index.search(query[None], k)[0][0]], vectors @ query
        np.testing.assert_allclose(ours, theirs[numpy_search(vectors, query, k)], atol=1e-5)
    print(f"| {len(index):,} passages, {vectors.shape[1]} numbers each | median, ms | 95th percentile, ms |")
    print("|---|---|---|")
    run_fns: dict[str, Callable[[int], object]] = {
        "vectors, PassageIndex.search": lambda n: index.search(queries[n : n + 1], k),
        "vectors, NumPy": lambda n: numpy_search(vectors, queries[n], k),
        "a question, PassageIndex.closest": lambda n: index.closest(questions[n], k),
    }
    for name, found in times(run_fns, count).items():
        print(f"| {name} | {statistics.median(found):.1f} | {np.percentile(found, 95):.1f} |")


if __name__ == "__main__":
    app.run(main)
