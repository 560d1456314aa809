"""Exports of earlier versions ask TensorFlow to optimize each called function: most of the time of a first run."""

import contextlib
from collections.abc import Iterator
from unittest import mock

from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.saved_model.loader_impl import SavedModelLoader


@contextlib.contextmanager
def functions_as_written() -> Iterator[None]:
    """Within, functions of exports that are loaded are not optimized in this process."""
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    off, find = config.SerializeToString(), SavedModelLoader.get_meta_graph_def_from_tags

    def find_unoptimized(loader: SavedModelLoader, tags: list[str]) -> meta_graph_pb2.MetaGraphDef:
        found = find(loader, tags)
        for nodes in (found.graph_def.node, *(each.node_def for each in found.graph_def.library.function)):
            for node in nodes:
                if "config_proto" in node.attr:
                    node.attr["config_proto"].s = off
        return found

    with mock.patch.object(SavedModelLoader, "get_meta_graph_def_from_tags", find_unoptimized):
        yield
