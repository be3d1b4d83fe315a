"""Damaged media files, seeded, through probe and upscale: no hang, no crash, no traceback, nothing left behind.

    uv run python tests/fuzz.py [--count 2000] [--seed 0] [--limit 60] [--keep FOLDER]

Files are mutated where their structure is: sizes and names of EBML elements and MP4 boxes, NAL units, MPEG-TS packets,
timestamps, and bits, blocks and lengths anywhere. One process after another does the work, each until one file
kills or hangs it; so what happens to a file is known even when the process is gone.
"""

import argparse
import contextlib
import io
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

IMAGES = (".png", ".jpg", ".webp", ".tiff")
DAY = 24 * 3600  # seconds
MEMORY = 8 << 30  # bytes of address space above what torch takes; a file that asks for more is a finding
NAMES = re.compile(rb"ftyp|moov|trak|mdia|minf|stbl|stts|ctts|stsc|stsz|stco|stss|elst|edts|mdhd|tkhd|stsd|avcC|mdat|"
                   rb"RIFF|LIST|hdrl|strl|strh|strf|movi|idx1|IHDR|IDAT|PLTE|tRNS|acTL|VP8X|VP8L")  # fmt: skip


# --- what is mutated --------------------------------------------------------------------------------------------


def make_corpus(folder):
    """Small whole files of many kinds."""
    os.environ.setdefault("SVT_LOG", "1")
    import av
    import cv2
    import numpy as np

    from media_samples import make_clip

    rich = {"audio": ["aac"], "chapters": [(0, 200, "a"), (200, 400, "b")], "metadata": {"title": "A film"}}
    (
        make_clip(folder / "a.mkv", **rich, subtitles=["subrip"], cover=True, attachment=b"font", options={"bf": "2"}),
        make_clip(folder / "b.mp4", **rich, subtitles=["mov_text"], cover=True, options={"bf": "2", "preset": "fast"}),
        make_clip(folder / "c.ts", audio=["mp2"], codec="mpeg2video"),
        make_clip(folder / "d.mkv", codec="libx265", format="yuv420p10le", frames=5),
        make_clip(folder / "e.avi", codec="mpeg4", audio=["mp2"]),
        make_clip(folder / "f.webm", codec="libvpx-vp9", frames=5, options={"cpu-used": "8"}),
        make_clip(folder / "g.mov", codec="prores_ks", format="yuv422p10le", frames=3, audio=["pcm_s16le"]),
        make_clip(folder / "h.mkv", codec="libsvtav1", frames=4, options={"preset": "12"}),
        make_clip(folder / "i.mkv", codec="ffv1", frames=4),
        make_clip(folder / "j.flv", codec="flv", frames=6),
        make_clip(folder / "k.mp4", frames=8, pts=[0, 3, 7, 8, 20, 21, 22, 90], time_base=Fraction(1, 600),
                  muxer_options={"movflags": "frag_keyframe+empty_moov"}),
        make_clip(folder / "l.mpg", codec="mpeg1video", frames=8),
    )  # fmt: skip
    gif = folder / "m.gif"
    with av.open(str(gif), "w") as output:
        stream = output.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "rgb8"
        for number in range(3):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32), 40 * number, np.uint8), "rgb8")))
        output.mux(stream.encode(None))
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 4), np.uint8)
    for name in ("n.png", "o.jpg", "p.webp", "q.tiff"):
        cv2.imwrite(str(folder / name), picture if name != "o.jpg" else picture[..., :3])


def whole_files(home):
    """The corpus below a folder, in an order that every process agrees on."""
    return sorted((Path(home) / "corpus").iterdir())


# --- how it is mutated ------------------------------------------------------------------------------------------


def flip_bits(data, rng):
    for _ in range(rng.choice((1, 3, 20, 200))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwrite_block(data, rng):
    at, size = rng.randrange(len(data)), rng.choice((1, 4, 16, 256))
    fill = rng.choice((b"\0", b"\xff", b"\x7f", None))
    data[at : at + size] = rng.randbytes(size) if fill is None else fill * size


def truncate(data, rng):
    del data[rng.randrange(len(data)) :]


def cut_out(data, rng):
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 5, 188, 1000))]


def repeat_block(data, rng):
    at, size = rng.randrange(len(data)), rng.choice((7, 188, 2000))
    data[at:at] = data[at : at + size]


def swap_blocks(data, rng):
    size = rng.choice((64, 188, 512))
    a, b = sorted(rng.randrange(max(1, len(data) - size)) for _ in range(2))
    if a + size <= b:
        data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]


def change_box(data, rng):
    """A box of MP4, a chunk of RIFF or PNG: its size, its name, or a number in its head."""
    found = [match.start() for match in NAMES.finditer(data)]
    if not found:
        overwrite_block(data, rng)
        return
    at = rng.choice(found)
    where = rng.choice((at - 4, at, at + 4, at + 8, at + 12, at + 16, at + 20))
    value = rng.choice((0, 1, 7, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.randrange(1 << 32), rng.randrange(256)))
    data[max(0, where) : max(0, where) + 4] = value.to_bytes(4, rng.choice(("big", "little")))


