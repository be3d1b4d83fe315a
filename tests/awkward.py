"""Small awkward clips, each made in a moment: what people's files are like, and what they hold."""

import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.stream import Disposition

from media_samples import make_captioned_clip, make_clip
from rfdn_stream.media import shell
from rfdn_stream.media.matroska import ebml

PQ = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1, "chroma_sample_location": 3}
HLG = {**PQ, "color_trc": 18}
BT709 = {"color_primaries": 1, "color_trc": 1, "colorspace": 1, "color_range": 1, "chroma_sample_location": 1}
HDR_PARAMS = (
    "log-level=none:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    ":max-cll=1000,400"
)
X265 = {"codec": "libx265", "format": "yuv420p10le", "options": {"x265-params": HDR_PARAMS}}
QUARTER_TURN = [0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30]
MS = Fraction(1, 1000)
CHAPTERS = [(0, 200, "Beginning"), (200, 400, "End")]


@dataclass(frozen=True)
class Clip:
    """A clip, and what is to become of it.

    Args:
        make: writes it into a folder.
        says: what must be told, as regular expressions; by container or codec where it depends on that.
        frames: what differs from "as many as there are, at the same times".
        everywhere: for all containers and encoders; others take turns.
        options: of the job.
        holds: names of the promises in test_awkward.py that it is about, beside those for all.
    """

    make: Callable
    says: dict[str, tuple[str, ...]] = field(default_factory=dict)
    frames: int | None = None
    everywhere: bool = False
    options: dict = field(default_factory=dict)
    holds: tuple[str, ...] = ()


CLIPS: dict[str, Clip] = {}


def clip(*holds, says=None, frames=None, everywhere=False, **options):
    """Registers the function below as a clip of its name; `says` may be a tuple for all outputs."""
    says = {"": says} if isinstance(says, tuple) else says or {}

    def register(make):
        CLIPS[make.__name__] = Clip(make, says, frames, everywhere, options, holds)
        return make

    return register


def ffmpeg(folder, name, *arguments, size="64x48", frames=10):
    """A clip of Debian's ffmpeg from its test picture; `arguments` come before the output's name."""
    source = ("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25", "-frames:v", str(frames))
    return run(folder, name, *source, *arguments)


def run(folder, name, *arguments):
    """What Debian's ffmpeg makes."""
    command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments), str(folder / name)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder / name


# --- time -------------------------------------------------------------------------------------------------------


@clip()
def vfr_in_milliseconds(folder):
    return make_clip(folder / "in.mkv", pts=[0, 7, 40, 41, 120, 333, 334, 335, 400, 1000], time_base=MS)


@clip()
def vfr_in_mp4(folder):
    pts = [0, 3003, 6006, 15015, 15105, 30030, 90000, 93003]
    return make_clip(folder / "in.mp4", pts=pts, time_base=Fraction(1, 90000), options={"bf": "0"})


@clip()
def vfr_of_two_rates(folder):
    pts = [*range(0, 5 * 1001, 1001), *range(5 * 1001, 5 * 1001 + 5 * 834, 834)]
    return make_clip(folder / "in.mkv", pts=pts, time_base=Fraction(1, 24000), options={"bf": "2"})


@clip()
def ntsc_rate(folder):
    return make_clip(folder / "in.mp4", rate=Fraction(30000, 1001), time_base=Fraction(1001, 30000))


@clip()
def one_picture_shown_for_a_minute(folder):
    return make_clip(folder / "in.mp4", pts=[0, 1, 1500], options={"bf": "0"})


@clip()
def starts_late(folder):
    return make_clip(folder / "in.mkv", pts=[131 + i for i in range(8)], audio=["aac"], audio_start=5)


@clip()
def sound_before_picture(folder):
    return make_clip(folder / "in.mkv", pts=[12 + i for i in range(8)], audio=["pcm_s16le"])


@clip()
def picture_before_sound(folder):
    return make_clip(folder / "in.mp4", audio=["aac"], audio_start=0.2)


@clip()
def edit_list_hides_the_beginning(folder):
    whole = make_clip(folder / "whole.mp4", frames=20, options={"bf": "2", "g": "20", "preset": "medium"})
    return run(folder, "in.mp4", "-ss", "0.3", "-i", whole, "-c", "copy")


