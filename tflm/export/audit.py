"""Which ops a SavedModel needs, signature by signature, and whether a stock TensorFlow Serving has them.

A stock server links TensorFlow's own ops and tensorflow-text. It has no Python, and it refuses to compile
with XLA unless it was started with a flag; a model that needs either would load here and fail there. So only
a signature whose name ends in `_xla` may have functions that XLA compiles.
"""

import functools
from collections.abc import Iterable, Iterator

import tensorflow as tf
from tensorflow.core.framework import function_pb2, node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.framework import kernels

from tflm.errors import UserError
from tflm.export.signatures import is_compiled, read_meta_graph, user_signatures
from tflm.export.text_ops import LACKING_TEXT_OPS, TEXT_OPS

_PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
_INIT_SIGNATURE = "__saved_model_init_op"  # fills the tables before any request
_XLA_REMEDY = (
    "Trace it without jit_compile=True, or end the signature's name in _xla: a stock server starts with XLA "
    "compilation disabled."
)


def audit_ops(path: str) -> dict[str, tuple[str, ...]]:
    """The ops beyond TensorFlow's core that each signature needs.

    Every node that the signature's outputs depend on is looked at, and every node of every function reachable
    from there, and the initialiser, which all signatures share.

    Args:
        path: a SavedModel folder.
    Returns:
        Signature name to sorted op names; an empty tuple means core ops only.
    Raises:
        UserError: an op that a stock server does not link, Python code, a function that must be compiled by
            XLA in a signature whose name does not end in `_xla`, or a name that ends so for no reason.
    """
    meta_graph = read_meta_graph(path)
    functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    needed = {}
    for name in user_signatures(meta_graph):
        ops, compiled = set(), False
        for place, node in _reachable(meta_graph, functions, (name, _INIT_SIGNATURE)):
            must_compile = _must_compile(node, functions)
            remedy = _refusal(node, functions)
            if must_compile and not is_compiled(name):
                remedy = _XLA_REMEDY
            if remedy:
                raise UserError(
                    f"signature {name!r} needs {node.op!r} (node {node.name!r} in {place}). {remedy}"
                )
            compiled |= must_compile
            ops.add(node.op)
        if is_compiled(name) and not compiled:
            raise UserError(
                f"signature {name!r} has nothing that XLA compiles. Trace a part of it with jit_compile=True, or give "
                "it a name that does not end in _xla: warm-up passes such signatures over."
            )
        needed[name] = tuple(sorted(ops & TEXT_OPS))
    return needed


def text_ops_in(path: str) -> tuple[str, ...]:
    """The tensorflow-text ops anywhere in a SavedModel; they must be registered before it is loaded."""
    graph_def = read_meta_graph(path).graph_def
    bodies = [graph_def.node, *(function.node_def for function in graph_def.library.function)]
    return tuple(sorted({node.op for body in bodies for node in body} & TEXT_OPS))


@functools.cache
def core_ops() -> frozenset[str]:
    """Ops of TensorFlow itself with a kernel that a CPU server can run, whatever this process has loaded
    since.

    `tf.raw_ops` was generated when TensorFlow was built, so op libraries that are loaded later do not enter
    it, nor do the ops that exist for XLA alone (`XlaDynamicUpdateSlice`: its CPU kernel calls the compiler).
    """
    registered = kernels.get_all_registered_kernels().kernel
    runnable = {kernel.op for kernel in registered if kernel.device_type in ("CPU", "DEFAULT")}
    return frozenset(runnable.intersection(dir(tf.raw_ops)))


def _refusal(node: node_def_pb2.NodeDef, functions: dict[str, function_pb2.FunctionDef]) -> str:
    """What to do about an op that may not be in an export; empty if it may."""
    if node.op in _PYTHON_OPS:
        return "It calls Python, which a server does not have. Replace tf.py_function by TensorFlow ops."
    if node.op in LACKING_TEXT_OPS:
        return f"It is {LACKING_TEXT_OPS[node.op]}. Use other ops."
    if node.op in TEXT_OPS or node.op in functions or node.op in core_ops():
        return ""
    if node.op.startswith("Xla"):
        return "It runs through the XLA compiler, which a stock server disables. Use a core op instead."
    return "Stock servers do not link it. Use the ops of TensorFlow and tensorflow-text alone."


def _must_compile(node: node_def_pb2.NodeDef, functions: dict[str, function_pb2.FunctionDef]) -> bool:
    """Whether it calls a function that nothing but XLA may run."""
    called = [node.op, *_called_functions(node)]
    return node.attr["_XlaMustCompile"].b or any(
        functions[name].attr["_XlaMustCompile"].b for name in called if name in functions
    )


def _reachable(
    meta_graph: meta_graph_pb2.MetaGraphDef,
    functions: dict[str, function_pb2.FunctionDef],
    signatures: Iterable[str],
) -> Iterator[tuple[str, node_def_pb2.NodeDef]]:
    """(where it stands, node) for all nodes that the outputs of the signatures depend on."""
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    waiting = [
        _node_name(output.name)
        for signature in signatures
        if signature in meta_graph.signature_def
        for output in meta_graph.signature_def[signature].outputs.values()
    ]
    waiting_functions: list[str] = []
    seen = set(waiting)
    while waiting:
        node = nodes[waiting.pop()]
        yield "the main graph", node
        waiting_functions.extend([node.op, *_called_functions(node)])
        sources = {_node_name(source) for source in node.input} - seen
        seen |= sources
        waiting.extend(sources)
    seen_functions = set()
    while waiting_functions:
        name = waiting_functions.pop()
        if name in seen_functions or name not in functions:
            continue
        seen_functions.add(name)
        for node in functions[name].node_def:
            yield f"function {name!r}", node
            waiting_functions.extend([node.op, *_called_functions(node)])


def _called_functions(node: node_def_pb2.NodeDef) -> list[str]:
    names = [value.func.name for value in node.attr.values() if value.HasField("func")]
    return names + [function.name for value in node.attr.values() for function in value.list.func]


def _node_name(tensor: str) -> str:
    """`^a`, `a` and `a:1` are all about node `a`."""
    return tensor.lstrip("^").split(":")[0]
