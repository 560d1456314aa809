"""Sends the cases of `rest_fuzz` and `grpc_fuzz` to a server and judges the answers."""

import http.client
import itertools
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc

from benchmarks.serving_sides.grpc_fuzz import GrpcCase, grpc_case
from benchmarks.serving_sides.rest_fuzz import RestCase, rest_case

PATIENCE = 20.0
"""Seconds after which a server that says nothing hangs."""
_PAUSE = 0.05
_STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3})")
_FORBIDDEN_CODES = ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS")


class RestClient:
    """One connection, kept where the case is a whole request."""

    def __init__(self, port: int) -> None:
        self._port, self._socket = port, None

    def send(self, case: RestCase) -> tuple[str, str]:
        """What the server said, in a word, and what is wrong with it, or ""."""
        try:
            return self._whole(case) if case.is_whole else self._broken(case)
        except TimeoutError:
            self.close()
            return "hang", f"no answer within {PATIENCE:g} seconds"
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return "lost", f"the connection ended without an answer: {error!r}"

    def close(self) -> None:
        """Ends the connection."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _connected(self) -> Any:
        return socket.create_connection(("127.0.0.1", self._port), PATIENCE)

    def _whole(self, case: RestCase) -> tuple[str, str]:
        if self._socket is None:
            self._socket = self._connected()
        self._socket.sendall(case.payload)
        response = http.client.HTTPResponse(self._socket, method=case.payload.split(b" ", 1)[0].decode())
        response.begin()
        body = response.read()
        if response.will_close:
            self.close()
        wrong = judged_status(case, response.status)
        if not wrong and "json" in (response.getheader("content-type") or ""):
            wrong = _judged_json(body)
        return str(response.status), wrong

    def _broken(self, case: RestCase) -> tuple[str, str]:
        """Sends, waits a moment, says that no more will come, and reads until the server closes the connection."""
        answer = b""
        with self._connected() as connection:
            try:
                connection.sendall(case.payload)
                connection.settimeout(_PAUSE)
                try:
                    while piece := connection.recv(2**16):
                        answer += piece
                except TimeoutError:
                    connection.settimeout(PATIENCE)
                    connection.shutdown(socket.SHUT_WR)
                    while piece := connection.recv(2**16):
                        answer += piece
            except (ConnectionResetError, BrokenPipeError):
                pass  # the server had seen enough
        statuses = [int(status) for status in _STATUS_LINE.findall(answer)]
        wrong = next(filter(None, (judged_status(case, status) for status in statuses)), "")
        return str(statuses[-1] if statuses else "closed"), wrong


def judged_status(case: RestCase, status: int) -> str:
    """What is wrong with a status, or ""."""
    if status == http.client.GATEWAY_TIMEOUT:
        return "" if case.may_wait else "it took longer than the server allows"
    fine = status < 500 or status in (501, 503, 505)
    return "" if fine else f"status {status}"


def _judged_json(body: bytes) -> str:
    try:
        json.loads(body.decode("utf-8", "surrogateescape"), strict=False)
    except (ValueError, RecursionError) as error:
        return f"an answer that is no JSON ({error}): {body[:200]!r}"
    return ""


class GrpcClient:
    """One channel; messages go as bytes."""

    def __init__(self, port: int) -> None:
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", [*unlimited, ("grpc.enable_retries", 0)])

    def send(self, case: GrpcCase) -> tuple[str, str]:
        """What the server said, in a word, and what is wrong with it, or ""."""
        call = self._channel.unary_unary(case.method)
        try:
            call(case.payload, timeout=0.5 if case.may_wait else PATIENCE)
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            return code, _judged_code(case, code, details)
        return "OK", ""

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()


def _judged_code(case: GrpcCase, code: str, details: str) -> str:
    if code == "INTERNAL" and not case.is_message:
        return ""  # gRPC's own answer to bytes that are no message
    if code == "DEADLINE_EXCEEDED":
        return "" if case.may_wait else f"no answer within {PATIENCE:g} seconds"
    return f"{code}: {details[:300]}" if code in _FORBIDDEN_CODES else ""


def case_of(protocol: str, seed: int, index: int) -> Any:
    """Case number `index` of "rest" or "grpc"."""
    return (rest_case if protocol == "rest" else grpc_case)(seed, index)


def client_of(protocol: str, port: int) -> Any:
    """What sends cases of "rest" or "grpc"."""
    return (RestClient if protocol == "rest" else GrpcClient)(port)


def run_cases(
    protocol: str,
    port: int,
    seed: int,
    indexes: range,
    is_alive: Callable[[], bool] = lambda: True,
    num_threads: int = 4,
) -> dict[str, Any]:
    """Sends these cases over a number of connections; ends early when the server has died.

    Returns:
        `counts` of answers by kind and word, `findings` with all that is needed to send each again, `seconds`.
    """
    counts: Counter[str] = Counter()
    findings: list[dict[str, Any]] = []
    left, lock = iter(indexes), threading.Lock()

    def work() -> None:
        client = client_of(protocol, port)
        while True:
            with lock:
                index = next(left, None)
            if index is None or not is_alive():
                break
            case = case_of(protocol, seed, index)
            word, wrong = client.send(case)
            with lock:
                counts[f"{case.kind}: {word}"] += 1
                if wrong:
                    findings.append(finding(protocol, seed, index, case, wrong))
        client.close()

    begin = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    return {"counts": dict(sorted(counts.items())), "findings": findings, "seconds": seconds}


def finding(protocol: str, seed: int, index: int, case: Any, wrong: str) -> dict[str, Any]:
    """A case that was not borne, and how to send it again."""
    replay = f"python benchmarks/fuzz_serving.py --seed={seed} --replay={protocol}:{index}"
    payload = case.payload if len(case.payload) < 2000 else case.payload[:2000] + b"..."
    return {"wrong": wrong, "replay": replay, "kind": case.kind, "payload": repr(payload)}


def merged(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Several reports of `run_cases` as one."""
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report["counts"])
    return {
        "counts": dict(sorted(counts.items())),
        "findings": list(itertools.chain.from_iterable(report["findings"] for report in reports)),
        "seconds": sum(report["seconds"] for report in reports),
    }
