"""The VapourSynth filter in its hosts: vspipe, and a player that evaluates scripts anew."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from media_samples import codes
from rfdn_stream import Upscaler
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Frame
from support import EXAMPLES

vs = pytest.importorskip("vapoursynth", reason="needs VapourSynth: pip install 'rfdn-stream[vapoursynth]'")

from vsrfdn.formats import pixel_format  # noqa: E402

HOME = Path(vs.__file__).parent
# Pictures that scripts and tests make alike, requested in another order than they come in.
SCRIPT = """
import random
import numpy as np
import vapoursynth as vs
from vsrfdn import rfdn

core = vs.core
blank = core.std.BlankClip(format=vs.{format}, width=36, height=28, length=12)
blank = blank.std.SetFrameProps(_Matrix=1, _Range=0, _ChromaLocation=0)


def fill(n, f):
    made = f.copy()
    for k in range(f.format.num_planes):
        plane = np.asarray(made[k])
        grid = np.add.outer(7 * np.arange(plane.shape[0]), 3 * np.arange(plane.shape[1])) + 11 * n + 50 * k
        plane[...] = grid % 256 / {divisor}
    if n == {broken}:
        np.asarray(made[0])[3, 4] = np.nan
    return made


clip = rfdn(blank.std.ModifyFrame(clips=[blank], selector=fill), model_path={model!r}, num_streams=2)
order = list(range(12))
if {shuffled}:
    random.Random(1).shuffle(order)
core.std.SelectEvery(clip, 12, order).set_output()
"""


@pytest.fixture
def vspipe(vs_environment, tmp_path, tiny_model):
    def run(format, *arguments, divisor=1, broken=-1, shuffled=True):
        script = tmp_path / "script.vpy"
        script.write_text(
            SCRIPT.format(format=format, divisor=divisor, broken=broken, shuffled=shuffled, model=str(tiny_model))
        )
        return subprocess.run([HOME / "vspipe", "-r", "4", *arguments[:-1], script, arguments[-1]],
                              env=vs_environment, capture_output=True, timeout=300, check=False)  # fmt: skip

    return run


def expected(model):
    """The planes that the script's filter gives of YUV420P8, in the order of its requests, by the Upscaler alone."""
    order, format = list(range(12)), FORMATS["yuv420p"]
    random.Random(1).shuffle(order)
    with Upscaler(model) as upscaler:
        for n in order:
            planes = codes(n, format, 36, 28)
            yield upscaler.submit(Frame(tuple(planes), format, 36, 28, ColorSpec("bt709"))).result().planes


def test_y4m_of_vspipe_is_the_upscalers_and_nothing_else_is_on_stdout(vspipe, tiny_model):
    done = vspipe("YUV420P8", "-c", "y4m", "-")
    assert done.returncode == 0, done.stderr
    assert b"allocated" not in done.stderr  # "Core freed but ... bytes still allocated"
    header, _, rest = done.stdout.partition(b"\n")
    assert header.startswith(b"YUV4MPEG2 C420 W72 H56")
    want = expected(tiny_model)
    assert rest == b"".join(b"FRAME\n" + b"".join(p.tobytes() for p in planes) for planes in want)


FAMILIES = [
    "YUV420P8", "YUV422P10", "YUV444P12", "YUV440P8", "YUV420P16", "YUV444PH", "YUV420PS",
    "GRAY8", "GRAY12", "GRAYH", "GRAYS", "RGB24", "RGB36", "RGBH", "RGBS",
]  # fmt: skip
EVERY_FAMILY = """
import numpy as np
import vapoursynth as vs
from vsrfdn import rfdn

core = vs.core


def noise(n, f):
    made = f.copy()
    for k in range(f.format.num_planes):
        plane, random = np.asarray(made[k]), np.random.default_rng([n, k])
        plane[...] = random.uniform(-0.4, 1.4, plane.shape) if plane.dtype.kind == "f" else random.integers(
            0, 1 << f.format.bits_per_sample, plane.shape)
    return made


def source(format):
    blank = core.std.BlankClip(format=getattr(vs, format), width=36, height=28, length=4)
    rgb = format.startswith("RGB")
    blank = blank.std.SetFrameProps(_Matrix=0 if rgb else 1, _Range=int(rgb), _ChromaLocation=0)
    return blank.std.ModifyFrame(clips=[blank], selector=noise)


def save(n, f):
    for format, given, made in zip({families!r}, f[1:], f[1 + len(sources):]):
        np.savez(f"{folder}/{{format}}-{{n}}.npz", *map(np.asarray, given), **{{str(k): p for k, p in enumerate(made)}})
    return f[0]


sources = [source(format) for format in {families!r}]
results = [rfdn(clip, model_path={model!r}, num_streams=2) for clip in sources]
gray = core.std.BlankClip(format=vs.GRAY8, width=16, height=16, length=4)
saved = gray.std.FrameEval(lambda n: gray.std.ModifyFrame(clips=[gray, *sources, *results], selector=save))
core.std.SelectEvery(saved, 4, [2, 0, 3, 1]).set_output()
"""


