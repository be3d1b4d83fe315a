"""A page in the browser as a sink: the live picture, before and after, for any number of viewers.

A viewer asks for the next pair of pictures when it has drawn the last one. So each gets the newest that it can
take, before and after are always of one moment, and one that stops asking costs nothing. JPEG is made by the
viewers' threads, once a frame, and only if somebody asks.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import secrets
import socket
import struct
import sys
import threading
import time
from collections import deque
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from socketserver import TCPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import cv2

from rfdn_stream.errors import UsageError
from rfdn_stream.frame import RGB_FULL, ColorSpec, Frame, PixelFormat, VideoInfo, pixel_format
from rfdn_stream.live.base import Shot
from rfdn_stream.live.sinks import SinkOptions
from rfdn_stream.live.sinks.null import NullSink
from rfdn_stream.live.sinks.picture import bgr_of
from rfdn_stream.media.shape import pixel_aspect_ratio

_PORT = 8080
_QUALITY = 90
# In seconds: how long a request waits for a frame before it answers "none yet", and a socket for its viewer.
_PATIENCE = 5.0
_STALL = 10.0
# A viewer counts as one for so long after its last request.
_PRESENT = 3.0
# Over how many seconds the rate is taken.
_WINDOW = 2.0


class PageSink(NullSink):
    """Serves the page until it is left.

    Args:
        target: ``PORT`` or ``HOST:PORT``; 0 = one that is free, "" = 8080.
        options: `host`, `token` and `title` are used.

    Attributes:
        url: where the page is, known once the sink is open.
    """

    kind = "page"

    def __init__(self, target: str, options: SinkOptions) -> None:
        super().__init__("", options)
        host, _, port = target.rpartition(":")
        if target and not (port.isdecimal() and int(port) <= 65535):
            raise UsageError(f"a page is served on a port of 0 to 65535, got {target!r}; write page:8080")
        self._host = host.strip("[]") or options.host
        self._port = int(port) if target else _PORT
        self._token = options.token or ("" if is_loopback(self._host) else secrets.token_urlsafe(16))
        self._server: _Server | None = None
        self.url = ""

    @property
    def name(self) -> str:
        return f"page {self.url}" if self.url else f"page:{self._port}"

    def wants(self, info: VideoInfo) -> tuple[PixelFormat, ColorSpec]:
        return pixel_format("rgb24"), RGB_FULL

    def open(self, info: VideoInfo, size: tuple[int, int], output: tuple[PixelFormat, ColorSpec]) -> None:
        host, aspect = self._host, float(pixel_aspect_ratio(info, size))
        try:
            self._server = _Server(host, self._port, self._token, self.options.title, aspect)
        except OSError as error:
            raise UsageError(f"cannot serve a page on {host}:{self._port}: {_cause(error, self._port)}") from None
        thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="page", daemon=True)
        thread.start()
        query = f"?token={self._token}" if self._token else ""
        self.url = f"http://{_reachable(host)}:{self._server.server_port}/{query}"

    def show(self, shot: Shot) -> None:
        super().show(shot)
        if self._server is not None:
            self._server.gallery.put(shot)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._server is not None:
            self._server.gallery.close()
            self._server.shutdown()
            self._server.server_close()


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _host_in(header: str) -> str:
    """The host of a request's header Host; "" = it names none."""
    with contextlib.suppress(ValueError):
        return urlsplit(f"//{header}").hostname or ""
    return ""


def _cause(error: OSError, port: int) -> str:
    if isinstance(error, socket.gaierror):
        return f"{error.strerror}; use 127.0.0.1, 0.0.0.0 or an address of this machine"
    return f"{error.strerror}; choose another port, such as page:{port + 1 if 0 < port < 65535 else 8080}, or page:0"


def _reachable(host: str) -> str:
    """The host as others write it: of "every address" the one that leads out of this machine."""
    if host in ("0.0.0.0", "::"):
        family, outside = (socket.AF_INET, "192.0.2.1") if host == "0.0.0.0" else (socket.AF_INET6, "2001:db8::1")
        # Connecting by UDP sends nothing; it only asks for the route.
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((outside, 9))
            host = probe.getsockname()[0]
    return f"[{host}]" if ":" in host else host


