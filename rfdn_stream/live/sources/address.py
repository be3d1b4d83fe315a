"""An address as a source: udp, rtp (by its .sdp file), rtsp, rtmp, tcp, http."""

from __future__ import annotations

import errno
import os

from rfdn_stream.errors import UsageError
from rfdn_stream.live.address import without_secrets
from rfdn_stream.live.sources import SourceOptions
from rfdn_stream.live.sources.stream import Opening, StreamSource
from rfdn_stream.media.probe import ADDRESS_OPTIONS

# Half a second is enough to find the streams; FFmpeg's default looks for five, which some formats take in full. What
# a keyframe alone tells, the decoder learns when it comes.
_COMMON = {"analyzeduration": "500000"}
# A receiver of datagrams that is late loses some and goes on; FFmpeg would end the stream.
_DATAGRAMS = {"overrun_nonfatal": "1", "fifo_size": "50000"}
_OPTIONS = {
    "udp": _DATAGRAMS,
    "rtp": _DATAGRAMS,
    "rtsp": {"max_delay": "100000"},
    "rtmp": {"rtmp_live": "live"},
    "rtmps": {"rtmp_live": "live"},
    "http": ADDRESS_OPTIONS,
    "https": ADDRESS_OPTIONS,
    "sdp": {"protocol_whitelist": "file,udp,rtp"} | _DATAGRAMS,
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
_HINTS_FOR = {
    "rtp": {-1: "a stream by RTP needs its .sdp file as the SOURCE, which the sender writes"},
    "sdp": {errno.ENOENT: "name the .sdp file that the sender has written"},
}
_HINTS_LISTENING = {-1: "what connected sent no video that FFmpeg can read"}


class AddressSource(StreamSource):
    """What is sent to or can be fetched from an address, or the address that is in a .sdp file."""

    def __init__(self, address: str, options: SourceOptions) -> None:
        is_file = "://" not in address
        scheme = "sdp" if is_file else address.partition("://")[0]
        super().__init__(
            Opening(
                name=address if is_file else without_secrets(address),
                address=os.path.abspath(address) if is_file else address,
                options=_COMMON | _asked(scheme, options),
                timeout=options.timeout,
                paced=True if options.as_camera else None,
                listening=options.listen,
                deinterlace=options.deinterlace,
                hints=_HINTS | (_HINTS_LISTENING if options.listen else _HINTS_FOR.get(scheme, {})),
            )
        )


def _asked(scheme: str, options: SourceOptions) -> dict[str, str]:
    """FFmpeg's options for a kind of address."""
    if not options.listen:
        return _OPTIONS.get(scheme, {})
    if scheme not in _LISTENING:
        raise UsageError(f"--listen is for {', '.join(_LISTENING)}; leave it out for {scheme}")
    patience = {"listen_timeout": str(max(1, round(options.timeout)))} if scheme == "rtsp" else {}
    more = {} if scheme == "http" else _OPTIONS.get(scheme, {})  # who connects cannot be connected to again
    return more | _LISTENING[scheme] | patience
