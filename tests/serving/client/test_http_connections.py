"""Kept connections: fast where the server keeps them too, and no request is lost where it does not."""

import concurrent.futures
import contextlib
import os
import socket
import socketserver
import threading
import time

import pytest

from tflm.serving.client.http_connections import ConnectionLost, HttpConnections, NotConnected
from tflm.serving.client.remote import Deadline


class RawServer(socketserver.ThreadingTCPServer):
    """`answer(server, sock, path, number)` writes the answer to the request with that number on its connection; the
    connection ends when it gives False.

    Attributes:
        paths: of all requests, as they came.
        num_connections: so far.
    """

    daemon_threads = allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, answer):
        self.answer, self.paths, self.num_connections = answer, [], 0
        super().__init__(("127.0.0.1", 0), RawHandler)
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    def stop_listening(self):
        """From now on connections are refused."""
        self.shutdown()  # first, since a socket that is waited on lives on
        self.socket.close()


class RawHandler(socketserver.StreamRequestHandler):
    """Reads requests without bodies."""

    def handle(self):
        self.server.num_connections += 1
        for number in range(10**6):
            line = self.rfile.readline()
            if not line:
                return
            while self.rfile.readline().strip():
                pass
            path = line.split()[1].decode()
            self.server.paths.append(path)
            with contextlib.suppress(ConnectionError):
                if self.server.answer(self.server, self.request, path, number):
                    continue
            return


@pytest.fixture
def serve():
    """`serve(answer)` starts a `RawServer`: it, and connections to it."""
    with contextlib.ExitStack() as stack:

        def start(answer):
            server = stack.enter_context(RawServer(answer))
            stack.callback(server.shutdown)
            connections = HttpConnections("127.0.0.1", server.server_address[1], None)
            stack.callback(connections.close)
            return server, connections

        yield start


def whole(path, *headers):
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 200 OK\r\n{lines}Content-Length: {len(path)}\r\n\r\n{path}".encode()


def send(connections, path, seconds=10.0):
    answer = connections.send("GET", path, None, {}, Deadline(seconds))
    assert answer.status == 200
    return answer.data.decode()


def test_one_connection_for_many_requests(serve):
    server, connections = serve(lambda _, sock, path, __: sock.sendall(whole(path)) is None)
    for index in range(20):
        assert send(connections, f"/{index}") == f"/{index}"
    assert server.num_connections == 1


def test_many_threads_get_their_own_answers(serve):
    server, connections = serve(lambda _, sock, path, __: sock.sendall(whole(path)) is None)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        paths = [f"/{index}" for index in range(200)]
        assert list(threads.map(lambda path: send(connections, path), paths)) == paths
    assert sorted(server.paths) == sorted(paths)
    assert 1 <= server.num_connections <= 8


@pytest.mark.parametrize("header", ["Server: silent", "Connection: close"])
def test_a_server_that_closes_after_every_answer(serve, header):
    """With a word, or without: every request arrives, and once."""
    server, connections = serve(lambda _, sock, path, __: sock.sendall(whole(path, header)) is not None)
    for index in range(10):
        assert send(connections, f"/{index}") == f"/{index}"
        time.sleep(0.005)  # it closes after the answer
    assert server.paths == [f"/{index}" for index in range(10)]
    assert server.num_connections == 10


def test_one_that_closes_when_the_request_comes(serve):
    """The moment that no client can foresee: sent again, on a fresh connection, once."""
    server, connections = serve(
        lambda _, sock, path, number: number == 0 and sock.sendall(whole(path)) is None
    )
    for index in range(4):
        assert send(connections, f"/{index}") == f"/{index}"
    assert server.paths == ["/0", "/1", "/1", "/2", "/2", "/3", "/3"]


def test_one_that_closes_always_is_not_asked_for_ever(serve):
    server, connections = serve(
        lambda server, sock, path, _: len(server.paths) == 1 and sock.sendall(whole(path)) is None
    )
    assert send(connections, "/0") == "/0"
    with pytest.raises(ConnectionLost, match="closed connection without response"):
        send(connections, "/1")
    assert server.paths == ["/0", "/1", "/1"]
    with pytest.raises(ConnectionLost):
        send(connections, "/2")
    assert server.paths[3:] == ["/2"]  # fresh, so not again