def change_element(data, rng):
    """An element of EBML: its size, or its name."""
    known = (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\x1f\x43\xb6\x75", b"\x1c\x53\xbb\x6b",
             b"\x10\x43\xa7\x70", b"\x12\x54\xc3\x67", b"\x19\x41\xa4\x69", b"\x15\x49\xa9\x66", b"\xae", b"\xe0",
             b"\xb0\x82", b"\xba\x82", b"\xa3", b"\x63\xa2", b"\x2a\xd7\xb1", b"\xe7", b"\x44\x89")  # fmt: skip
    places = [at + len(name) for name in known for at in _every(data, name)[:40]]
    if not places:
        flip_bits(data, rng)
        return
    at = rng.choice(places)
    if rng.random() < 0.2:
        data[at - 1] ^= rng.randrange(1, 256)
    else:
        data[at : at + 1] = bytes((rng.choice((0x80, 0x81, 0xFF, 0x01, 0x40, rng.randrange(256))),))


def change_unit(data, rng):
    """A NAL unit, or what stands behind a start code of MPEG: its first bytes."""
    places = [at + 3 for at in _every(data, b"\0\0\1")] or [at + 4 for at in _every(data, b"mdat")]
    if not places:
        overwrite_block(data, rng)
        return
    at = rng.choice(places)
    for offset in range(rng.randrange(1, 12)):
        if at + offset < len(data):
            data[at + offset] = rng.randrange(256)


