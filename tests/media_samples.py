"""Small awkward clips made with PyAV, a trivial upscaler, and an independent reader (ffprobe)."""

import json
import shutil
import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from rfdn_stream.frame import FORMATS, Frame, Layout
from rfdn_stream.media.frames import carrier, plane_views
from rfdn_stream.media.output import plan_output
from rfdn_stream.media.reader import open_source
from rfdn_stream.media.verify import verify
from rfdn_stream.media.writer import VideoFileSink

SRT = [(0.2, 0.5, b"Hello"), (1.0, 0.5, b"<i>World</i>")]
ASS_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\nStyle: Default,Arial,20\n"
)
FAST = {"libx264": {"preset": "ultrafast"}, "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"}}


def codes(number, format, width, height):
    """Planes of a moving pattern that uses the format's whole range; every number gives another picture."""
    planes = []
    for index, shape in enumerate(format.plane_shapes(width, height)):
        grid = np.add.outer(7 * np.arange(shape[0]), 3 * np.arange(shape[1])) + 11 * number + 50 * index
        grid = grid[..., None] + 37 * np.arange(shape[2]) if len(shape) == 3 else grid
        planes.append(((grid % (format.code_max + 1)) << format.shift).astype(format.dtype))
    return planes


def picture(number, format, width, height):
    """A PyAV frame of `codes`."""
    made = av.VideoFrame(width, height, format.name)
    for view, plane in zip(plane_views(made, format, writeable=True), codes(number, format, width, height)):
        view[...] = plane
    return made


def make_clip(
    path,
    *,
    codec="libx264",
    format="yuv420p",
    size=(64, 48),
    frames=10,
    pts=None,
    durations=None,
    time_base=Fraction(1, 25),
    rate=Fraction(25),
    options=None,
    tags=None,
    sar=None,
    matrix=None,
    audio=None,
    audio_start=0,
    subtitles=None,
    cover=False,
    attachment=None,
    data_at=(),
    chapters=(),
    metadata=None,
    stream_metadata=None,
    dispositions=None,
    muxer=None,
    muxer_options=None,
    prepare=None,
):
    """Writes a clip. `pts` and `durations` are in `time_base`; `tags` are attributes of the codec context.

    `audio` and `subtitles` are lists with a codec's name a stream; `prepare` is called with each picture.
    """
    pts = list(range(frames)) if pts is None else pts
    with av.open(str(path), "w", format=muxer, container_options=muxer_options or {}) as output:
        output.metadata.update(metadata or {})
        options = {**FAST.get(codec, {}), **(options or {})}
        if codec == "libx265" and min(size) < 64:  # it writes beyond its memory else
            options["x265-params"] = ":".join(filter(None, (options.get("x265-params"), "no-cutree=1")))
        video = output.add_stream(codec, rate=rate, options=options)
        context = video.codec_context
        context.width, context.height, context.pix_fmt = *size, format
        context.time_base = video.time_base = time_base
        for name, value in (tags or {}).items():
            setattr(context, name, value)
        if sar:
            context.sample_aspect_ratio = sar
        if matrix:
            video.set_display_matrix(matrix)
        sounds = [output.add_stream(name, rate=48000, bit_rate=96000) for name in audio or ()]
        texts = [_add_subtitles(output, name) for name in subtitles or ()]
        if cover:
            _add_cover(output, picture(0, FORMATS["yuv420p"], 32, 32))
        if attachment:
            output.add_attachment("font.ttf", "font/ttf", attachment)
        for stream, values in zip([video, *sounds, *texts], stream_metadata or ()):
            stream.metadata.update(values)
        for stream, value in zip([video, *sounds, *texts], dispositions or ()):
            stream.disposition = value
        output.set_chapters(
            [
                {"id": i, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
                for i, (start, end, title) in enumerate(chapters)
            ]
        )
        end = float((pts[-1] + 1) * time_base)
        lengths = {}
        for index, time in enumerate(pts):
            made = picture(index, carrier(format), *size)
            if made.format.name != format:
                made = made.reformat(format=format, src_color_range=1, dst_color_range=1)
            made.pts, made.time_base = time, time_base
            following = pts[index + 1] if index + 1 < len(pts) else time + round(1 / rate / time_base)
            lengths[time] = durations[index] if durations else following - time
            if prepare:
                prepare(made, index)
            _mux_video(output, video.encode(made), lengths)
            if index == 0:
                for sound in sounds:
                    _mux_tone(output, sound, audio_start, end)
                for text, name in zip(texts, subtitles or ()):
                    _mux_texts(output, text, name)
        _mux_video(output, video.encode(None), lengths)
    return path


def _mux_video(output, packets, lengths):
    for packet in packets:
        packet.duration = lengths[packet.pts]
        output.mux(packet)


def _add_subtitles(output, codec):
    stream = output.add_mux_stream(codec)
    stream.time_base = Fraction(1, 1000)
    return stream


def _add_cover(output, image):
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = image.width, image.height, "rgb24"
    encoder.time_base = Fraction(1, 25)
    data = b"".join(bytes(p) for p in [*encoder.encode(image.reformat(format="rgb24")), *encoder.encode(None)])
    if output.format.name == "matroska":
        output.add_attachment("cover.png", "image/png", data)
        return
    stream = output.add_mux_stream("png", width=image.width, height=image.height)
    stream.disposition = Disposition.attached_pic
    stream.time_base = Fraction(1, 90000)
    packet = av.Packet(data)
    packet.pts = packet.dts = 0
    packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 90000), True
    output.mux(packet)


