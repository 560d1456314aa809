"""Settings for every test: quiet TensorFlow, two CPU threads, no accelerator, float32 unless a test says so."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# What XLA compiles runs once or twice: to optimise it takes longer.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

import contextlib
import gc
import inspect
import pathlib
import resource
import sys

import pytest

from tests import verifier
from tests.resident import resident_gigabytes

_GROWTH = 0.5
"""Gigabytes after which graphs of earlier tests are collected."""
_collected_at = [0.0]


def pytest_sessionstart():
    """Graphs are many Python objects that live for long: to look through them at times of Python's choice takes a tenth
    of all time."""
    gc.disable()


def pytest_runtest_teardown():
    """Graphs of earlier tests hold much memory."""
    if resident_gigabytes() > _collected_at[0] + _GROWTH:
        gc.collect()
        _collected_at[0] = resident_gigabytes()


@pytest.fixture(autouse=True, scope="session")
def own_store_cache(tmp_path_factory):
    """Tokenised data of tests, and of the processes that they start, is not kept in the user's home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFLM_CACHE", str(tmp_path_factory.mktemp("stores")))
        yield


@pytest.fixture(autouse=True, scope="session")
def shared_verifier():
    """`tests.parallel` has one server for the fresh processes that verify exports."""
    with pytest.MonkeyPatch.context() as patch:
        if verifier.SOCKET in os.environ:
            patch.setattr("tflm.export.verify._run_child", verifier.run)
        yield


_ONLY_USE_EXPORTS = (
    "apps/",
    "serving/",
    "test_docs.py",
    "test_extending.py",
    "test_generation_benchmark.py",
)
"""Tests that make exports to ask them or to read them."""


@pytest.fixture(autouse=True, scope="module")
def verified_where_it_is_tested(request):
    """Exports are verified in a fresh process, which takes a third of their time. Those that are only a means are not,
    unless `verified` is asked for."""
    place = request.path.relative_to(pathlib.Path(__file__).parent).as_posix()
    with pytest.MonkeyPatch.context() as patch:
        if place.startswith(_ONLY_USE_EXPORTS):
            patch.setattr("tflm.export.write.verify_export", lambda *_: None)
            patch.setattr("tflm.export.write.answers_in_memory", _answers_of_the_card)
        yield


def _answers_of_the_card(signatures, requests):
    """Of one signature, whose outputs the model card shows; those of the others are only compared."""
    from tflm.export.verify import answers_in_memory

    return answers_in_memory({name: each for name, each in signatures.items() if name == "decode"}, requests)


@pytest.fixture(scope="session")
def verified():
    """`with verified():` exports are verified, whatever the folder."""

    @contextlib.contextmanager
    def context():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tflm.export.write.verify_export", verify_export)
            patch.setattr("tflm.export.write.answers_in_memory", answers_in_memory)
            yield

    from tflm.export.verify import answers_in_memory, verify_export

    return context


def pytest_runtest_setup():
    """TensorFlow's graph optimizer takes most of the time of a function's first run, and no test measures the others.
    Where an op was made is kept for messages; to find it takes a tenth of the time of tracing. Processes that a test
    starts keep both. Where TensorFlow is not imported yet, the next test turns them off."""
    if tensorflow := sys.modules.get("tensorflow"):
        tensorflow.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
        create = inspect.unwrap(sys.modules["tensorflow.python.framework.ops"]._create_c_op)
        if create.__defaults__ == (None, True):  # op_def, extract_traceback
            create.__defaults__ = (None, False)


@pytest.fixture(scope="module")
def functions_as_written():
    """Functions of an older export, which asks for the optimizer itself, are not optimized either in this process."""
    from tests import older_exports

    with older_exports.functions_as_written():
        yield


def _bfloat16_crashes() -> bool:
    """Where oneDNN may use less than TensorFlow sees in the processor, a product of bfloat16 ends the process."""
    most = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    known = pathlib.Path("/proc/cpuinfo")
    return (
        not most.startswith(("ALL", "DEFAULT", "AVX512_CORE", "AVX10"))
        and known.is_file()
        and "avx512f" in known.read_text(encoding="utf-8")
    )


@pytest.fixture(autouse=True, scope="module")
def bfloat16_where_it_works():
    """Skips what computes in bfloat16 where that would end the process, and all tests of it."""
    with pytest.MonkeyPatch.context() as patch:
        if _bfloat16_crashes():
            import keras

            set_policy = keras.config.set_dtype_policy

            def set_dtype_policy(policy):
                if "bfloat16" in getattr(policy, "name", policy):
                    pytest.skip(
                        "TensorFlow crashes at a product of bfloat16 under this ONEDNN_MAX_CPU_ISA; to test it: "
                        "unset ONEDNN_MAX_CPU_ISA, or set it to AVX512_CORE"
                    )
                set_policy(policy)

            patch.setattr(keras.config, "set_dtype_policy", set_dtype_policy)
        yield


@pytest.fixture
def largest_file():
    """`with largest_file(4096):` no file can be written beyond that size, as on a disk without space. Any process may
    limit itself, and Python ignores the signal that comes with it."""

    @contextlib.contextmanager
    def limit(size):
        kept = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, kept[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, kept)

    return limit
