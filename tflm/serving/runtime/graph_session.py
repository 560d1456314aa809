"""A SavedModel in a session of its own: what TensorFlow Serving does with it, and all memory comes back at the end.

`tf.saved_model.load` keeps what it loaded until the process ends (TensorFlow 2.21: 230 MB for each load of a chat), and
cannot end one call among several. A session frees everything when it is closed. It has no way to end one of its runs
either, but a run ends when an op in it fails; so each has an op that waits on a queue and fails on demand.
"""

import contextlib
import ctypes
import functools
import gc
import os
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.saved_model import loader_impl

from tflm.export import load_text_ops, text_ops_in
from tflm.export.signatures import read_meta_graph, user_signatures
from tflm.serving.runtime.cancellation import Cancellation

NUM_CORES = os.cpu_count() or 1
_CANCELLED = "cancelled by tflm"
_NUM_REPEATS = 3  # of a failed run, by the same callable, before another one is made


class GraphSession:
    """A loaded SavedModel, for any number of threads.

        session = GraphSession("saved_models/chat/1")
        session.run("serving_default", {"text": np.array([b"Hello"], object)})     # {'text': array([b'Hi.'], object)}
        session.close()

    Attributes:
        signature_defs: signature name to its `SignatureDef` message.
        graph: the `tf.Graph`; more may be added to it.
    """

    def __init__(self, path: str, max_runs: int = NUM_CORES, num_more_threads: int = 0) -> None:
        """Loads.

        Args:
            max_runs: how many run at a time; others wait.
            num_more_threads: for what runs in the graph without `run`.
        Raises:
            UserError, ValueError, OSError, tf.errors.OpError, and others of the loader: not a whole SavedModel.
        """
        meta_graph = read_meta_graph(path)
        if text_ops_in(path):
            load_text_ops()
        self.signature_defs = _signature_defs(meta_graph)
        self.graph = tf.Graph()
        config = config_pb2.ConfigProto()
        # The optimizer would take three quarters of the seconds that a first run takes, and gains nothing after it:
        # measured, with equal answers, for models that write and that classify, in batches of 1 to 32.
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        # A loop holds a thread while it runs. With one for each core, which is the default, as many loops would keep
        # all other runs waiting, and the words that are to end them. More threads than this make all runs slower.
        config.use_per_session_threads = True
        config.inter_op_parallelism_threads = max_runs + num_more_threads + 1
        self._session = tf.compat.v1.Session(graph=self.graph, config=config)
        self._lock = threading.Lock()
        self._callables: dict[tuple, Any] = {}
        self._making: dict[tuple, threading.Lock] = {}
        try:
            with self.graph.as_default(), self._session.as_default():
                loader_impl.SavedModelLoader(path).load(self._session, ["serve"])
            # SentencePiece logs when it first runs: here, not in the middle of a chat.
            self._session.run([op for op in self.graph.get_operations() if op.type == "SentencepieceOp"])
            with self.graph.as_default():
                self._brakes = _Brakes(self, max_runs)
        except BaseException:
            self.close()
            raise

    def run(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        cancellation: Cancellation | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature: a key of `signature_defs`.
            inputs: an array for each input; those with a default may be left out.
            cancellation: ends the run when it is cancelled.
        Raises:
            ValueError: an input without a default is missing.
            tf.errors.CancelledError: it was cancelled.
            tf.errors.OpError: it failed.
        """
        definition = self.signature_defs[signature]
        feeds = [definition.inputs[name].name for name in definition.inputs]
        fetches = [definition.outputs[name].name for name in definition.outputs]
        if missing := set(definition.inputs) - set(inputs) - set(definition.defaults):
            raise ValueError(f"signature {signature!r} needs {sorted(missing)}, which were not given.")
        arrays = [
            inputs[name] if name in inputs else tf.make_ndarray(definition.defaults[name])
            for name in definition.inputs
        ]
        # With or without a cancellation it is one callable: each has its own copy of the graph, made in seconds.
        cancellation = cancellation or Cancellation()
        try:
            with self._brakes.under(cancellation, signature) as (number, array, targets):
                values = self.call([*feeds, number], fetches, targets)(*arrays, array)
        except tf.errors.CancelledError:
            if cancellation.is_cancelled:
                raise
            values = self._repeat(signature, feeds, fetches, arrays)
        return dict(zip(definition.outputs, map(_array, values), strict=True))

    def _repeat(self, signature: str, feeds: list[str], fetches: list[str], arrays: list[Any]) -> Any:
        """Runs again what failed with the waiting op's error in place of its own: an op's failure also ends the wait.

        The same callable is used first, since another one takes seconds to make. Its waiting op finds "go on" at once.
        Where it has not begun when the other op fails, TensorFlow may report it again; the last try has no such op.
        """
        for _ in range(_NUM_REPEATS):
            with (
                contextlib.suppress(tf.errors.CancelledError),
                self._brakes.released(signature) as (number, array, targets),
            ):
                return self.call([*feeds, number], fetches, targets)(*arrays, array)
        return self.call(feeds, fetches)(*arrays)

    def call(self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str] = ()) -> Any:
        """A function of arrays for the tensors `feeds` that gives those of `fetches`, and runs the ops `targets`. Made
        once; the names are as in the graph."""
        key = (*feeds, None, *fetches, None, *targets)
        with self._lock:
            lock = self._making.setdefault(key, threading.Lock())
        with lock:  # it takes seconds, in which others may run
            if key not in self._callables:
                options = config_pb2.CallableOptions(feed=feeds, fetch=fetches, target=targets)
                self._callables[key] = self._session._make_callable_from_options(options)
            return self._callables[key]

    def close(self) -> None:
        """Gives the memory back, which is also done when nothing refers to it any more. Nothing may be running."""
        self._callables.clear()
        self._session.close()
        self.__dict__.clear()
        gc.collect()  # a graph holds itself in circles
        with contextlib.suppress(OSError, AttributeError):  # elsewhere than with glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)


class _Brakes:
    """The ops that end a run.

    A run takes a number, and each number has a queue. An op of the run waits on that queue for a word. When the run has
    ended it says "go on" itself; a cancellation says "stop", on which the waiting op fails and TensorFlow aborts the
    whole run.
    """

    def __init__(self, session: GraphSession, max_runs: int) -> None:
        """Adds to the session's graph."""
        self._session, self._max_runs = session, max_runs
        self._free: queue.LifoQueue[int] = queue.LifoQueue()
        for number in range(max_runs):
            self._free.put(number)
        self._number = tf.compat.v1.placeholder(tf.int32, [], "run_number")
        self._word = tf.compat.v1.placeholder(tf.bool, [], "run_word")
        no = tf.constant(False)
        take, say = self._at_queue(_take), self._at_queue(_say)
        size = self._at_queue(lambda waiting, _: tf.raw_ops.QueueSizeV2(handle=waiting))
        self._wait = tf.raw_ops.Assert(condition=~take(self._number, no), data=[_CANCELLED])
        self._said = say(self._number, self._word).op
        self._size = size(self._number, no)
        self._empty = take(self._number, no)
        self._ends: dict[str, str] = {}
        for name, definition in session.signature_defs.items():
            # A sparse output has no name of its own; a signature of none but those is not ended.
            names = [entry.name for entry in definition.outputs.values() if entry.name]
            outputs = [session.graph.get_tensor_by_name(each) for each in names]
            # "Go on" is computed from the outputs: a control dependency on a function without side effects is met
            # before it has run, once TensorFlow has put its body in its place.
            shown = tf.strings.format("{}" * len(outputs), outputs, summarize=1)
            self._ends[name] = say(self._number, tf.equal(shown, "")).op.name

    @contextlib.contextmanager
    def under(self, cancellation: Cancellation, signature: str) -> Iterator[tuple[str, np.int32, list[str]]]:
        """What a run of a signature is fed in addition, a tensor's name and the value; and the ops that it has to
        run as well.

        Raises:
            tf.errors.CancelledError: the run was cancelled.
        """
        say = self._say()
        number = self._free.get()
        array = np.int32(number)
        try:
            with cancellation.calls(lambda: say(array, np.True_)):
                yield self._number.name, array, [self._wait.name, self._ends[signature]]
        except tf.errors.OpError as error:
            if cancellation.is_cancelled:
                raise tf.errors.CancelledError(None, None, "The request was cancelled.") from error
            raise
        finally:
            if cancellation.is_cancelled:
                self._clear(array)
            self._free.put(number)

    @contextlib.contextmanager
    def released(self, signature: str) -> Iterator[tuple[str, np.int32, list[str]]]:
        """As `under`, for a run that cannot be ended: "go on" has been said before it begins."""
        say = self._say()
        number = self._free.get()
        array = np.int32(number)
        try:
            say(array, np.False_)
            yield self._number.name, array, [self._wait.name, self._ends[signature]]
        finally:
            self._clear(array)
            self._free.put(number)

    def _say(self) -> Any:
        """A function of a run's number and a word: True for "stop", False for "go on"."""
        return self._session.call([self._number.name, self._word.name], [], [self._said.name])

    def _clear(self, number: np.int32) -> None:
        """Empties the queue of a run: the run may have ended already."""
        size = self._session.call([self._number.name], [self._size.name])
        for _ in range(int(size(number)[0])):
            self._session.call([self._number.name], [self._empty.name])(number)

    def _at_queue(self, work: Any) -> Any:
        """A function of a run's number and a word: `work` at its queue. The queues are made inside, so that none is
        handed around."""

        def at(number: int, word: tf.Tensor) -> Any:
            waiting = tf.raw_ops.FIFOQueueV2(
                component_types=[tf.bool], shapes=[[]], shared_name=f"tflm_run_{number}"
            )
            return work(waiting, word)

        def at_queue(number: tf.Tensor, word: tf.Tensor) -> tf.Tensor:
            branches = [functools.partial(at, each, word) for each in range(self._max_runs)]
            return tf.switch_case(number, branches)

        specs = [tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.bool)]
        return tf.function(at_queue, autograph=False).get_concrete_function(*specs)


def _array(value: Any) -> np.ndarray:
    """A scalar string comes as bytes, all else as arrays."""
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)


def _take(waiting: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.QueueDequeueV2(handle=waiting, component_types=[tf.bool])[0]


def _say(waiting: tf.Tensor, word: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([tf.raw_ops.QueueEnqueueV2(handle=waiting, components=[word])]):
        return tf.identity(word)


def _signature_defs(meta_graph: meta_graph_pb2.MetaGraphDef) -> dict[str, meta_graph_pb2.SignatureDef]:
    return {name: meta_graph.signature_def[name] for name in user_signatures(meta_graph)}
