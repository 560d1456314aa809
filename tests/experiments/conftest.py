"""An experiment of a second: an LSTM over the bytes of a few lines."""

import shutil

import pytest

from tflm.config import override
from tflm.experiments import Experiment
from tflm.export.verify import as_written
from tflm.recipes import load_preset

LINES = [f"line {number} of a poem, 第{number}行诗" for number in range(40)]
TINY = [
    "model.hidden_dim=16",
    "model.max_length=16",
    "training.num_steps=2",
    "training.global_batch_size=4",
    "data.document=line",
    "data.eval_fraction=0.2",
]


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    """Of an LSTM on a poem."""
    path = tmp_path_factory.mktemp("data") / "poem.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return override(load_preset("tiny_lstm"), [*TINY, f"data.path={path}"])


@pytest.fixture
def experiment(config, tmp_path):
    """Begun, but not trained."""
    return Experiment.create(config, str(tmp_path / "run"))


@pytest.fixture(scope="session")
def trained_once(config, tmp_path_factory):
    """The folder of a run after its two steps; tests work on copies."""
    experiment = Experiment.create(config, str(tmp_path_factory.mktemp("trained") / "run"))
    experiment.trainer().train(experiment.batches("train", training=True), None)
    return experiment.workdir


@pytest.fixture
def trained(trained_once, tmp_path):
    """After its two steps."""
    shutil.copytree(trained_once, tmp_path / "run")
    return Experiment.open(str(tmp_path / "run"))


@pytest.fixture(autouse=True, scope="module")
def without_graph_optimizer():
    """These graphs run a few times each: to optimise them takes longer than to run them."""
    with as_written():
        yield
