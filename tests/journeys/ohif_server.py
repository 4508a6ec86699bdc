"""OHIF and an archive's DICOMweb on one origin, as a hospital's reverse proxy would offer them; loopback only.

The headers Cross-Origin-Opener-Policy and Cross-Origin-Embedder-Policy are what the viewer needs for its shared memory.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

OHIF = Path(__file__).parent / "ohif" / "node_modules" / "@ohif" / "app" / "dist"
_CONFIGURATION = {
    "name": "journey",
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "customizationService": {},
    "showStudyList": True,
    "maxNumberOfWebWorkers": 1,
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": False,
    "showLoadingIndicator": True,
    "strictZSpacingForVolumeViewport": True,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "archive",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "archive",
            "configuration": {
                "friendlyName": "archive",
                "name": "archive",
                "wadoUriRoot": "/dicom-web",
                "qidoRoot": "/dicom-web",
                "wadoRoot": "/dicom-web",
                "qidoSupportsIncludeField": False,
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "supportsFuzzyMatching": False,
                "supportsWildcard": True,
                "dicomUploadEnabled": False,
                "omitQuotationForMultipartRequest": True,
                "bulkDataURI": {"enabled": False},
            },
        }
    ],
}


@dataclass(slots=True)
class Viewer:
    """Where OHIF answers, and what its requests to the archive came to."""

    port: int
    requests: list[tuple[int, str]] = field(default_factory=list)

    def address(self, study_instance_uid: str) -> str:
        return f"http://127.0.0.1:{self.port}/viewer?StudyInstanceUIDs={study_instance_uid}"

    @property
    def failed(self) -> list[tuple[int, str]]:
        """DICOMweb requests that the archive did not answer with a success."""
        return [(status, path) for status, path in self.requests if not 200 <= status < 300]


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, viewer: Viewer, archive_http_port: int, *arguments: object) -> None:
        self._viewer, self._archive = viewer, f"http://127.0.0.1:{archive_http_port}"
        super().__init__(*arguments, directory=str(OHIF))  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/dicom-web"):
            self._pass_on()
        elif path == "/app-config.js":
            self._answer(200, "text/javascript", b"window.config = " + json.dumps(_CONFIGURATION).encode())
        else:
            if not (OHIF / path.lstrip("/")).is_file():
                self.path = "/index.html"  # the viewer routes its own addresses
            super().do_GET()

    def _pass_on(self) -> None:
        request = urllib.request.Request(self._archive + self.path, headers={"Accept": self.headers["Accept"] or "*/*"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status, kind, body = answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            status, kind, body = error.code, error.headers["Content-Type"], error.read()
        except OSError as error:
            status, kind, body = 502, "text/plain", str(error).encode()
        self._viewer.requests.append((status, self.path))
        self._answer(status, kind or "application/octet-stream", body)

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """What was asked for stands in `Viewer.requests`."""


@contextmanager
def ohif(archive_http_port: int) -> Iterator[Viewer]:
    """Serve the viewer on a free port until the test ends."""
    viewer = Viewer(0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, viewer, archive_http_port))
    server.daemon_threads = True
    viewer.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="ohif")
    thread.start()
    try:
        yield viewer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
