import pytest

from tflm.data import DataConfig, read_examples
from tflm.data.sources.docstring_questions import read_docstring_questions
from tflm.data.sources.docstrings import read_docstrings, split_docstring
from tflm.errors import UserError

SOURCE = '''
class Adder:
    """Adds what it is given.

    It keeps a running total, which never overflows.
    """

    async def add(self, x):
        """Adds one number
        to the total.

        Args:
            x: 一个数 (a finite number).
        """

        def inner():
            r"""Escapes are kept: \\d here.

            An inner function counts as well.
            """

def bare(): pass

def short():
    """Too short a body here.

    Tiny.
    """
'''
COPY = '''
def other_name():
    """Another summary of the same body.

    It   keeps a RUNNING total,
    which never overflows.
    """
'''


@pytest.fixture
def packages(write, tmp_path):
    write("lib/b/mod.py", SOURCE)
    write("lib/c/copy.py", COPY)
    write("lib/c/broken.py", "def f(:\n")
    write("lib/c/null.py", "x = '\0'\n")
    for name in ("b/tests/mod.py", "b/test_mod.py", "b/mod_test.py", "b/conftest.py", "b/note.txt"):
        write(f"lib/{name}", SOURCE.replace("total", name))
    return str(tmp_path / "lib")


def test_bodies_and_summaries_in_order_without_tests_and_copies(packages):
    rows = list(read_docstrings(packages))
    assert [(row.line, row.example["target"]) for row in rows] == [
        (2, "Adds what it is given."),
        (8, "Adds one number to the total."),
        (16, "Escapes are kept: \\d here."),
    ]
    assert rows[0].file.endswith("lib/b/mod.py")
    assert rows[0].example["source"] == "It keeps a running total, which never overflows."
    assert rows[1].example["source"] == "Args:\n    x: 一个数 (a finite number)."


@pytest.mark.parametrize("read", [read_docstrings, read_docstring_questions])
def test_files_that_do_not_parse_give_a_warning(packages, write, read, caplog):
    list(read(packages))
    words = "2 of 4 files cannot be parsed as Python source and are skipped; the first is"
    assert f"{words} {packages}/c/broken.py" in caplog.text


def test_a_few_files_that_do_not_parse_give_none(write, tmp_path, caplog):
    for number in range(120):
        write(f"most/m{number}.py", "x = 1\n")
    write("most/wide.py", SOURCE.encode("utf-16-le"))
    list(read_docstrings(str(tmp_path / "most")))
    assert "left out" not in caplog.text


def test_whole_docstrings_and_their_packages(packages, write):
    write("lib/single.py", COPY.replace("RUNNING", "walking"))
    texts = [row.example for row in read_docstrings(packages, text_column="docstring")]
    assert texts[1] == {"text": "Adds what it is given.\n\nIt keeps a running total, which never overflows."}
    for path in (packages, packages + "/"):
        rows = list(read_docstrings(path, label_column="package"))
        assert [row.example["text"] for row in rows] == [example["text"] for example in texts]
        assert [row.example["label"] for row in rows] == ["single", "b", "b", "b"]
    assert [row.key for row in rows[:2]] == ["Another summary of the same body.", "Adds what it is given."]


def test_a_package_with_less_than_a_hundredth_of_the_docstrings_is_no_label(write, tmp_path):
    function = 'def f{0}():\n    """Summary number {0}.\n\n    The body of it is number {0}.\n    """\n'
    write("many/large.py", "\n".join(function.format(n) for n in range(198)))
    write("many/small.py", "\n".join(function.format(n) for n in (1000, 1001, 1002)))
    write("many/one.py", function.format(2000))
    folder = str(tmp_path / "many")
    labels = [row.example["label"] for row in read_docstrings(folder, label_column="package")]
    assert (labels.count("large"), labels.count("small"), len(labels)) == (198, 3, 201)
    assert len(list(read_docstrings(folder, text_column="docstring"))) == 202, "without labels all stay"


@pytest.mark.parametrize(
    "docstring",
    [
        "Only a summary, no body.",
        "Short\n\nThe body is long enough to be kept here.",
        "A summary " + "with many words " * 20 + "\n\nThe body is long enough to be kept here.",
        "Args:\n  x: a number\n\nReturns a number that is made of the other one.",
        "The keys are these:\n\nThe body is long enough to be kept here.",
        ">>> not a summary\n\nThe body is long enough to be kept here.",
        "TODO: write this\n\nThe body is long enough to be kept here.",
    ],
)
def test_what_is_no_pair(docstring):
    assert split_docstring(docstring) is None


def test_neither_bodies_nor_summaries_are_on_both_sides(write, tmp_path):
    function = 'def f{}():\n    """Summary number {}.\n\n    Body {} that is long enough to keep.\n    """\n'
    functions = [function.format(i, i % 60, i % 150) for i in range(300)]
    write("lib/all.py", "\n".join(functions))
    config = DataConfig("docstrings", path=str(tmp_path / "lib"), eval_fraction=0.3)
    train, held_out = (list(read_examples(config, split)) for split in ("train", "eval"))
    assert len(train) + len(held_out) == 150
    assert len(held_out) > 15
    for key in ("source", "target"):
        assert not {e[key] for e in train} & {e[key] for e in held_out}


def test_a_path_that_is_no_folder():
    with pytest.raises(UserError, match="needs a folder of Python sources; 'absent' is not a folder"):
        list(read_docstrings("absent"))