@clip()
def edit_list_delays_the_picture(folder):
    return run(folder, "in.mp4", "-itsoffset", "0.5", "-i", make_clip(folder / "whole.mp4"), "-c", "copy")


@clip()
def open_gop(folder):
    params = "open-gop=1:keyint=4:min-keyint=4:scenecut=0:bframes=3:b-adapt=0"
    return make_clip(folder / "in.mkv", frames=12, options={"preset": "medium", "x264-params": params})


@clip()
def open_gop_of_hevc(folder):
    params = "log-level=none:open-gop=1:keyint=4:min-keyint=4:scenecut=0:bframes=3:b-adapt=0"
    return make_clip(folder / "in.mp4", codec="libx265", frames=12, options={"x265-params": params})


@clip()
def one_frame(folder):
    return make_clip(folder / "in.mkv", frames=1)


@clip()
def two_frames_of_film(folder):
    return make_clip(folder / "in.mp4", frames=2, rate=Fraction(24), time_base=Fraction(1, 24))


@clip(says=("not kept: transparency .*ffv1 in \\.mkv",))
def animated_gif(folder):
    return ffmpeg(folder, "in.gif", frames=5)


@clip()
def avi_with_packed_b_frames(folder):
    return ffmpeg(folder, "in.avi", "-c:v", "mpeg4", "-bf", "2", "-q:v", "2")


# --- colour -----------------------------------------------------------------------------------------------------


@clip("hdr", everywhere=True)
def pq_with_mastering_display(folder):
    return make_clip(folder / "in.mp4", **X265, tags=PQ, frames=6)


@clip()
def hlg(folder):
    return make_clip(folder / "in.mkv", codec="libx265", format="yuv420p10le", tags=HLG, frames=6)


@clip("hdr", "hdr10_plus", everywhere=True, says={"libx264": ("not kept: HDR10\\+.*it is into HEVC and AV1",)})
def hdr10_plus(folder):
    plain = make_clip(folder / "plain.mkv", **X265, tags=PQ, frames=6)
    return with_messages(plain, folder / "in.mkv", lambda number: hdr10_plus_message(number))


@clip("hdr", says=("not kept: Dolby Vision metadata",))
def dolby_vision(folder):
    record = struct.pack(">5B19x", 1, 0, 8 << 1, (1 << 3) | 5, 1 << 4)
    mapping = ebml(0x41F0, b"\1") + ebml(0x41A4, b"Dolby Vision configuration") + ebml(0x41E7, b"dvvC")
    plain = make_clip(folder / "plain.mkv", **X265, tags=PQ, frames=6)
    return with_header(plain, folder / "in.mkv", b"", ebml(0x41E4, mapping + ebml(0x41ED, record)))


@clip("hdr")
def hdr_of_vp9_in_its_container(folder):
    primaries = [0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 1000, 0.005]
    mastering = b"".join(ebml(0x55D1 + i, struct.pack(">d", value)) for i, value in enumerate(primaries))
    light = ebml(0x55BC, b"\x03\xe8") + ebml(0x55BD, b"\x01\x90")
    plain = make_clip(folder / "plain.mkv", codec="libvpx-vp9", tags=PQ, frames=6)
    return with_header(plain, folder / "in.mkv", ebml(0x55B0, light + ebml(0x55D0, mastering)))


@clip()
def full_range(folder):
    return make_clip(folder / "in.mkv", tags={**BT709, "color_range": 2})


