"""
A hub, a registry and a web server in one, for tests: what Hugging Face and Ollama answer, on two ports of this machine.

    with HubServer() as server:
        server.repo("org/tiny-GGUF", {"tiny-Q4_K_M.gguf": data})
        server.model("tiny", {"model": data, "license": b"..."})
        server.file("/files/tiny.gguf", data)
        server.endpoint, server.storage     the hub; where the bytes of its large files are, another origin
        server.asked                        every request, with its headers
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SMALL = 100
"""Files of fewer bytes are not in LFS: no SHA-256, and no redirect."""


@dataclass
class Repo:
    """A repository of the hub."""

    files: dict[str, bytes]
    licence: str = "apache-2.0"
    token: str = ""  # who may read it
    gated: bool = False
    downloads: int = 0
    likes: int = 0
    sizes: bool = True  # whether the first question is answered with sizes
    revisions: tuple[str, ...] = ("main",)
    gguf: Mapping[str, Any] | None = None  # what the hub has read of a header


@dataclass(frozen=True)
class Asked:
    """One request."""

    where: str  # hub, storage or realm
    method: str
    path: str
    headers: Mapping[str, str]  # names in small letters


@dataclass
class HubServer:
    """See above. `page` is how many files a page of a listing has; `login` is the token that the registry wants."""

    page: int = 1000
    login: str = ""
    realm: str = ""
    pause_s: float = 0.0  # before each 64 KiB of a large file
    pages_at: str = ""  # another origin, where the next page of a listing is said to be
    repos: dict[str, Repo] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)  # repositories' names of once
    redirects: bool = True  # to a repository's own name, where it is asked for in another spelling
    files: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, Any] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def repo(self, name: str, files: dict[str, bytes], **rest: Any) -> Repo:
        """Put a repository there."""
        self.repos[name] = Repo(files, **rest)
        for data in files.values():
            self.blobs[sha256(data)] = data
        return self.repos[name]

    def model(self, name: str, layers: Mapping[str, bytes], *, tag: str = "latest", namespace: str = "library") -> None:
        """Put a model into the registry; the layers by the last word of their type."""
        rows = []
        for kind, data in layers.items():
            self.blobs[sha256(data)] = data
            kind = f"application/vnd.ollama.image.{kind}"
            rows.append({"mediaType": kind, "digest": f"sha256:{sha256(data)}", "size": len(data)})
        self.manifests[f"{namespace}/{name}/{tag}"] = {"schemaVersion": 2, "layers": rows}

    def file(self, path: str, data: bytes) -> str:
        """Put a plain file there; its address."""
        self.files[path] = data
        return f"{self.endpoint}{path}"

    @property
    def endpoint(self) -> str:
        """The hub's address."""
        return f"http://127.0.0.1:{self._hub.server_port}"

    @property
    def storage(self) -> str:
        """Where large files are."""
        return f"http://127.0.0.1:{self._storage.server_port}"

    @property
    def trusted(self) -> tuple[str, str]:
        """Both origins, for settings."""
        return (self.endpoint, self.storage)

    @property
    def host(self) -> str:
        """The registry's, for references."""
        return f"127.0.0.1:{self._hub.server_port}"

    def paths(self, where: str = "hub") -> list[str]:
        """What was asked there."""
        return [each.path for each in self.asked if each.where == where]

    def __enter__(self) -> HubServer:
        self._hub = _serve(type("Hub", (_Hub,), {"hub": self}))
        self._storage = _serve(type("Storage", (_Storage,), {"hub": self}))
        self.realm = self.realm or f"{self.endpoint}/token"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in (self._hub, self._storage):
            server.shutdown()
            server.server_close()


