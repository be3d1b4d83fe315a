"""The page: what it serves, to whom, and how it looks in a real browser."""

import http.client
import json
import socket
import struct
import threading
import time
from dataclasses import replace
from fractions import Fraction
from urllib.parse import quote, urlsplit

import cv2
import numpy as np
import pytest

from browser import Browser
from live_shots import AFTER, BEFORE, Feed, info, shot, until
from rfdn_stream.errors import UsageError
from rfdn_stream.live.sinks import SinkOptions, open_sink
from rfdn_stream.live.sinks import page as page_module


@pytest.fixture
def opened():
    """Opens pages on free ports, and closes them."""
    sinks = []

    def open_page(text="page:0", source=None, **options):
        sink = open_sink(text, SinkOptions(**options))
        sinks.append(sink.__enter__())
        source = source or info()
        sink.open(source, (64, 48), sink.wants(source))
        return sink

    yield open_page
    for sink in sinks:
        sink.finish()
        sink.__exit__(None, None, None)


def get(sink, path, **headers):
    """Status and body of a request."""
    parts = urlsplit(sink.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def unpack(body):
    """What `/frame` told, and its two pictures in RGB."""
    length = struct.unpack(">I", body[:4])[0]
    told = json.loads(body[4 : 4 + length])
    middle = 4 + length + told["jpeg"][0]
    pictures = [np.frombuffer(part, np.uint8) for part in (body[4 + length : middle], body[middle:])]
    return told, *(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1] for data in pictures)


def test_a_frame_is_before_and_after_of_one_moment(opened):
    sink = opened()
    sink.show(shot(3, note="one step down"))
    status, body = get(sink, "/frame?after=0")
    told, before, after = unpack(body)
    assert status == 200
    assert before.shape == (24, 32, 3)
    assert after.shape == (48, 64, 3)
    np.testing.assert_allclose(before[5, 20], BEFORE, atol=12)
    np.testing.assert_allclose(after[5, 40], AFTER, atol=12)
    assert told["note"] == "one step down"
    assert told["age_ms"] >= 20
    stats = json.loads(get(sink, "/stats")[1])
    assert stats | {"before": [32, 24], "after": [64, 48], "frames": 1, "viewers": 1} == stats


def test_the_newest_frame_wins_and_is_drawn_once(opened, monkeypatch):
    drawn, real = [], page_module._jpeg
    monkeypatch.setattr(page_module, "_jpeg", lambda frame: drawn.append(frame) or real(frame))
    sink = opened()
    for number in range(10):
        sink.show(shot(number))
    assert drawn == []  # nobody watches
    bodies = [get(sink, "/frame?after=0")[1] for _ in range(3)]
    assert [unpack(body)[0]["number"] for body in bodies] == [10, 10, 10]
    assert len(drawn) == 2


def test_waits_for_the_next_frame_and_says_when_none_comes(opened, monkeypatch):
    monkeypatch.setattr(page_module, "_PATIENCE", 0.2)
    sink = opened()
    assert get(sink, "/frame?after=0") == (204, b"")
    sink.show(shot())
    assert get(sink, "/frame?after=1") == (204, b"")
    monkeypatch.setattr(page_module, "_PATIENCE", 20)
    threading.Timer(0.3, sink.show, [shot(7)]).start()
    assert unpack(get(sink, "/frame?after=1")[1])[0]["number"] == 2


def test_a_taken_port_is_one_line(opened):
    port = urlsplit(opened().url).port
    with pytest.raises(UsageError, match=rf"cannot serve a page on 127.0.0.1:{port}: .*; choose another port, such as"):
        opened(f"page:{port}")


def test_a_host_that_is_not_here_is_one_line(opened):
    with pytest.raises(UsageError, match=r"cannot serve a page on 192\.0\.2\.1:0: Cannot assign"):
        opened(host="192.0.2.1")