def _mux_tone(output, stream, start, end):
    wave = (8000 * np.sin(np.arange(round(max(end - start, 0.1) * 48000)) / 20)).astype(np.int16)
    for offset in range(0, len(wave), 1024):
        block = av.AudioFrame.from_ndarray(np.tile(wave[None, offset : offset + 1024], (1, 2)), "s16", "stereo")
        block.sample_rate, block.time_base = 48000, Fraction(1, 48000)
        block.pts = round(start * 48000) + offset
        output.mux(stream.encode(block))
    output.mux(stream.encode(None))


def _mux_texts(output, stream, codec):
    for order, (start, duration, text) in enumerate(SRT):
        if codec == "mov_text":
            text = len(text).to_bytes(2, "big") + text
        elif codec == "ass":
            text = b"%d,0,Default,,0,0,0,,%s" % (order, text)
        packet = av.Packet(text)
        packet.pts = packet.dts = round(start * 1000)
        packet.duration = round(duration * 1000)
        packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 1000), True
        output.mux(packet)


def make_captioned_clip(folder):
    """A clip of keyframes, each with an ATSC caption: a registered SEI message (ITU-T T.35) put before it."""
    payload = b"\xb5\x00\x31GA94\x03\x43\xff" + b"\xfc\x94\x2c" * 3 + b"\xff"
    message = b"\x06\x04" + bytes([len(payload)]) + payload + b"\x80"
    plain = make_clip(folder / "plain.mkv", frames=12, options={"g": "1"})
    with av.open(str(plain)) as old, av.open(str(folder / "captioned.mkv"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        for packet in old.demux(old.streams.video[0]):
            if packet.size:
                made = av.Packet(len(message).to_bytes(4, "big") + message + bytes(packet))
                made.pts, made.dts, made.time_base = packet.pts, packet.dts, packet.time_base
                made.is_keyframe, made.stream = packet.is_keyframe, stream
                new.mux(made)
    return folder / "captioned.mkv"


def enlarged(frame, format, color, scale=2):
    """The 'upscaler': each sample repeated; into another format, that format's pattern."""
    layout = Layout(format, frame.width * scale, frame.height * scale)
    if format == frame.format:
        planes = tuple(
            np.repeat(np.repeat(plane, scale, 0), scale, 1)[: shape[0], : shape[1]]
            for plane, shape in zip(frame.planes, layout.shapes)
        )
    else:
        planes = tuple(codes(0, format, layout.width, layout.height))
    return frame.like(planes, layout, color)


def round_trip(source_path, target, options=None, *, start=None, duration=None, scale=2):
    """Upscales a file by `enlarged`, checks it with `verify`.

    Returns the plan, the report, the input frames' (pts, duration), and the closed source.
    """
    with open_source(source_path, start, duration) as source:
        plan = plan_output(source, target, options)
        size = source.info.width * scale, source.info.height * scale
        times = []
        with VideoFileSink(target, source, plan, size) as sink:
            for item in source.items():
                if isinstance(item, Frame):
                    times.append((item.pts, item.duration))
                    sink.write(enlarged(item, plan.encoding.format, plan.encoding.color, scale))
                else:
                    sink.copy(item)
            report = sink.finish()
        assert report.frames == source.frames == len(times)
    verify(target, report)
    return plan, report, times, source


def frames_of(path, *span):
    """All frames of a file, copied out of the decoder's memory."""
    with open_source(path, *span) as source:
        return [(i.pts, i.duration, [p.copy() for p in i.planes]) for i in source.items() if isinstance(i, Frame)]


def decoded_linearly(path):
    """(pts in seconds, luma) of every frame, by PyAV alone."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
        return [(frame.pts * base, frame.to_ndarray()[: frame.height].copy()) for frame in container.decode(stream)]


def ffprobe(path, *arguments):
    """What Debian's ffprobe says, as JSON; skips the rest of the test where it is missing."""
    if shutil.which("ffprobe") is None:
        pytest.skip("ffprobe is not installed")
    command = ["ffprobe", "-v", "error", "-of", "json", *arguments, str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def probe_streams(path):
    """ffprobe's streams."""
    return ffprobe(path, "-show_streams")["streams"]


def packet_times(path, stream=0):
    """Sorted (pts, duration) of a stream's packets in seconds, by ffprobe."""
    packets = ffprobe(path, "-select_streams", str(stream), "-show_packets")["packets"]
    return sorted((float(p["pts_time"]), float(p.get("duration_time", 0))) for p in packets)
