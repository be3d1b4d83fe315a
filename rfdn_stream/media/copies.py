"""The streams of a written file that are copied: their packets, made fit for the container."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from av.bitstream import BitStreamFilterContext
from av.format import Flags
from av.packet import Packet
from av.stream import Stream

from rfdn_stream.media.fingerprint import Fingerprint
from rfdn_stream.media.frames import fraction
from rfdn_stream.media.output import OutputPlan
from rfdn_stream.media.passthrough import MOV_FAMILY, add_copy, has_flag, open_filter, stream_codec
from rfdn_stream.media.source import CopiedPacket, Source
from rfdn_stream.media.verify import SinkReport

if TYPE_CHECKING:
    from av.container.output import OutputContainer


class Copies:
    """What the plan copies of `source`: streams added to an output, and their packets on the way there.

    Args:
        report: gets a fingerprint of each stream that is added.
    """

    def __init__(self, source: Source, plan: OutputPlan, report: SinkReport) -> None:
        self._source, self._muxer, self._report = source, plan.muxer, report
        self._planned = {copied.index: copied for copied in plan.copied}
        self._mapping: dict[int, Stream] = {}
        self._filters: dict[int, BitStreamFilterContext] = {}
        self._last_dts: dict[int, int] = {}
        self._strict_kinds = () if has_flag(plan.muxer, Flags.ts_nonstrict) else ("audio", "video")

    def add(self, output: OutputContainer, stream: Stream) -> None:
        """Gives the output a twin of the source's stream, if the plan has one."""
        copied = self._planned.get(stream.index)
        if copied is None:
            return
        added = add_copy(output, self._source, copied)
        self._report.copied[stream.index] = Fingerprint(copied.codec or stream_codec(stream) or "")
        if added.type != "attachment":
            self._mapping[stream.index] = added
        if (filter := open_filter(copied, self._source)) is not None:
            self._filters[stream.index] = filter

    def ready(self, copied: CopiedPacket) -> Iterator[Packet[Stream]]:
        """The packets to be muxed for one of the source; none where its stream is not copied."""
        stream = self._mapping.get(copied.index)
        packet = copied.packet
        if stream is None or (packet.is_discard and self._muxer not in MOV_FAMILY):
            return
        filter = self._filters.get(copied.index)
        for made in filter.filter(packet) if filter else [packet]:
            if made.size:
                self._place(made, stream, copied.index)
                yield made

    def _place(self, packet: Packet[Stream], stream: Stream, index: int) -> None:
        packet.rescale_ts(stream.time_base)
        if packet.dts is None:
            packet.dts = packet.pts
        if packet.dts is not None:
            # Containers that round times make equal ones, which other containers do not take.
            floor = self._last_dts.get(index, packet.dts - 1) + (stream.type in self._strict_kinds)
            if packet.dts < floor:
                packet.dts = floor
                packet.pts = floor if packet.pts is None else max(packet.pts, floor)
            self._last_dts[index] = packet.dts
        packet.stream = stream
        self._report.copied[index].add(packet, fraction(stream.time_base) or Fraction(1))