class _Gallery:
    """The newest frame, and its JPEGs once somebody has asked for them.

    Args:
        aspect: how wide a pixel is to be shown for its height.
    """

    def __init__(self, aspect: float) -> None:
        self._aspect = aspect
        self._changed = threading.Condition()
        self._drawing = threading.Lock()
        self._shot: Shot | None = None
        self._number = 0
        self._drawn: tuple[int, Shot, bytes, bytes] | None = None
        self._times: deque[float] = deque(maxlen=240)
        self._viewers: dict[str, float] = {}
        self.open = True

    def put(self, shot: Shot) -> None:
        with self._changed:
            self._shot = shot
            self._number += 1
            if not shot.repeated:
                self._times.append(time.monotonic())
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self.open = False
            self._changed.notify_all()

    def next(self, seen: int, patience: float) -> tuple[int, Shot, bytes, bytes] | None:
        """The newest frame's number, itself and its two JPEGs, as soon as it is not number `seen`; None = none came."""
        with self._changed:
            self._changed.wait_for(lambda: not self.open or self._number not in (0, seen), patience)
            number, shot = self._number, self._shot
        if not self.open or shot is None or number == seen:
            return None
        with self._drawing:
            if self._drawn is None or self._drawn[0] < number:
                self._drawn = number, shot, _jpeg(shot.before), _jpeg(shot.frame)
            return self._drawn

    def seen_by(self, viewer: str) -> None:
        now = time.monotonic()
        with self._changed:
            self._viewers[viewer] = now
            for gone in [name for name, last in self._viewers.items() if now - last > _PRESENT + _PATIENCE]:
                del self._viewers[gone]

    def stats(self) -> dict[str, Any]:
        """What is known right now: rates in frames a second, latencies in milliseconds."""
        now = time.monotonic()
        with self._changed:
            shot, times = self._shot, list(self._times)
            watching = sum(now - last <= _PRESENT for last in self._viewers.values())
        told: dict[str, Any] = {"frames": self._number, "viewers": watching, "note": "", "fps": 0.0, "latency_ms": None}
        if shot is not None:
            told |= {
                "fps": _rate([moment for moment in times if now - moment < _WINDOW]),
                "note": shot.note,
                "latency_ms": round((shot.made - shot.captured) * 1000, 1),
                "before": [shot.before.width, shot.before.height],
                "after": [shot.frame.width, shot.frame.height],
                "aspect": self._aspect,
            }
        return told


def _rate(times: list[float]) -> float:
    span = times[-1] - times[0] if times else 0.0
    return round((len(times) - 1) / span, 1) if span else 0.0


def _jpeg(frame: Frame) -> bytes:
    _, encoded = cv2.imencode(".jpg", bgr_of(frame), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return encoded.tobytes()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    # On Windows this would share a port that another program holds.
    allow_reuse_address = sys.platform != "win32"

    def __init__(self, host: str, port: int, token: str, title: str, aspect: float) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.gallery, self.token = _Gallery(aspect), token
        self.guarded = is_loopback(host)
        page = resources.files("rfdn_stream.live.sinks").joinpath("page.html").read_text("utf-8")
        self.html = page.replace("{{title}}", escape(title)).encode()
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Without asking for this machine's name, as HTTPServer does, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A viewer that vanishes is no error; anything else is one of this program, and is told as Python does."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = _STALL
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        try:
            parts = urlsplit(self.path)
        except ValueError:
            self._send(HTTPStatus.BAD_REQUEST, "text/plain", b"this is no address\n")
            return
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        answer = {"/": self._page, "/frame": self._frame, "/stats": self._stats}.get(parts.path)
        if not self._is_welcome(query):
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"this page needs the token of its address\n")
        elif answer is None:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there is /, /frame and /stats\n")
        else:
            answer(query)

    def _is_welcome(self, query: dict[str, str]) -> bool:
        """Knows the token; and where there is none, came by this machine's own name (no foreign page's by DNS)."""
        if self.server.token:
            return secrets.compare_digest(query.get("token", "").encode(), self.server.token.encode())
        return not self.server.guarded or is_loopback(_host_in(self.headers.get("Host", "")))

    def _page(self, query: dict[str, str]) -> None:
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.html)

    def _stats(self, query: dict[str, str]) -> None:
        self._send(HTTPStatus.OK, "application/json", json.dumps(self.server.gallery.stats()).encode())

    def _frame(self, query: dict[str, str]) -> None:
        """The length of a JSON text in four bytes (big-endian), the text, the JPEGs of before and after."""
        gallery = self.server.gallery
        gallery.seen_by(query.get("viewer", self.client_address[0])[:64])
        seen = query.get("after", "")
        found = gallery.next(int(seen) if re.fullmatch("[0-9]{1,18}", seen) else 0, _PATIENCE)
        if not gallery.open:
            self.close_connection = True
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"the stream has ended\n")
            return
        if found is None:
            self._send(HTTPStatus.NO_CONTENT, "application/octet-stream", b"")
            return
        number, shot, before, after = found
        told = gallery.stats() | {"number": number, "jpeg": [len(before), len(after)], "note": shot.note}
        told["age_ms"] = round((time.monotonic() - shot.captured) * 1000, 1)
        head = json.dumps(told).encode()
        self._send(HTTPStatus.OK, "application/octet-stream", struct.pack(">I", len(head)) + head + before + after)

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'; img-src 'self' blob: data:")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not worth a line each."""
