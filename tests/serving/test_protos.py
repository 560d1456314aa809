"""The compiled messages are those of the `.proto` files."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "tflm" / "serving" / "protos"
COMPILED = sorted(path.name for path in [*FOLDER.glob("*_pb2.py"), *FOLDER.glob("*_pb2.pyi")])


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The folder that `make protos` would write."""
    folder = tmp_path_factory.mktemp("protos")
    sources = [str(path.relative_to(ROOT)) for path in sorted(FOLDER.glob("*.proto"))]
    options = ["--proto_path=.", f"--python_out={folder}", f"--pyi_out={folder}"]
    # In a process of its own: the compiler and TensorFlow in one process crash.
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, *sources], cwd=ROOT, check=True)
    return folder / "tflm" / "serving" / "protos"


def test_every_file_is_compiled(compiled):
    assert sorted(path.name for path in compiled.iterdir()) == COMPILED


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_files_are_up_to_date(compiled, name):
    expected = (compiled / name).read_text(encoding="utf-8")
    assert (FOLDER / name).read_text(encoding="utf-8") == expected, "run: make protos"
