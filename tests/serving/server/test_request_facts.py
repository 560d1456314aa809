"""What handlers tell of a request reaches whoever asked for it, and nobody else."""

import contextvars
import threading

from tflm.serving.server.request_facts import facts, gathering


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
