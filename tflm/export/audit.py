"""Audit of a SavedModel: the ops of each signature, and whether stock TensorFlow Serving supports them.

A stock server links core TensorFlow and tensorflow-text. It has no Python, and XLA compilation is disabled unless it is
started with a flag, so a model that needs either would load in Python and fail on the server. Therefore only
signatures with names ending in `_xla` may contain functions compiled by XLA.
"""

import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.framework import kernels

from tflm.errors import UserError
from tflm.export.signatures import is_compiled, read_meta_graph, user_signatures
from tflm.export.text_ops import LACKING_TEXT_OPS, TEXT_OPS

_PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
_INIT_SIGNATURE = "__saved_model_init_op"  # initializes the lookup tables
_XLA_REMEDY = (
    "Trace it without jit_compile=True, or end the signature's name in _xla: a stock server starts with XLA "
    "compilation disabled."
)


def audit_ops(path: str) -> dict[str, tuple[str, ...]]:
    """The ops of each signature that are not in core TensorFlow.

    Visits every node that the outputs of the signature depend on, every node of every reachable function, and the
    initializer, which all signatures share.

    Args:
        path: a SavedModel folder.
    Returns:
        Sorted op names by signature; an empty tuple for core ops only.
    Raises:
        UserError: an op that a stock server does not link, Python code, a function that must be compiled by XLA in a
            signature without the suffix `_xla`, or that suffix without such a function.
    """
    meta_graph = read_meta_graph(path)
    graph = _Graph(meta_graph)
    needed = {}
    for name in user_signatures(meta_graph):
        ops, compiled = set(), False
        for place, node in graph.reachable((name, _INIT_SIGNATURE)):
            remedy = _XLA_REMEDY if node.must_compile and not is_compiled(name) else node.remedy
            if remedy:
                raise UserError(
                    f"signature {name!r} needs {node.op!r} (node {node.name!r} in {place}). {remedy}"
                )
            compiled |= node.must_compile
            ops.add(node.op)
        if is_compiled(name) and not compiled:
            raise UserError(
                f"signature {name!r} has nothing that XLA compiles. Trace a part of it with jit_compile=True, or give "
                "it a name that does not end in _xla: warm-up passes such signatures over."
            )
        needed[name] = tuple(sorted(ops & TEXT_OPS))
    return needed


def text_ops_in(path: str) -> tuple[str, ...]:
    """All tensorflow-text ops in a SavedModel, which must be registered before loading it."""
    graph_def = read_meta_graph(path).graph_def
    bodies = [graph_def.node, *(function.node_def for function in graph_def.library.function)]
    return tuple(sorted({node.op for body in bodies for node in body} & TEXT_OPS))


@functools.cache
def core_ops() -> frozenset[str]:
    """Ops of core TensorFlow with a CPU kernel, independent of op libraries loaded by this process.

    `tf.raw_ops` is generated when TensorFlow is built: it has no ops of libraries loaded later, and no ops that exist
    for XLA only (`XlaDynamicUpdateSlice`, whose CPU kernel calls the compiler).
    """
    registered = kernels.get_all_registered_kernels().kernel
    runnable = {kernel.op for kernel in registered if kernel.device_type in ("CPU", "DEFAULT")}
    return frozenset(runnable.intersection(dir(tf.raw_ops)))


class _Node(NamedTuple):
    """What the audit reads of a node."""

    name: str
    op: str
    inputs: tuple[str, ...]
    called: tuple[str, ...]
    """Functions that it calls."""
    must_compile: bool
    """Whether it calls a function that must be compiled by XLA."""
    remedy: str
    """Of an op that an export must not contain; "" for allowed ops."""


class _Graph:
    """The nodes of a graph and of its functions, each read once whatever number of signatures reach it."""

    def __init__(self, meta_graph: meta_graph_pb2.MetaGraphDef) -> None:
        self._signatures = meta_graph.signature_def
        self._functions = {
            function.signature.name: function for function in meta_graph.graph_def.library.function
        }
        self._nodes = {node.name: self._read(node) for node in meta_graph.graph_def.node}
        self._bodies: dict[str, list[_Node]] = {}

    def reachable(self, signatures: Iterable[str]) -> Iterator[tuple[str, _Node]]:
        """(location, node) of all nodes that the outputs of the signatures depend on."""
        waiting = [
            _node_name(output.name)
            for signature in signatures
            if signature in self._signatures
            for output in self._signatures[signature].outputs.values()
        ]
        waiting_functions: list[str] = []
        seen = set(waiting)
        while waiting:
            node = self._nodes[waiting.pop()]
            yield "the main graph", node
            waiting_functions.extend(node.called)
            sources = set(node.inputs) - seen
            seen |= sources
            waiting.extend(sources)
        seen_functions = set()
        while waiting_functions:
            name = waiting_functions.pop()
            if name in seen_functions:
                continue
            seen_functions.add(name)
            for node in self._body(name):
                yield f"function {name!r}", node
                waiting_functions.extend(node.called)

    def _body(self, name: str) -> list[_Node]:
        if name not in self._bodies:
            self._bodies[name] = [self._read(node) for node in self._functions[name].node_def]
        return self._bodies[name]

    def _read(self, node: node_def_pb2.NodeDef) -> _Node:
        functions, values = self._functions, list(node.attr.values())
        names = [node.op, *(value.func.name for value in values if value.HasField("func"))]
        names += [function.name for value in values if value.HasField("list") for function in value.list.func]
        called = tuple(name for name in names if name in functions)
        flag = "_XlaMustCompile"
        must_compile = (flag in node.attr and node.attr[flag].b) or any(
            flag in functions[name].attr and functions[name].attr[flag].b for name in called
        )
        inputs = tuple(_node_name(source) for source in node.input)
        return _Node(node.name, node.op, inputs, called, must_compile, self._refusal(node.op))

    def _refusal(self, op: str) -> str:
        if op in _PYTHON_OPS:
            return "It calls Python, which a server does not have. Replace tf.py_function by TensorFlow ops."
        if op in LACKING_TEXT_OPS:
            return f"It is {LACKING_TEXT_OPS[op]}. Use other ops."
        if op in TEXT_OPS or op in self._functions or op in core_ops():
            return ""
        if op.startswith("Xla"):
            return "It runs through the XLA compiler, which a stock server disables. Use a core op instead."
        return "Stock servers do not link it. Use the ops of TensorFlow and tensorflow-text alone."


def _node_name(tensor: str) -> str:
    """The node name of a tensor name: `^a`, `a` and `a:1` give `a`."""
    return tensor.lstrip("^").split(":")[0]
