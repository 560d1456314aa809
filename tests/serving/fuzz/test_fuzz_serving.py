"""The server as a process under some thousands of mutated requests; and whether the fuzzer would see what is wrong."""

import http.server
import importlib.util
import pathlib
import sys
import threading

import pytest

from benchmarks.serving_sides.fuzz_run import client_of, finding, run_cases
from benchmarks.serving_sides.grpc_fuzz import GrpcCase, grpc_case
from benchmarks.serving_sides.rest_fuzz import RestCase, request, rest_case

PROGRAM = pathlib.Path(__file__).parents[3] / "benchmarks" / "fuzz_serving.py"


@pytest.fixture(scope="module")
def program():
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location("fuzz_serving", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def test_nothing_is_found(program, tmp_path):
    """2,000 HTTP requests and 500 gRPC messages; the number that counts is 50 times as many, by the program."""
    with program.serve(tmp_path) as server:
        report = program.fuzz(server, seed=2, num_rest=2000, num_grpc=500)
    found = [*report["rest"]["findings"][:5], *report["grpc"]["findings"][:5]]
    assert not report["problems"], (report["problems"], found)
    words = {name: {count.rsplit(": ")[1] for count in report[name]["counts"]} for name in ("rest", "grpc")}
    assert {"200", "400", "404", "closed"} <= words["rest"]
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED"} <= words["grpc"]
    assert sum(report["rest"]["counts"].values()) == 2000
    assert sum(report["grpc"]["counts"].values()) == 500


@pytest.mark.parametrize("make, kinds", [(rest_case, 12), (grpc_case, 4)])
def test_a_case_is_its_seed_and_number(make, kinds):
    cases = [make(1, index) for index in range(300)]
    assert cases == [make(1, index) for index in range(300)]
    assert len({case.payload for case in cases}) > 200
    assert cases != [make(2, index) for index in range(300)]
    assert len({case.kind for case in cases}) == kinds


def test_a_readable_message_is_known_from_bytes_that_are_none():
    kinds = [grpc_case(1, index) for index in range(400)]
    assert {case.is_message for case in kinds if case.kind == "bytes"} == {True, False}
    assert all(case.is_message for case in kinds if case.kind != "bytes")


class Bad(http.server.BaseHTTPRequestHandler):
    """Answers with what the body asks for: a status, or words that are no JSON, or not at all."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"leave":
            self.close_connection = True
            return
        answer = b"{" if body == b"no json" else b"{}"
        self.send_response(200 if body == b"no json" else int(body))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        """Nothing."""


@pytest.fixture(scope="module")
def bad_port():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bad)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "body, is_whole, word, wrong",
    [
        (b"200", True, "200", ""),
        (b"400", True, "400", ""),
        (b"503", True, "503", ""),
        (b"500", True, "500", "status 500"),
        (b"500", False, "500", "status 500"),
        (b"504", True, "504", "it took longer than the server allows"),
        (b"no json", True, "200", "an answer that is no JSON"),
        (b"leave", True, "lost", "the connection ended without an answer"),
        (b"leave", False, "closed", ""),
    ],
)
def test_what_is_wrong_is_seen(bad_port, body, is_whole, word, wrong):
    client = client_of("rest", bad_port)
    found = client.send(RestCase("plain", request("POST", "/", body), is_whole))
    client.close()
    assert found[0] == word
    assert found[1].startswith(wrong) and bool(found[1]) == bool(wrong)


def test_no_server_is_seen():
    client = client_of("grpc", 1)
    word, wrong = client.send(GrpcCase("plain", "/a/b", b"", True))
    client.close()
    assert word == "UNAVAILABLE" and wrong.startswith("UNAVAILABLE: ")


def test_a_finding_can_be_sent_again():
    found = finding("rest", 3, 17, rest_case(3, 17), "status 500")
    assert found["replay"] == "python benchmarks/fuzz_serving.py --seed=3 --replay=rest:17"
    assert found["payload"].startswith("b'") and found["wrong"] == "status 500"


def test_a_server_that_has_died_ends_the_run():
    report = run_cases("rest", 1, 1, range(100), lambda: False)
    assert (report["counts"], report["findings"]) == ({}, [])