def test_every_family_through_vspipe_is_the_upscalers(vs_environment, tmp_path, tiny_model):
    script = tmp_path / "script.vpy"
    script.write_text(EVERY_FAMILY.format(families=FAMILIES, folder=tmp_path, model=str(tiny_model)))
    done = subprocess.run([HOME / "vspipe", "-r", "4", script, "--"], env=vs_environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    with Upscaler(tiny_model) as upscaler:
        for name in FAMILIES:
            format = pixel_format(vs.core.get_video_format(getattr(vs, name)))
            color = RGB_FULL if format.family == "rgb" else ColorSpec("bt709" if format.family == "yuv" else "bt601")
            # VapourSynth's planes are R, G, B, the engine's G, B, R.
            order = {"rgb": (1, 2, 0), "gray": (0,), "yuv": (0, 1, 2)}[format.family]
            for n in range(4):
                planes = np.load(tmp_path / f"{name}-{n}.npz")
                frame = Frame(tuple(planes[f"arr_{k}"] for k in order), format, 36, 28, color)
                for k, want in zip(order, upscaler.submit(frame).result().planes, strict=True):
                    np.testing.assert_array_equal(planes[str(k)], want)


def test_a_failure_in_frame_7_ends_vspipe_with_that_frames_error(vspipe):
    done = vspipe("RGBS", "--", divisor=256.0, broken=7, shuffled=False)
    assert done.returncode == 1
    error = done.stderr.decode()
    assert "Failed to retrieve frame 7" in error
    assert "rfdn: frame 7: model tiny-x2 gave NaN or infinite values" in error


def test_a_script_that_cannot_be_carried_out_says_why(vs_environment, tmp_path):
    script = tmp_path / "script.vpy"
    script.write_text(
        "import vapoursynth as vs\nfrom vsrfdn import rfdn\n"
        "rfdn(vs.core.std.BlankClip(format=vs.YUV420P8), engine='trt').set_output()\n"
    )
    done = subprocess.run([HOME / "vspipe", script, "--"], env=vs_environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"rfdn: unknown engine 'trt'; available: winograd, openvino, torch, fused, graph, compile" in done.stderr


@pytest.fixture(scope="session")
def player(tmp_path_factory):
    """What a player does, in C over VapourSynth's own interface for hosts."""
    if shutil.which("cc") is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler on Linux, which builds the player")
    program = tmp_path_factory.mktemp("player") / "player"
    source = Path(__file__).with_name("player.c")
    subprocess.run(
        ["cc", "-O1", f"-I{HOME / 'include'}", source, "-o", program, HOME / "libvsscript.so", f"-Wl,-rpath,{HOME}"],
        check=True,
    )
    return program


def test_a_player_seeks_twenty_times_and_the_network_is_loaded_once(player, vs_environment, tmp_path):
    """The example for mpv in an endless clip without a matrix; each seek destroys the script and evaluates it anew."""
    script = tmp_path / "counting.vpy"
    script.write_text(
        f"""
import sys
from vsrfdn import pool

if not hasattr(pool, "opened"):
    pool.opened, pool.real = [], pool.Options.open
    pool.Options.open = lambda options: pool.opened.append(options) or pool.real(options)
exec(open({str(EXAMPLES / "mpv.vpy")!r}).read())
print(len(pool.opened), file=sys.stderr)
"""
    )
    done = subprocess.run([player, script, "20"], env=vs_environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["128x96 6 4711"] * 20  # the guessed matrix is said, mpv's own mark kept
    assert [line for line in done.stderr.splitlines() if line.isdecimal()] == ["1"] * 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_many_frames_take_no_more_memory_than_a_few(vs_environment, tmp_path, tiny_model):
    script = tmp_path / "script.vpy"
    script.write_text(
        f"""
import os
import sys
from pathlib import Path
import vapoursynth as vs
from vsrfdn import rfdn

def watch(n, f):
    if n in (200, 599):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        print("resident", pages * os.sysconf("SC_PAGE_SIZE"), file=sys.stderr, flush=True)
    return f


clip = vs.core.std.BlankClip(format=vs.YUV444P16, width=64, height=64, length=600).std.SetFrameProps(_Matrix=1)
rfdn(clip.std.ModifyFrame(clips=[clip], selector=watch), model_path={str(tiny_model)!r}).set_output()
"""
    )
    done = subprocess.run(
        [HOME / "vspipe", "-r", "4", script, "--"], env=vs_environment, capture_output=True, text=True, check=True
    )
    before, after = (int(line.split()[1]) for line in done.stderr.splitlines() if line.startswith("resident"))
    assert after - before < 8e6  # one frame is 98 kB; 399 of them are 39 MB


def test_a_process_that_ends_with_a_filter_alive_ends_silently(vs_environment):
    program = """
import atexit
from vsrfdn import pool

class Options:
    def key(self):
        return "nothing"

    def open(self):
        return object()

lease = pool.POOL.lease(Options())
atexit.register(globals().pop, "lease")  # VapourSynth frees its nodes at exit
"""
    done = subprocess.run([sys.executable, "-c", program], env=vs_environment, capture_output=True, check=True)
    assert done.stderr == b""
