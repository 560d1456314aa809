"""What handlers tell of a request reaches whoever asked for it, and nobody else."""

import ast
import contextvars
import pathlib
import threading

from tflm.serving.server.core.telemetry import facts, gathering


def test_what_is_told_inside_is_seen_by_who_gathers():
    with gathering() as outer:
        facts().model = "聊天"
        with gathering() as inner:
            facts().model = "other"
        facts().add_tokens(3)
        facts().add_tokens(4)
    assert (outer.model, outer.num_tokens, inner.model, inner.num_tokens) == ("聊天", 7, "other", None)


def test_outside_a_request_nobody_sees_it():
    facts().model = "lost"
    assert facts().model is None


def test_a_thread_sees_them_in_a_copy_of_the_context_alone():
    def work():
        facts().add_tokens(1)

    with gathering() as gathered:
        copied = contextvars.copy_context()
        threads = [threading.Thread(target=copied.run, args=[work]), threading.Thread(target=work)]
        for thread in threads:
            thread.start()
            thread.join()
    assert gathered.num_tokens == 1


def test_the_core_imports_nothing_of_the_interfaces():
    """Also for typing: REST, gRPC, OpenAI, authentication and monitoring are built on it."""
    root = pathlib.Path(__file__).parents[4]
    for path in (root / "tflm" / "serving" / "server" / "core").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "module", None) or ""
            for part in ("rest", "grpc", "openai", "auth", "monitoring"):
                assert not name.startswith(f"tflm.serving.server.{part}"), (path.name, name)