@pytest.mark.parametrize("text", ["page:x", "page:65536", "page:-1", "page:0.0.0.0", "page:0.0.0.0:"])
def test_a_port_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="port of 0 to 65535"):
        open_sink(text)


def test_other_machines_need_the_token(opened):
    sink = opened("page:0.0.0.0:0")
    sink.show(shot())
    token = sink.url.partition("?token=")[2]
    assert len(token) >= 20
    for path in ("/", "/frame?after=0", "/stats"):
        for wrong in ("", "token=", f"token={token[:-1]}", "token=%C3%A9"):
            assert get(sink, f"{path}{'&' if '?' in path else '?'}{wrong}")[0] == 403
        assert get(sink, f"{path}{'&' if '?' in path else '?'}token={token}")[0] == 200


def test_a_token_of_ones_own_holds_for_this_machine_too(opened):
    sink = opened("page:[::1]:0", token="secret")
    assert sink.url.startswith("http://[::1]:")
    assert (get(sink, "/stats")[0], get(sink, "/stats?token=secret")[0]) == (403, 200)


def test_pixels_that_are_not_square_are_told(opened):
    sink = opened(source=info(aspect=Fraction(32, 27)))
    sink.show(shot())
    assert unpack(get(sink, "/frame?after=0")[1])[0]["aspect"] == pytest.approx(32 / 27)


def test_what_is_shown_again_is_no_new_frame(opened):
    """And a clock that stands still (its ticks take 16 ms on Windows) is no failure."""
    sink = opened()
    first = shot()
    sink.show(first)
    for _ in range(3):
        sink.show(replace(first, note="lost", repeated=True))
    stats = json.loads(get(sink, "/stats")[1])
    assert (stats["frames"], stats["fps"], stats["note"]) == (4, 0, "lost")
    assert page_module._rate([1.0, 1.0]) == 0


def test_addresses_that_are_none_are_answered(opened, capfd):
    sink = opened()
    assert get(sink, "http://[/", Host="localhost") == (400, b"this is no address\n")
    assert get(sink, "/stats", Host="[")[0] == 403
    assert capfd.readouterr().err == ""


def test_a_foreign_name_for_this_machine_is_refused(opened):
    """As a page elsewhere would use to get at the camera here (DNS rebinding)."""
    sink = opened()
    assert get(sink, "/stats", Host="evil.example:80")[0] == 403
    assert get(sink, "/stats", Host="localhost:80")[0] == 200


def test_unknown_paths_and_numbers_do_no_harm(opened):
    sink = opened()
    sink.show(shot())
    assert get(sink, "/../etc/passwd")[0] == 404
    for number in ("x", "-1", "9" * 5000, "٣"):
        assert get(sink, f"/frame?after={quote(number)}")[0] == 200


