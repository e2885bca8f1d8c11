"""A stand-in for the Hugging Face hub on loopback: what its client asks to make, fill and read a model repository."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN, OWNER = "hf_of_the_test", "me"


@dataclass
class Repository:
    private: bool
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{}])  # path -> content, after each commit
    messages: list[str] = field(default_factory=list)

    @property
    def files(self):
        return self.commits[-1]

    @property
    def sha(self):
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()


@dataclass
class Hub:
    """The repositories by name, and the lines of all requests."""

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def hub_server():
    """Yield a hub that answers while the block runs; it knows one token, which may write for one owner."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self._answer()

    do_GET = do_POST = do_HEAD  # noqa: N815

    def _answer(self):
        hub = self.server.hub
        path = unquote(urlsplit(self.path).path)
        hub.asked.append(f"{self.command} {path}")
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if path in ("", "/"):
            return self._send(200, b"")
        if path == "/api/validate-yaml":
            return self._json(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(hub, json.loads(content), allowed)
        found = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)(?:/(revision|tree|preupload|commit)/[^/]+)?/?", path)
        if found is not None:
            return self._api(hub, found[1], found[2], content, allowed)
        found = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/[^/]+/(.+)", path)
        if found is not None:
            return self._file(hub.repositories.get(found[1]), found[2], allowed)
        return self._json(404, {"error": "Not Found"})

    def _create(self, hub, wanted, allowed):
        owner = wanted.get("organization") or OWNER
        name = f"{owner}/{wanted['name']}"
        if not allowed:
            return self._json(401, {"error": "Invalid username or password."})
        if owner != OWNER:
            return self._json(403, {"error": f"You don't have the rights to create a model under {owner}"})
        url = {"url": f"{hub.url}/{name}"}
        if name in hub.repositories:
            return self._json(409, {"error": "You already created this model repo", **url})
        private = wanted.get("private") or wanted.get("visibility") == "private"
        hub.repositories[name] = Repository(bool(private))
        return self._json(200, url)

    def _api(self, hub, name, what, content, allowed):
        repository = hub.repositories.get(name)
        if repository is None or (repository.private and not allowed):
            return self._missing(401, "RepoNotFound")
        if what == "preupload":
            paths = [one["path"] for one in json.loads(content)["files"]]
            modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]
            return self._json(200, {"files": modes})
        if what == "commit":
            if not allowed:
                return self._json(403, {"error": "read only"})
            files = dict(repository.files)
            for line in map(json.loads, content.splitlines()):
                value = line["value"]
                if line["key"] == "header":
                    repository.messages.append(value["summary"])
                elif line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "deletedFile":
                    del files[value["path"]]
            repository.commits.append(files)
            answer = {"commitUrl": f"{hub.url}/{name}/commit/{repository.sha}", "commitOid": repository.sha}
            return self._json(200, {"success": True, **answer})
        if what == "tree":
            tree = [
                {"type": "file", "path": path, "size": len(one), "oid": hashlib.sha1(one).hexdigest()}
                for path, one in sorted(repository.files.items())
            ]
            return self._json(200, tree)
        siblings = [{"rfilename": path} for path in sorted(repository.files)]
        about = {"id": name, "modelId": name, "private": repository.private, "sha": repository.sha}
        return self._json(200, {**about, "siblings": siblings, "tags": []})

    def _file(self, repository, path, allowed):
        if repository is None or (repository.private and not allowed):
            return self._missing(401, "RepoNotFound")
        if path not in repository.files:
            return self._missing(404, "EntryNotFound", repository.sha)
        content = repository.files[path]
        tag = hashlib.sha1(content).hexdigest()
        return self._send(200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": repository.sha})

    def _missing(self, status, code, sha=""):
        return self._send(status, b"{}", {"X-Error-Code": code, "X-Repo-Commit": sha})

    def _json(self, status, content):
        return self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status, content, headers=()):
        self.send_response(status)
        for key, value in dict(headers).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
