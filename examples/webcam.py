"""A webcam in a window, sharper and in time; q or Ctrl-C ends it."""

from rfdn_stream import Upscaler
from rfdn_stream.live.session import LiveOptions, Session
from rfdn_stream.live.sinks import open_sink
from rfdn_stream.live.sources import open_source

with Upscaler(scale=2, depth=2) as upscaler:
    session = Session(lambda: open_source("camera"), upscaler, [open_sink("window")], LiveOptions(latency=0.1))
    status = session.run()
print(f"{status.shown} frames in {status.seconds:.0f} s, latency {1000 * status.p50:.0f} ms")