def change_ts_packet(data, rng):
    """A packet of MPEG-TS: its head, or all of it."""
    if data[:1] != b"\x47":
        swap_blocks(data, rng)
        return
    at = 188 * rng.randrange(max(1, len(data) // 188))
    for offset in range(rng.choice((4, 12, 188))):
        if at + offset < len(data) and rng.random() < 0.5:
            data[at + offset] = rng.randrange(256)


def _every(data, needle):
    found, at = [], data.find(needle)
    while at >= 0 and len(found) < 500:
        found.append(at)
        at = data.find(needle, at + 1)
    return found


BYTES = (flip_bits, overwrite_block, truncate, cut_out, repeat_block, swap_blocks, change_box, change_element,
         change_unit, change_ts_packet)  # fmt: skip


def retime(path, target, rng):
    """The same packets at other times: backwards, equal, far away, missing; or lost, or with their bytes changed."""
    import av

    with av.open(str(path)) as old, av.open(str(target), "w", format=old.format.name.split(",")[0]) as new:
        streams = {s.index: new.add_stream_from_template(s, opaque=True) for s in old.streams}
        for packet in old.demux():
            if not packet.size or rng.random() < 0.05:
                continue
            if rng.random() < 0.3 and packet.pts is not None and packet.dts is not None:
                jump = rng.choice((-1000, -40, -1, 1, 40, 5000, 1 << 33))
                packet.pts += jump
                packet.dts += rng.choice((0, jump))
            packet.stream = streams[packet.stream_index]
            with contextlib.suppress(av.FFmpegError):
                new.mux_one(packet)


def mutate(path, target, seed):
    """Writes the mutant of that seed."""
    rng = random.Random(seed)
    if rng.random() < 0.15 and path.suffix in (".mkv", ".mp4", ".mov", ".avi", ".ts"):
        with contextlib.suppress(Exception):
            retime(path, target, rng)
            return
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if data:
            rng.choice(BYTES)(data, rng)
    target.write_bytes(data)


# --- what becomes of it -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """A file that broke a promise, and which."""

    seed: int
    name: str
    what: str


def attempt(path, target, model):
    """Probes and upscales one file as the command line does. Returns (exit code, what it says), or raises."""
    from rfdn_stream import upscale
    from rfdn_stream.errors import RfdnError
    from rfdn_stream.media.reader import open_source

    options = {} if path.suffix in IMAGES else {"preset": "ultrafast", "codec": "libx264"}
    try:
        if path.suffix not in IMAGES:
            open_source(path, deinterlace="auto").close()
        upscale(path, target, model=model, engine="torch", device="cpu", **options)
    except RfdnError as failure:
        return failure.exit_code, str(failure)
    return 0, "made"


def work(corpus, folder, model, first, last):
    """A worker's life: a line of JSON before and after each file."""
    import torch

    torch.set_num_threads(1)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY, in_use + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for seed in range(first, last):
        path = corpus[seed % len(corpus)]
        mutant = folder / f"mutant{path.suffix}"
        mutate(path, mutant, seed)
        suffixes = (path.suffix,) if path.suffix in IMAGES else (".mkv", ".mp4", ".mov", ".ts")
        target = folder / f"out{suffixes[seed // len(corpus) % len(suffixes)]}"
        print(json.dumps({"seed": seed, "name": path.name}), flush=True)
        if os.environ.get("RFDN_FUZZ_FAULT") in (f"hang,{seed}", f"crash,{seed}"):  # the fuzzer's own test
            os.kill(os.getpid(), signal.SIGSTOP if "hang" in os.environ["RFDN_FUZZ_FAULT"] else signal.SIGSEGV)
        try:
            code, text = attempt(mutant, target, model)
        except BaseException:  # noqa: BLE001 - a finding
            code, text = None, traceback.format_exc()
        left = sorted(set(os.listdir(folder)) - {mutant.name, target.name})
        print(json.dumps({"code": code, "text": text, "left": left, "made": target.exists()}), flush=True)
        for name in (mutant.name, target.name, *left):
            with contextlib.suppress(FileNotFoundError):
                (folder / name).unlink()


def verdict(result):
    """What promise a result breaks; None = none."""
    if result["code"] is None:
        return "unexpected exception:\n" + result["text"]
    if result["left"]:
        return f"left {result['left']} behind"
    if (result["code"] == 0) != result["made"]:
        return f"exit code {result['code']}, but the output is {'there' if result['made'] else 'not there'}"
    if result["code"] not in (0, 1, 2) or not result["text"] or "\n" in result["text"]:
        return f"exit code {result['code']} with {result['text']!r}"
    if "is not what was written" in result["text"] or "please report" in result["text"]:
        # Of our own making, unless a damaged time is days away, which no container holds: that is rightly a failure.
        times = [float(seconds) for seconds in re.findall(r"instead of ([\d.]+) s", result["text"])]
        return None if times and min(times) > DAY else result["text"]
    return None


def fuzz(count, model, *, seed=0, limit=60.0, keep=None, seconds=None, tell=lambda text: None):
    """Puts `count` mutants through. Returns the findings and how often each exit code came.

    Args:
        seed: of the first mutant; the others follow.
        limit: seconds that one file may take.
        keep: folder for the mutants that broke something.
        seconds: stop after so long.
    """
    findings, codes, begun = [], Counter(), time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "corpus").mkdir()
        make_corpus(Path(home) / "corpus")
        corpus = whole_files(home)
        at = seed
        while at < seed + count and (seconds is None or time.monotonic() - begun < seconds):
            deadline = None if seconds is None else begun + seconds
            at, failed = _one_worker(home, model, at, seed + count, limit, deadline, codes, tell)
            for finding in failed:
                findings.append(finding)
                tell(f"{finding.name}, seed {finding.seed}: {finding.what}")
                if keep:
                    path = next(path for path in corpus if path.name == finding.name)
                    mutate(path, Path(keep) / f"{finding.seed}{path.suffix}", finding.seed)
    return findings, codes


def _one_worker(home, model, first, last, limit, deadline, codes, tell):
    """Runs a worker until it is done, dies or hangs. Returns the next seed, and the findings."""
    with tempfile.TemporaryDirectory(dir=home) as folder:
        command = [sys.executable, __file__, "--worker", home, folder, str(model), str(first), str(last)]
        log = (Path(home) / "stderr").open("w+")
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env={
            **os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"})  # fmt: skip
        findings, next_seed, hung = [], first, False
        try:
            while True:
                watchdog = threading.Timer(limit + 60 * (next_seed == first), worker.kill)  # a start takes a while
                watchdog.start()
                asked = worker.stdout.readline()
                answer = worker.stdout.readline() if asked else ""
                hung = not watchdog.is_alive()
                watchdog.cancel()
                if not asked and worker.wait() == 0:
                    return next_seed, findings
                if not answer:
                    at = json.loads(asked) if asked else {"seed": next_seed, "name": "?"}
                    log.seek(0)
                    how = "hangs" if hung else f"kills the process ({worker.wait()}): {log.read()[-2000:]}"
                    return at["seed"] + 1, [*findings, Finding(at["seed"], at["name"], how)]
                at, result = json.loads(asked), json.loads(answer)
                next_seed = at["seed"] + 1
                codes[result["code"]] += 1
                if (what := verdict(result)) is not None:
                    findings.append(Finding(at["seed"], at["name"], what))
                if next_seed % 100 == 0:
                    tell(f"{next_seed} files, exit codes {dict(codes)}")
                if deadline is not None and time.monotonic() > deadline:
                    return last, findings
        finally:
            worker.kill()
            worker.wait()
            worker.stdout.close()
            log.close()


def main():
    if sys.argv[1:2] == ["--worker"]:
        home, folder, model, first, last = sys.argv[2:]
        with contextlib.redirect_stderr(io.StringIO()):
            work(whole_files(home), Path(folder), model, int(first), int(last))
        return
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that one file may take")
    parser.add_argument("--keep", help="folder for the files that broke something")
    options = parser.parse_args()
    if options.keep:
        Path(options.keep).mkdir(parents=True, exist_ok=True)
    from support import save_tiny

    with tempfile.TemporaryDirectory() as folder:
        model = save_tiny(Path(folder) / "tiny-x2.safetensors")
        findings, codes = fuzz(
            options.count, model, seed=options.seed, limit=options.limit, keep=options.keep,
            tell=lambda text: print(text, flush=True),
        )  # fmt: skip
    print(f"{sum(codes.values())} files, exit codes {dict(codes)}, {len(findings)} findings")
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