def test_one_that_is_gone_when_asked_again(serve):
    """It may have had the request, so this is no "nobody listens"."""

    def answer(server, sock, path, number):
        if number:
            server.stop_listening()
            return False
        return sock.sendall(whole(path)) is None

    _, connections = serve(answer)
    assert send(connections, "/0") == "/0"
    with pytest.raises(ConnectionLost):
        send(connections, "/1")
    with pytest.raises(NotConnected, match="refused"):
        send(connections, "/2")


def test_one_that_stops_between_two_requests(serve):
    """That is seen before anything is sent: nobody listens, and the request may be tried again later."""
    stopped = threading.Event()

    def answer(server, sock, path, _):
        sock.sendall(whole(path))
        server.stop_listening()
        sock.shutdown(socket.SHUT_RDWR)
        stopped.set()
        return False

    _, connections = serve(answer)
    assert send(connections, "/0") == "/0"
    stopped.wait(10)
    with pytest.raises(NotConnected, match="refused"):
        send(connections, "/1")


@pytest.mark.parametrize(
    "end",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234", b"HTTP/1.1 200", b"\xff\xfe\x00 nonsense\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
    ids=["half a body", "half a line", "no HTTP", "no chunk"],
)  # fmt: skip
def test_half_an_answer_is_not_asked_for_again(serve, end):
    def answer(_, sock, path, number):
        sock.sendall(end if number else whole(path))
        return not number

    server, connections = serve(answer)
    send(connections, "/0")
    with pytest.raises(ConnectionLost):
        send(connections, "/1")
    assert server.paths == ["/0", "/1"]
    assert send(connections, "/2") == "/2"


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"]
)
def test_the_deadline_holds_for_one_that_drips(serve, start):
    """A byte comes again and again, so that no time-out of the socket ends the wait."""
    drips = b"x" if start else b""

    def answer(_, sock, __, ___):
        sock.sendall(start)
        while not over.wait(0.02):
            sock.sendall(drips)
        return False

    over = threading.Event()
    server, connections = serve(answer)
    with pytest.raises(TimeoutError):
        send(connections, "/", seconds=0.2)
    over.set()
    assert server.paths == ["/"]


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        connections = HttpConnections("127.0.0.1", taken.getsockname()[1], None)
        with pytest.raises(NotConnected, match="refused"):
            send(connections, "/")
    with pytest.raises(NotConnected):
        send(HttpConnections("no-such-host.invalid", 1, None), "/")


def test_closed_ones_are_not_used_again(serve):
    server, connections = serve(lambda _, sock, path, __: sock.sendall(whole(path)) is None)
    send(connections, "/0")
    connections.close()
    send(connections, "/1")
    assert server.num_connections == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_connections_of_its_own(serve):
    """Two processes on one connection would read each other's answers."""
    server, connections = serve(lambda _, sock, path, __: sock.sendall(whole(path)) is None)
    send(connections, "/parent")
    child = os.fork()
    if not child:  # no pytest here: it would report twice
        os._exit(send(connections, "/child") != "/child")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert send(connections, "/again") == "/again"
    assert server.num_connections == 2


def test_a_redirect_is_not_followed(serve):
    """A token goes to the server that the URL names, and to no other."""
    moved = b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"
    server, connections = serve(lambda _, sock, __, ___: sock.sendall(moved) is None)
    answer = connections.send("GET", "/", None, {"authorization": "Bearer secret"}, Deadline(10.0))
    assert (answer.status, server.paths) == (302, ["/"])


def test_a_large_body_both_ways():
    """More than the buffers of a socket hold."""
    size = 8 << 20

    class Echo(socketserver.StreamRequestHandler):
        def handle(self):
            while self.rfile.readline().strip():
                pass
            body = self.rfile.read(size)
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        connections = HttpConnections("127.0.0.1", server.server_address[1], None)
        body = bytes(range(256)) * (size // 256)
        assert connections.send("POST", "/", body, {}, Deadline(60.0)).data == body
        connections.close()
        server.shutdown()
