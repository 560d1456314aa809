"""Settings for every test: quiet TensorFlow, two CPU threads, no accelerator, float32 unless a test says so."""

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def pytest_collection_modifyitems(config, items):
    """Tests that share what takes long to make go to one process: those of a file, and all of apps."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            apps = item.path.parent.name == "apps"
            item.add_marker(pytest.mark.xdist_group("apps" if apps else str(item.path)))