@clip()
def motion_jpeg(folder):
    return ffmpeg(folder, "in.avi", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")


@clip(says=("does not say how its colour is meant.*matrix bt601",))
def untagged_sd(folder):
    return make_clip(folder / "in.mkv", size=(72, 48))


@clip()
def bt709(folder):
    return make_clip(folder / "in.mp4", tags=BT709)


@clip()
def pal_primaries(folder):
    tags = {"color_primaries": 5, "color_trc": 6, "colorspace": 5, "color_range": 1}
    return make_clip(folder / "in.mp4", tags=tags)


@clip(says={"libsvtav1": ("coarser",)})
def four_two_two_of_ten_bits(folder):
    return make_clip(folder / "in.mkv", format="yuv422p10le", tags=BT709, options={"preset": "medium"})


@clip(says={"libsvtav1": ("coarser",)})
def four_four_four(folder):
    return make_clip(folder / "in.mkv", format="yuv444p", tags=BT709)


@clip(says={"libx264": ("coarser",), "libsvtav1": ("coarser",)})
def twelve_bits(folder):
    return make_clip(folder / "in.mkv", codec="libx265", format="yuv420p12le", tags=PQ, frames=4)


@clip()
def gray(folder):
    return make_clip(folder / "in.mkv", format="gray")


@clip()
def gray_of_ten_bits(folder):
    return make_clip(folder / "in.mkv", codec="ffv1", format="gray10le")


@clip(says={"libsvtav1": ("coarser",)})
def rgb(folder):
    return ffmpeg(folder, "in.mov", "-c:v", "png", "-pix_fmt", "rgb24")


@clip(says={"libsvtav1": ("coarser",)})
def rgb_of_ten_bits(folder):
    return ffmpeg(folder, "in.mkv", "-c:v", "ffv1", "-pix_fmt", "gbrp10le")


# --- shape ------------------------------------------------------------------------------------------------------


@clip("aspect", everywhere=True)
def pixel_aspect_ratio(folder):
    return make_clip(folder / "in.mkv", sar=Fraction(16, 11), size=(88, 72), tags=BT709, frames=6)


@clip("rotation", everywhere=True)
def rotation(folder):
    return make_clip(folder / "in.mp4", matrix=QUARTER_TURN, frames=6)


@clip("rotation")
def upside_down(folder):
    half_turn = [-65536, 0, 0, 0, -65536, 0, 64 << 16, 48 << 16, 1 << 30]
    return make_clip(folder / "in.mp4", matrix=half_turn)


@clip("interlaced", says=("bwdif makes frames of its fields",))
def interlaced(folder):
    weave = ("-vf", "tinterlace=interleave_top", "-flags", "+ildct+ilme", "-x264-params", "tff=1")
    return ffmpeg(folder, "in.mkv", *weave)


@clip("interlaced", says=("bwdif makes frames of its fields", "not kept: data #0 \\(dvd_nav_packet"))
def interlaced_dvd(folder):
    arguments = ("-vf", "tinterlace=interleave_bottom", "-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-q:v", "2")
    return ffmpeg(folder, "in.mpg", *arguments, "-f", "dvd")


@clip("interlaced", frames=20, says=("bwdif makes frames of its fields",), deinterlace="bob")
def interlaced_as_fields(folder):
    return interlaced(folder)


@clip()
def odd_sizes(folder):
    return make_clip(folder / "in.nut", codec="rawvideo", format="yuv444p", size=(63, 47), frames=4)


@clip()
def four_pixels_a_side(folder):
    return make_clip(folder / "in.nut", codec="rawvideo", size=(32, 32), frames=4)


@clip(frames=16, says=("the picture changes to 96x72 yuv420p at 1\\.7\\d+ s and is scaled",))
def resolution_changes_midway(folder):
    parts = [make_clip(folder / f"{size[0]}.ts", size=size, frames=8) for size in ((64, 48), (96, 72))]
    return run(folder, "in.ts", "-i", f"concat:{parts[0]}|{parts[1]}", "-c", "copy")


@clip("stereo", everywhere=True)
def stereo(folder):
    return with_header(make_clip(folder / "plain.mkv", frames=6), folder / "in.mkv", ebml(0x53B8, b"\3"))


@clip("spherical")
def seen_all_around(folder):
    angles = b"".join(ebml(0x7673 + i, struct.pack(">d", angle)) for i, angle in enumerate((90, 10, -5)))
    projection = ebml(0x7671, b"\1") + ebml(0x7672, bytes(20)) + angles
    return with_header(make_clip(folder / "plain.mkv", frames=6), folder / "in.mkv", ebml(0x7670, projection))


# --- what else a file holds -------------------------------------------------------------------------------------


@clip("captions", everywhere=True, says={"libsvtav1": ("not kept: closed captions",)})
def closed_captions(folder):
    return make_captioned_clip(folder)


@clip(
    "rich", everywhere=True,
    says={
        "mp4": (
            "not kept: subtitle #4 \\(webvtt.*\\.mkv can",
            "not kept: attachment #6.*\\.mkv has",
            "not kept: the file's tags SHELF \\(.*\\.mkv has",
        )
    },
)  # fmt: skip
def sounds_subtitles_fonts_chapters_cover(folder):
    return make_clip(
        folder / "in.mkv",
        audio=["aac", "pcm_s16le"],
        subtitles=["subrip", "webvtt"],
        cover=True,
        attachment=b"font data",
        chapters=CHAPTERS,
        metadata={"title": "A film", "artist": "Someone", "DESCRIPTION": "words", "SHELF": "3"},
        stream_metadata=[
            {"title": "Main picture"},
            {"language": "deu", "title": "Ton"},
            {"language": "eng"},
            {"language": "fra", "title": "Forced"},
            {"language": "eng"},
        ],
        dispositions=[
            Disposition.default,
            Disposition.default,
            Disposition.comment,
            Disposition.forced,
            Disposition.hearing_impaired,
        ],
    )


@clip("rich", everywhere=True)
def film_of_mp4(folder):
    return make_clip(
        folder / "in.mp4",
        audio=["aac", "aac"],
        subtitles=["mov_text"],
        cover=True,
        chapters=CHAPTERS,
        metadata={"title": "A film", "artist": "Someone"},
        stream_metadata=[{"language": "eng"}, {"language": "deu"}, {"language": "eng"}, {"language": "fra"}],
    )


@clip("timecode")
def timecode(folder):
    return make_clip(folder / "in.mov", stream_metadata=[{"timecode": "01:02:03:04"}])


@clip(says={"mp4": ("not kept: subtitle #1 \\(ass.*MP4 cannot hold ass; \\.mkv can",)})
def styled_subtitles(folder):
    make_clip(folder / "plain.mkv")
    text = folder / "in.srt"
    text.write_text("1\n00:00:00,100 --> 00:00:00,300\nHello\n")
    return run(folder, "in.mkv", "-i", folder / "plain.mkv", "-i", text, "-c:v", "copy", "-c:s", "ass")


@clip()
def broadcast(folder):
    return run(
        folder, "in.ts", "-i", make_clip(folder / "plain.mkv", audio=["aac"]), "-c:v", "copy", "-c:a", "ac3",
        "-metadata:s:a", "language=deu",
    )  # fmt: skip


@clip("joined", frames=20, says=("another recording begins at 1\\.\\d+ s; its times go on from there",))
def joined_broadcasts(folder):
    part = make_clip(folder / "part.ts", pts=[25 + i for i in range(10)], audio=["mp2"], audio_start=1)
    (folder / "in.ts").write_bytes(2 * part.read_bytes())
    return folder / "in.ts"


# --- damage -----------------------------------------------------------------------------------------------------


@clip(frames=-1, says=("the source is damaged",))
def truncated(folder):
    whole = make_clip(folder / "whole.mkv", frames=100, size=(160, 96)).read_bytes()
    (folder / "in.mkv").write_bytes(whole[: len(whole) // 3])
    return folder / "in.mkv"


@clip(frames=-1, says=("the source is damaged",))
def corrupt(folder):
    path = make_clip(folder / "in.mp4", frames=30, options={"g": "5", "bf": "0"})
    data, random = bytearray(path.read_bytes()), np.random.default_rng(0)
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size][12:14]
    for start, size in places:
        data[start + 6 : start + size] = random.bytes(size - 6)
    path.write_bytes(data)
    return path


# --- what is left aside -----------------------------------------------------------------------------------------


@clip(says=("film with soft telecine: each picture is made once", "5 pictures asked for a field to be shown twice"))
def film_with_soft_telecine(folder):
    """MPEG-2 of which every second picture asks for a third field: 24 a second that are shown as 60 fields."""
    ticks = [sum(3 if i % 2 == 0 else 2 for i in range(number)) * 17 for number in range(10)]
    options = {"flags": "+ildct", "bf": "0"}
    plain = make_clip(folder / "plain.mkv", codec="mpeg2video", size=(64, 64), rate=Fraction(30), options=options)
    with av.open(str(plain)) as old, av.open(str(folder / "in.mkv"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        for number, packet in enumerate(p for p in old.demux(old.streams.video[0]) if p.size):
            made = av.Packet(as_film(bytes(packet), repeats=number % 2 == 0))
            made.pts = made.dts = ticks[number]
            made.time_base, made.is_keyframe, made.stream = MS, packet.is_keyframe, stream
            made.duration = 17 * (3 if number % 2 == 0 else 2)
            new.mux(made)
    return folder / "in.mkv"


@clip(says=("not kept: transparency .*libvpx-vp9 -i IN",))
def transparency_beside_the_pictures(folder):
    return ffmpeg(folder, "in.webm", "-vf", "format=yuva420p", "-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", frames=5)


# --- making what no program here makes --------------------------------------------------------------------------


def with_header(source, target, video, track=b""):
    """The clip with further elements in its Matroska header: of Video, and of the track."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        template = old.streams.video[0]
        codec = shell._CODEC_IDS[template.codec_context.codec.canonical_name].encode()
        size = ebml(0xB0, template.width.to_bytes(2, "big")) + ebml(0xBA, template.height.to_bytes(2, "big"))
        private = ebml(0x63A2, template.codec_context.extradata) if template.codec_context.extradata else b""
        entry = ebml(0xD7, b"\1") + ebml(0x73C5, b"\1") + ebml(0x83, b"\1") + ebml(0x86, codec) + private
        entry += ebml(0xE0, size + video) + track
        segment = ebml(0x1654AE6B, ebml(0xAE, entry)) + ebml(0x1F43B675, ebml(0xE7, b"\0"))
        (target.parent / "header.mkv").write_bytes(
            ebml(0x1A45DFA3, ebml(0x4282, b"matroska")) + ebml(0x18538067, segment)
        )
        with av.open(str(target.parent / "header.mkv")) as header:
            stream = new.add_stream_from_template(template, opaque=True)
            BitStreamFilterContext("null", in_stream=header.streams.video[0], out_stream=stream)
            for name in ("color_primaries", "color_trc", "colorspace", "color_range"):
                setattr(stream.codec_context, name, getattr(template.codec_context, name))
            stream.time_base = template.time_base
            for packet in old.demux(template):
                if packet.size:
                    packet.stream = stream
                    new.mux(packet)
    return target


def as_film(packet, *, repeats):
    """A packet of MPEG-2 with a progressive picture, and its `repeat_first_field`."""
    data = bytearray(packet)
    at = data.find(b"\0\0\1\xb5")
    while data[at + 4] >> 4 != 8:
        at = data.find(b"\0\0\1\xb5", at + 1)
    data[at + 7] = (data[at + 7] & 0xFD) | 2 * repeats
    data[at + 8] |= 0x80
    return bytes(data)


def with_messages(source, target, message):
    """The clip with a T.35 message of its own before each picture, in order of decoding."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        for packet in old.demux(old.streams.video[0]):
            if packet.size:
                data = message(round(packet.pts * packet.time_base * 25))
                unit = b"\x4e\x01\x04" + bytes((len(data),)) + data + b"\x80"
                made = av.Packet(len(unit).to_bytes(4, "big") + unit + bytes(packet))
                made.pts, made.dts, made.time_base = packet.pts, packet.dts, packet.time_base
                made.duration, made.is_keyframe, made.stream = packet.duration, packet.is_keyframe, stream
                new.mux(made)
    return target


def hdr10_plus_message(number):
    """A message of SMPTE ST 2094-40 for the picture of that number, which it can be told by."""
    fields = [(1, 2), (400, 27), (0, 1)]  # one window, the target's luminance, no peaks
    fields += [(50_000, 17), (40_000, 17), (30_000, 17), (20_000 + number, 17), (1, 4), (50, 7), (12_345, 17)]
    fields += [(77, 10), (0, 1), (0, 1), (0, 1)]  # bright share, no peaks, no curve, no saturation
    bits = "".join(f"{value:0{width}b}" for value, width in fields)
    bits += "0" * (-len(bits) % 8)
    return bytes.fromhex("b5003c00010401") + int(bits, 2).to_bytes(len(bits) // 8, "big")
