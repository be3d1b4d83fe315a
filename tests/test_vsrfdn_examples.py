"""The examples for VapourSynth as a user runs them: BestSource reads a real clip, other programs take the result."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from media_samples import frames_of
from rfdn_stream import ColorSpec, Frame, Upscaler, upscale
from rfdn_stream.frame import FORMATS
from support import EXAMPLES

vs = pytest.importorskip("vapoursynth", reason="needs VapourSynth: pip install 'rfdn-stream[vapoursynth]'")

HOME = Path(vs.__file__).parent
pytestmark = pytest.mark.skipif(
    not hasattr(vs.core, "bs"), reason="needs BestSource: pip install vapoursynth-bestsource"
)


@pytest.fixture(scope="module")
def enlarged(tmp_path_factory):
    """The clip's first two frames by the file door."""
    target = tmp_path_factory.mktemp("enlarged") / "out.mkv"
    upscale(EXAMPLES / "bunny.mp4", target, codec="ffv1", duration=0.08)
    frames = [planes for _, _, planes in frames_of(target)]
    assert len(frames) == 2
    return frames


@pytest.fixture(scope="module")
def piped(vs_environment):
    """What vspipe writes as examples/upscale.vpy's first two frames, in y4m, four requested at once."""
    done = subprocess.run(
        [HOME / "vspipe", "-r", "4", "-c", "y4m", "-e", "1", EXAMPLES / "upscale.vpy", "-"],
        env=vs_environment, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_real_clip_through_bestsource_is_the_file_doors(piped, enlarged):
    header, _, rest = piped.partition(b"\n")
    assert header.startswith(b"YUV4MPEG2 C420 W640 H360 F25:1")
    assert rest == b"".join(b"FRAME\n" + b"".join(p.tobytes() for p in planes) for planes in enlarged)


@pytest.mark.skipif(shutil.which("x265") is None, reason="needs x265: apt-get install x265")
def test_x265_takes_it(piped, enlarged, tmp_path):
    target = tmp_path / "out.hevc"
    done = subprocess.run(["x265", "--y4m", "--lossless", "-", "-o", target], input=piped, capture_output=True)
    assert done.returncode == 0, done.stderr
    frames = frames_of(target)
    assert len(frames) == len(enlarged)
    for (_, _, got), want in zip(frames, enlarged, strict=True):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)


def test_rfdn_stream_reads_what_vspipe_writes(vs_environment, tiny_model, tmp_path):
    script = tmp_path / "script.vpy"
    script.write_text(
        f"from vapoursynth import core\ncore.bs.VideoSource({str(EXAMPLES / 'bunny.mp4')!r})[:6].set_output()\n"
    )
    command = [sys.executable, "-m", "rfdn_stream", "upscale", "-", tmp_path / "piped.mkv"]
    options = ["--model", tiny_model, "--codec", "ffv1", "--start", "0.08"]
    with subprocess.Popen(
        [HOME / "vspipe", "-c", "y4m", script, "-"], env=vs_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as vspipe:
        done = subprocess.run([*command, *options], stdin=vspipe.stdout, capture_output=True)
        assert vspipe.wait() == 0, vspipe.stderr.read()
    assert done.returncode == 0, done.stderr
    frames = frames_of(tmp_path / "piped.mkv")
    # y4m says nothing of the colour but that its chroma is centred.
    color = ColorSpec("bt601", siting="center")
    with Upscaler(tiny_model) as upscaler:
        for (_, _, got), (_, _, planes) in zip(frames, frames_of(EXAMPLES / "bunny.mp4")[2:6], strict=True):
            want = upscaler.submit(Frame(tuple(planes), FORMATS["yuv420p"], 320, 180, color)).result().planes
            for a, b in zip(got, want, strict=True):
                np.testing.assert_array_equal(a, b)


def test_the_preview_has_before_and_after(enlarged):
    try:
        runpy.run_path(str(EXAMPLES / "preview.vpy"), init_globals={"source": str(EXAMPLES / "bunny.mp4")})
        outputs = vs.get_outputs()
        frames = [outputs[k].clip.get_frame(1) for k in range(3)]
    finally:
        vs.clear_outputs()
    assert {(f.width, f.height) for f in frames} == {(640, 360)}
    corner = np.s_[180:, 320:]  # away from the captions
    pictures = [np.asarray(f[0])[corner].astype(int) for f in frames]
    np.testing.assert_array_equal(pictures[2], enlarged[1][0][corner])
    far, near = (np.abs(picture - pictures[2]).mean() for picture in pictures[:2])
    assert far > near > 0