def sha256(data: bytes) -> str:
    """Its hash, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # clients may leave whenever they like
            super().handle_error(request, client_address)


def _serve(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ClassVar[HubServer]
    where = ""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.asked.append(Asked(self.where, self.command, self.path, headers))
        parts = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.answer(parts.path)

    def answer(self, path: str) -> None:
        raise NotImplementedError

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        for at in range(0, len(body), 64 * 1024):
            self.pause()
            self.wfile.write(body[at : at + 64 * 1024])

    def pause(self) -> None:
        """As long as the hub wants it, and no longer when it wants it no more."""
        began = time.monotonic()
        while (left := began + self.hub.pause_s - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))

    def send_json(self, value: Any, **headers: str) -> None:
        self.send(200, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def send_file(self, data: bytes, **headers: str) -> None:
        headers = {"ETag": f'"{sha256(data)}"', "Accept_Ranges": "bytes", **headers}
        wanted = self.headers.get("Range", "")
        if not wanted.startswith("bytes="):
            self.send(200, data, **headers)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(data)), len(data) - 1)
        if start >= len(data):
            self.send(416, Content_Range=f"bytes */{len(data)}")
        else:
            self.send(206, data[start : end + 1], Content_Range=f"bytes {start}-{end}/{len(data)}", **headers)

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")


class _Storage(_Handler):
    where = "storage"

    def answer(self, path: str) -> None:
        data = self.hub.blobs.get(path.rpartition("/")[2])
        if data is None or self.headers.get("Authorization"):  # signed addresses take no token beside their own
            self.send(403 if data is not None else 404)
        else:
            self.send_file(data)


class _Hub(_Handler):
    where = "hub"

    def answer(self, path: str) -> None:
        if unquote(path) in self.hub.files:
            self.send_file(self.hub.files[unquote(path)])
        elif path == "/api/models":
            self.search()
        elif path.startswith("/api/models/"):
            org, name, *rest = [unquote(each) for each in path.removeprefix("/api/models/").split("/")]
            self.api(f"{org}/{name}", rest)
        elif path.startswith("/v2/"):
            self.registry(path.removeprefix("/v2/"))
        elif path == "/token":
            self.send_json({"token": self.hub.login})
        elif "/resolve/" in path:
            name, _, place = path.strip("/").partition("/resolve/")
            revision, _, file = place.partition("/")
            self.resolve(name, unquote(revision), unquote(file))
        else:
            self.send(404)

    def own_name(self, name: str) -> str:
        """Of the repository that is meant; "" once the client was sent there."""
        own = self.hub.moved.get(name) or next((each for each in self.hub.repos if each.lower() == name.lower()), name)
        if own == name or (not self.hub.redirects and name not in self.hub.moved):
            return own
        self.send(307, Location=self.path.replace(name, own, 1))
        return ""

    def allowed(self, name: str) -> Repo | None:
        repo = self.hub.repos.get(name)
        if repo is not None and (not repo.token or self.token == repo.token):
            return repo
        if repo is not None and repo.gated:
            self.send(403 if self.token else 401, X_Error_Code="GatedRepo", X_Error_Message="Access is restricted.")
        else:
            self.send(401, X_Error_Code="RepoNotFound", X_Error_Message="Invalid username or password.")
        return None

    def known(self, repo: Repo, revision: str) -> bool:
        if revision in (*repo.revisions, COMMIT):
            return True
        self.send(404, X_Error_Code="RevisionNotFound", X_Error_Message=f"Invalid rev id: {revision}")
        return False

    def api(self, name: str, rest: list[str]) -> None:
        name = self.own_name(name)
        repo = self.allowed(name) if name else None
        if repo is None or not self.known(repo, rest[1] if len(rest) > 1 else "main"):
            return
        if rest[:1] == ["tree"]:
            self.tree(name, repo, rest[1])
            return
        sized = "blobs" in self.query and repo.sizes
        self.send_json({**_summary(name, repo), "siblings": [_sibling(*each, sized) for each in repo.files.items()]})

    def tree(self, name: str, repo: Repo, revision: str) -> None:
        begin = int(self.query.get("cursor", 0))
        rows = [_entry(*each) for each in sorted(repo.files.items())]
        more = {}
        if begin + self.hub.page < len(rows):
            place = f"{name}/tree/{quote(revision, safe='')}"
            query = f"recursive=true&cursor={begin + self.hub.page}"
            more = {"Link": f'<{self.hub.pages_at or self.hub.endpoint}/api/models/{place}?{query}>; rel="next"'}
        self.send_json(rows[begin : begin + self.hub.page], **more)

    def search(self) -> None:
        """What is not asked for is not done: without `filter` every repository, without `sort` in no order."""
        words = self.query.get("search", "").lower().split()
        tags = {tag for tag in self.query.get("filter", "").split(",") if tag}
        found = [
            {**_summary(name, repo), "siblings": [{"rfilename": path} for path in repo.files]}
            for name, repo in self.hub.repos.items()
            if (repo.gated or not repo.token) and all(word in name.lower() for word in words)
        ]
        found = [each for each in found if tags <= {*each["tags"]}]
        if self.query.get("sort") in ("downloads", "likes"):
            found.sort(key=lambda each: int(each[self.query["sort"]]), reverse=self.query.get("direction") == "-1")
        self.send_json(found[: int(self.query.get("limit", 100))])

    def resolve(self, name: str, revision: str, path: str) -> None:
        name = self.own_name(name)
        repo = self.allowed(name) if name else None
        if repo is None or not self.known(repo, revision):
            return
        data = repo.files.get(path)
        if data is None:
            self.send(404, X_Error_Code="EntryNotFound", X_Error_Message="Entry not found")
        elif len(data) < SMALL:
            self.send_file(data, ETag=f'"{git_id(data)}"', X_Repo_Commit=COMMIT)
        else:
            self.send(
                302,
                Location=f"{self.hub.storage}/lfs/{sha256(data)}?Signature=secret-of-{quote(path)}",
                X_Repo_Commit=COMMIT,
                X_Linked_Size=str(len(data)),
                X_Linked_Etag=f'"{sha256(data)}"',
            )

    def registry(self, path: str) -> None:
        if self.hub.login and self.token != self.hub.login:
            challenge = f'Bearer realm="{self.hub.realm}",service="registry",scope="repository:x:pull,push"'
            self.send(401, WWW_Authenticate=challenge)
            return
        name, _, digest = path.partition("/blobs/")
        if digest and digest.removeprefix("sha256:") in self.hub.blobs:
            self.send(307, Location=f"{self.hub.storage}/blobs/{digest.removeprefix('sha256:')}")
            return
        manifest = self.hub.manifests.get(name.replace("/manifests/", "/"))
        if manifest is None:
            self.send(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
        else:
            self.send_json(manifest)


def git_id(data: bytes) -> str:
    """The name of a small file in git."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _summary(name: str, repo: Repo) -> dict[str, Any]:
    return {
        "id": name,
        "modelId": name,
        "sha": COMMIT,
        "private": False,
        "gated": "auto" if repo.gated else False,
        "downloads": repo.downloads,
        "likes": repo.likes,
        "tags": [*(["gguf"] if any(path.endswith(".gguf") for path in repo.files) else []), f"license:{repo.licence}"],
        "cardData": {"license": repo.licence},
        "lastModified": "2026-05-01T10:00:00.000Z",
        **({"gguf": dict(repo.gguf)} if repo.gguf is not None else {}),
    }


def _sibling(path: str, data: bytes, sized: bool) -> dict[str, Any]:
    if not sized:
        return {"rfilename": path}
    row: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": git_id(data)}
    if len(data) >= SMALL:
        row["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 134}
    return row


def _entry(path: str, data: bytes) -> dict[str, Any]:
    row: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": git_id(data)}
    if len(data) >= SMALL:
        row["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
    return row