def test_viewers_that_vanish_or_never_read_hold_up_nobody(opened, monkeypatch):
    monkeypatch.setattr(page_module._Handler, "timeout", 0.5)
    sink = opened()
    address = urlsplit(sink.url).hostname, urlsplit(sink.url).port
    before = threading.active_count()
    with Feed(sink, pace=0.01) as feed:
        silent = [socket.create_connection(address) for _ in range(5)]
        for number, one in enumerate(silent):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            # The first says nothing at all, the others ask and never read, the last is gone at once.
            if number:
                one.sendall(b"GET /frame?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000)
        silent.pop().close()
        shown = feed.shown
        until(lambda: feed.shown > shown + 20)
        assert get(sink, "/frame?after=0")[0] == 200
        until(lambda: threading.active_count() <= before + 1)
        for one in silent:
            one.close()
    assert feed.failure is None


def test_leaving_frees_the_port_even_while_a_viewer_waits():
    with open_sink("page:0") as sink:
        sink.open(info(), (64, 48), sink.wants(info()))
        port = urlsplit(sink.url).port
        waiting = threading.Thread(target=get, args=(sink, "/frame?after=0"))
        waiting.start()
        time.sleep(0.2)
    waiting.join(3)  # its request would wait for five seconds
    assert not waiting.is_alive()
    with open_sink(f"page:{port}") as again:
        again.open(info(), (64, 48), again.wants(info()))


def columns(picture, row):
    """Which columns of a screenshot show before, and which after."""
    line = picture[row].astype(int)
    near = [np.abs(line - colour).max(axis=1) < 30 for colour in (BEFORE, AFTER)]
    return near[0].sum(), near[1].sum()


def seen(page, path):
    """A screenshot in RGB."""
    return cv2.imread(str(page.screenshot(path)))[..., ::-1]


def test_in_a_browser(opened, tmp_path):
    """Moves; the slider works by key and pointer; b; two viewers, of whom one is killed."""
    sink = opened(title="<b>garden</b>")
    with Feed(sink, size=(320, 180)) as feed, Browser(tmp_path / "one") as browser:
        page = browser.page(sink.url, (800, 600))
        number = until(lambda: page.evaluate("pair && pair.told.number"))
        until(lambda: page.evaluate("pair.told.number") > number + 5)
        assert page.evaluate("document.querySelector('h1').textContent") == "<b>garden</b>"
        assert float(page.evaluate("document.getElementById('fps').textContent")) > 1
        assert int(page.evaluate("document.getElementById('latency').textContent")) >= 20
        assert page.evaluate("document.body.classList.contains('live')")
        before, after = columns(seen(page, tmp_path / "half.png"), 200)
        assert before > 300
        assert after > 300

        page.evaluate("wipe.focus()")
        for _ in range(20):
            page.press("ArrowRight", 39)
        assert float(page.evaluate("wipe.value")) == 60
        moved, _ = columns(seen(page, tmp_path / "moved.png"), 200)
        assert moved > before + 50
        page.call("Input.dispatchMouseEvent", type="mousePressed", x=80, y=300, button="left", clickCount=1)
        page.call("Input.dispatchMouseEvent", type="mouseReleased", x=80, y=300, button="left", clickCount=1)
        assert float(page.evaluate("wipe.value")) == pytest.approx(10, abs=1)
        page.press("b", 66)
        assert columns(seen(page, tmp_path / "before.png"), 200)[1] == 0

        with Browser(tmp_path / "two") as other:
            second = other.page(sink.url)
            until(lambda: second.evaluate("pair && pair.told.number"))
            until(lambda: json.loads(get(sink, "/stats")[1])["viewers"] == 2)
            other.kill()
        number = page.evaluate("pair.told.number")
        until(lambda: page.evaluate("pair.told.number") > number + 5)
        until(lambda: json.loads(get(sink, "/stats")[1])["viewers"] == 1)
        assert feed.failure is None


def test_pixels_that_are_not_square_in_a_browser(opened, tmp_path):
    sink = opened(source=info(aspect=Fraction(2)))
    sink.show(shot(size=(64, 48)))
    with Browser(tmp_path / "one") as browser:
        page = browser.page(sink.url)
        until(lambda: page.evaluate("pair && pair.told.number"))
        shape = page.evaluate("canvas.clientWidth / canvas.clientHeight")
    assert shape == pytest.approx(128 / 48, rel=0.01)


def test_the_page_says_that_the_stream_has_ended_and_goes_on_when_it_is_back(opened, tmp_path):
    with Browser(tmp_path / "one") as browser:
        with open_sink("page:0") as sink:
            sink.open(info(), (64, 48), sink.wants(info()))
            port = urlsplit(sink.url).port
            page = browser.page(sink.url)
            sink.show(shot())
            until(lambda: page.evaluate("pair && pair.told.number"))
        until(lambda: "has ended" in page.evaluate("document.getElementById('note').textContent"))
        again = opened(f"page:{port}")
        again.show(shot())
        until(lambda: page.evaluate("document.getElementById('note').hidden"))
