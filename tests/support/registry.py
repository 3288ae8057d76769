"""A registry of images in one file, to be run where an engine reaches it: ``registry.py PORT``. Says "ready"."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def digest_of(data: bytes) -> str:
    """Name a blob as registries do."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _image(word: str) -> tuple[bytes, dict[str, bytes]]:
    """Return the manifest and the blobs of an image with one file that says ``word``."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        entry = tarfile.TarInfo("word")
        entry.size = len(word)
        tar.addfile(entry, io.BytesIO(word.encode()))
    layer = held.getvalue()
    rootfs = {"type": "layers", "diff_ids": [digest_of(layer)]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"]}, "rootfs": rootfs}).encode()
    kind = "application/vnd.docker.container.image.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": kind, "size": len(config), "digest": digest_of(config)},
        "layers": [
            {
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": len(layer),
                "digest": digest_of(layer),
            }
        ],
    }
    return json.dumps(manifest).encode(), {digest_of(config): config, digest_of(layer): layer}


GOOD, SLOW = _image("hello"), _image("late")
REFUSALS = {
    "private": (401, "UNAUTHORIZED", "authentication required"),
    "limited": (429, "TOOMANYREQUESTS", "toomanyrequests: slow down"),
}


class Registry(BaseHTTPRequestHandler):
    """Serves ``good:1``, ``slow:1`` (its layer never comes), ``private`` and ``limited``; nothing else is there."""

    def do_GET(self) -> None:
        """Answer."""
        words = self.path.split("/")
        name = words[2] if len(words) > 3 else ""
        manifest, blobs = SLOW if name == "slow" else GOOD
        if self.path == "/v2/":
            self._say(200, b"{}", "application/json")
        elif name in REFUSALS:
            status, code, message = REFUSALS[name]
            self._say(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(), "application/json")
        elif name in ("good", "slow") and words[3] == "manifests" and words[4] in ("1", digest_of(manifest)):
            self._say(200, manifest, MANIFEST)
        elif name in ("good", "slow") and words[3] == "blobs" and words[4] in blobs:
            self._say(200, blobs[words[4]], "application/octet-stream", never=name == "slow")
        else:
            wrong = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            self._say(404, json.dumps(wrong).encode(), "application/json")

    do_HEAD = do_GET  # noqa: N815 - named by the library

    def _say(self, status: int, body: bytes, kind: str, *, never: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Content-Digest", digest_of(body))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="here"')
        self.end_headers()
        if never:
            time.sleep(600)
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Registry) as server:
        server.daemon_threads = True
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        server.serve_forever()
