"""An address as a source: udp, rtp, rtsp, rtmp, tcp, http."""

from __future__ import annotations

import errno

from rfdn_stream.errors import UsageError
from rfdn_stream.live.address import without_secrets
from rfdn_stream.live.sources import SourceOptions
from rfdn_stream.live.sources.stream import Opening, StreamSource

# Half a second is enough to find the streams; FFmpeg's default looks for five.
_COMMON = {"analyzeduration": "500000"}
# A receiver of datagrams that is late loses some and goes on; FFmpeg would end the stream.
_DATAGRAMS = {"overrun_nonfatal": "1", "fifo_size": "50000"}
_OPTIONS = {
    "udp": _DATAGRAMS,
    "rtp": _DATAGRAMS,
    "rtsp": {"max_delay": "100000"},
    "rtmp": {"rtmp_live": "live"},
    "rtmps": {"rtmp_live": "live"},
}
_LISTENING = {
    "rtsp": {"rtsp_flags": "listen"},
    "rtmp": {"listen": "1"},
    "tcp": {"listen": "1"},
    "http": {"listen": "1"},
}
_NOBODY = "start the sender first, and look at address, port and firewall"
_HINTS = {
    errno.ECONNREFUSED: "nobody listens there; start the sender first, or let it connect to here with --listen",
    errno.ETIMEDOUT: _NOBODY,
    errno.EADDRINUSE: "another program uses the port; choose another one",
    -1: "look at the address and whether its sender runs",
}


class AddressSource(StreamSource):
    """What is sent to or can be fetched from an address."""

    def __init__(self, address: str, options: SourceOptions) -> None:
        scheme = address.partition("://")[0]
        more = dict(_OPTIONS.get(scheme, {}))
        if options.listen:
            if scheme not in _LISTENING:
                raise UsageError(f"--listen is for {', '.join(_LISTENING)}; leave it out for {scheme}://")
            more |= _LISTENING[scheme]
            if scheme == "rtsp":
                more["listen_timeout"] = str(max(1, round(options.timeout)))
        super().__init__(
            Opening(
                name=without_secrets(address),
                address=address,
                options=_COMMON | more,
                timeout=options.timeout,
                paced=True if options.as_camera else None,
                deinterlace=options.deinterlace,
                hints=_HINTS,
            )
        )
