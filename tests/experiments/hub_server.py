"""Servers on 127.0.0.1 that speak the protocols of Hugging Face's hub and of ModelScope, as far as a download needs
them, with the faults that tests ask for."""

import collections
import hashlib
import http.server
import json
import os
import pathlib
import threading
import urllib.parse

COMMIT = "a" * 40


class HubServer:
    """Serves repositories: name to folder.

    Attributes:
        url: where it is.
        requests: (method, path) to how often it was asked for.
        faults: path of a file to "broken" (half of it, each time), "broken once", "corrupt", "short" (the wrong size)
            or "silent" (no answer to GET).
        gated: names that ask for a licence.
        revisions: name to its branches and tags.
    """

    def __init__(self, repositories):
        self.repositories = {name: pathlib.Path(folder) for name, folder in repositories.items()}
        self.requests, self.faults, self.gated, self.revisions = collections.Counter(), {}, set(), {}
        self._closing = threading.Event()
        owner = self

        class Handler(_Handler):
            """Knows its server."""

            hub = owner

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def wait(self):
        """Until the server is closed."""
        self._closing.wait()

    def close(self):
        """No more answers."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def count(self, method, ending):
        """How often a path with that ending was asked for."""
        return sum(
            number
            for (kind, path), number in self.requests.items()
            if kind == method and path.endswith(ending)
        )

    def files(self, name):
        """Path to content."""
        folder = self.repositories[name]
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, *arguments):
        """Nothing is logged."""

    def do_HEAD(self):
        """Without a body."""
        self._answer()

    def do_GET(self):
        """With one."""
        self._answer()

    def _answer(self):
        url = urllib.parse.urlsplit(self.path)
        path, query = urllib.parse.unquote(url.path), dict(urllib.parse.parse_qsl(url.query))
        self.hub.requests[self.command, query.get("FilePath", path)] += 1
        parts = path.strip("/").split("/")
        if self.hub.faults.get(parts[-1], self.hub.faults.get("all")) == "silent" and self.command == "GET":
            self.hub.wait()
            self.close_connection = True
            return
        if parts[:2] == ["api", "models"]:
            self._model_info("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
        elif len(parts) > 4 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        elif parts[:3] == ["api", "v1", "models"]:
            self._modelscope("/".join(parts[3:5]), "/".join(parts[5:]), query)
        else:
            self._send(404, b"{}")

    def _known(self, name, revision):
        """Whether there is such a thing; answers if not."""
        if name not in self.hub.repositories:
            self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        elif name in self.hub.gated:
            self._send(401, b'{"error": "Access is restricted"}', {"X-Error-Code": "GatedRepo"})
        elif revision not in ("main", COMMIT, *self.hub.revisions.get(name, ())):
            self._send(404, b'{"error": "Invalid rev id"}', {"X-Error-Code": "RevisionNotFound"})
        else:
            return True
        return False

    def _model_info(self, name, revision):
        if not self._known(name, revision):
            return
        siblings = []
        for path, content in self.hub.files(name).items():
            each = {"rfilename": path, "size": len(content), "blobId": _git_hash(content)}
            if _is_large(path):
                sha256 = hashlib.sha256(content).hexdigest()
                each["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(each)
        info = {
            "id": name,
            "modelId": name,
            "sha": COMMIT,
            "siblings": siblings,
            "tags": [],
            "private": False,
        }
        self._send(200, json.dumps(info).encode())

    def _file(self, name, revision, path):
        if not self._known(name, revision):
            return
        files = self.hub.files(name)
        if path not in files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        content = files[path]
        etag = hashlib.sha256(content).hexdigest() if _is_large(path) else _git_hash(content)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if _is_large(path):
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{etag}"'}
        self._content(path, content, headers)

    def _content(self, path, content, headers):
        """A file or the rest of it, with its fault."""
        fault = self.hub.faults.get(path)
        if fault == "corrupt":
            content = content[:-4] + bytes(255 - byte for byte in content[-4:])
        if fault == "short":
            content = content[: len(content) // 2]
        first, end = self._range(len(content))
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(content)}"
        body, sent = content[first:end], None
        if fault in ("broken", "broken once") and self.command == "GET":
            sent = max(0, len(content) // 2 - first)
            if fault == "broken once":
                del self.hub.faults[path]
        self._send(206 if "Range" in self.headers else 200, body, headers, sent)

    def _range(self, size):
        value = self.headers.get("Range", "bytes=0-").removeprefix("bytes=")
        first, _, last = value.partition("-")
        return int(first), min(size, int(last) + 1 if last else size)

    def _modelscope(self, name, action, query):
        if name not in self.hub.repositories:
            self._send(404, b'{"Code": 10010205001, "Message": "model not found", "Success": false}')
        elif query.get("Revision", "master") not in ("master", *self.hub.revisions.get(name, ())):
            self._send(404, b'{"Code": 10010205002, "Message": "revision not found", "Success": false}')
        elif action == "repo/files":
            entries = [
                {
                    "Path": path,
                    "Name": os.path.basename(path),
                    "Type": "blob",
                    "Size": len(content),
                    "Sha256": hashlib.sha256(content).hexdigest(),
                }
                for path, content in self.hub.files(name).items()
            ]
            self._send(200, json.dumps({"Code": 200, "Success": True, "Data": {"Files": entries}}).encode())
        elif action == "repo" and query.get("FilePath") in self.hub.files(name):
            self._content(query["FilePath"], self.hub.files(name)[query["FilePath"]], {})
        else:
            self._send(404, b"{}")

    def _send(self, status, body, headers=None, sent=None):
        """An answer; the connection breaks after `sent` bytes."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body if sent is None else body[:sent])
        if sent is not None:
            self.wfile.flush()
            self.close_connection = True


def _is_large(path):
    return path.endswith((".safetensors", ".bin", ".gguf"))


def _git_hash(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
