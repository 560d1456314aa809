"""Settings for every test: quiet TensorFlow, two CPU threads, no accelerator, float32 unless a test says so."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import gc

import pytest


@pytest.fixture(autouse=True, scope="module")
def collected():
    """Graphs hold much memory in few Python objects, so that Python would be late to collect them."""
    yield
    gc.collect()
