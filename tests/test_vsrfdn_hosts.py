"""The VapourSynth filter in its hosts: vspipe, a player that evaluates scripts anew, a source filter, the examples."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from media_samples import frames_of
from rfdn_stream import Upscaler, upscale
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Frame, PixelFormat
from support import EXAMPLES

vs = pytest.importorskip("vapoursynth", reason="needs VapourSynth: pip install 'rfdn-stream[vapoursynth]'")

import vsrfdn  # noqa: E402

HOME = Path(vs.__file__).parent
# Pictures that scripts and tests make alike, requested in another order than they come in.
SCRIPT = """
import random
import numpy as np
import vapoursynth as vs
from vsrfdn import rfdn

core = vs.core
blank = core.std.BlankClip(format=vs.{format}, width=36, height=28, length=12)
blank = blank.std.SetFrameProps(_Matrix=1, _Range={range}, _ChromaLocation=0)


def fill(n, f):
    made = f.copy()
    for k in range(f.format.num_planes):
        plane = np.asarray(made[k])
        grid = np.add.outer(7 * np.arange(plane.shape[0]), 3 * np.arange(plane.shape[1])) + 11 * n + 50 * k
        plane[...] = grid % {modulus} / {divisor}
    if n == {broken}:
        np.asarray(made[0])[3, 4] = np.nan
    return made


clip = rfdn(blank.std.ModifyFrame(clips=[blank], selector=fill), model_path={model!r}, num_streams=2)
order = list(range(12))
if {shuffled}:
    random.Random(1).shuffle(order)
core.std.SelectEvery(clip, 12, order).set_output()
"""


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """vspipe works once `vapoursynth config` has run, which writes below XDG_CONFIG_HOME."""
    environment = {
        **os.environ,
        "XDG_CONFIG_HOME": str(tmp_path_factory.mktemp("config")),
        "PYTHONPATH": str(Path(vsrfdn.__file__).parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    subprocess.run([sys.executable, "-m", "vapoursynth", "config"], env=environment, check=True, capture_output=True)
    return environment


@pytest.fixture
def vspipe(environment, tmp_path, tiny_model):
    def run(format, *arguments, range=0, modulus=256, divisor=1, broken=-1, shuffled=True):
        script = tmp_path / "script.vpy"
        script.write_text(
            SCRIPT.format(
                format=format, range=range, modulus=modulus, divisor=divisor, broken=broken, shuffled=shuffled,
                model=str(tiny_model),
            )
        )  # fmt: skip
        return subprocess.run([HOME / "vspipe", "-r", "4", *arguments[:-1], script, arguments[-1]],
                              env=environment, capture_output=True, timeout=300, check=False)  # fmt: skip

    return run


def expected(model, format, color, modulus=256, divisor=1):
    """The planes that the script's filter gives, in the order in which it requests them, by the Upscaler alone."""
    import random

    order = list(range(12))
    random.Random(1).shuffle(order)
    shapes = format.plane_shapes(36, 28)
    # Formats of RGB: VapourSynth's planes are R, G, B, the engine's G, B, R.
    where = (1, 2, 0) if format.family == "rgb" else range(len(shapes))
    with Upscaler(model) as upscaler:
        for n in order:
            planes = []
            for k, shape in zip(where, shapes, strict=True):
                grid = np.add.outer(7 * np.arange(shape[0]), 3 * np.arange(shape[1])) + 11 * n + 50 * k
                planes.append((grid % modulus / divisor).astype(format.dtype))
            yield upscaler.submit(Frame(tuple(planes), format, 36, 28, color)).result().planes


def test_y4m_of_vspipe_is_the_upscalers_and_nothing_else_is_on_stdout(vspipe, tiny_model):
    done = vspipe("YUV420P8", "-c", "y4m", "-")
    assert done.returncode == 0, done.stderr
    assert b"allocated" not in done.stderr  # "Core freed but ... bytes still allocated"
    header, _, rest = done.stdout.partition(b"\n")
    assert header.startswith(b"YUV4MPEG2 C420 W72 H56")
    want = expected(tiny_model, FORMATS["yuv420p"], ColorSpec("bt709"))
    assert rest == b"".join(b"FRAME\n" + b"".join(p.tobytes() for p in planes) for planes in want)


@pytest.mark.parametrize(
    ("name", "format", "options"),
    [
        ("GRAY16", PixelFormat("gray16le", "gray", 16), {"modulus": 65536}),
        ("RGBS", PixelFormat("gbrpf32le", "rgb", 32, floating=True), {"divisor": 200.0}),
    ],
)
def test_raw_frames_of_vspipe_are_the_upscalers(vspipe, tiny_model, name, format, options):
    done = vspipe(name, "-", range=0 if format.family == "gray" else 1, **options)
    assert done.returncode == 0, done.stderr
    color = RGB_FULL if format.family == "rgb" else ColorSpec("bt601")
    # vspipe writes RGB as G, B, R, as the engine has it.
    assert done.stdout == b"".join(
        p.tobytes() for planes in expected(tiny_model, format, color, **options) for p in planes
    )


def test_a_failure_in_frame_7_ends_vspipe_with_that_frames_error(vspipe):
    done = vspipe("RGBS", "--", divisor=256.0, broken=7, shuffled=False)
    assert done.returncode == 1
    error = done.stderr.decode()
    assert "Failed to retrieve frame 7" in error
    assert "rfdn: frame 7: model tiny-x2 gave NaN or infinite values" in error


def test_a_script_that_cannot_be_carried_out_says_why(environment, tmp_path):
    script = tmp_path / "script.vpy"
    script.write_text(
        "import vapoursynth as vs\nfrom vsrfdn import rfdn\n"
        "rfdn(vs.core.std.BlankClip(format=vs.YUV420P8), engine='trt').set_output()\n"
    )
    done = subprocess.run([HOME / "vspipe", script, "--"], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"rfdn: unknown engine 'trt'; available: winograd, torch, graph, compile" in done.stderr


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


def test_a_player_seeks_twenty_times_and_the_network_is_loaded_once(player, environment, tmp_path):
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
    done = subprocess.run([player, script, "20"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["128x96 6 4711"] * 20  # the guessed matrix is said, mpv's own mark kept
    assert [line for line in done.stderr.splitlines() if line.isdecimal()] == ["1"] * 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_many_frames_take_no_more_memory_than_a_few(environment, tmp_path, tiny_model):
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
        [HOME / "vspipe", "-r", "4", script, "--"], env=environment, capture_output=True, text=True, check=True
    )
    before, after = (int(line.split()[1]) for line in done.stderr.splitlines() if line.startswith("resident"))
    assert after - before < 8e6  # one frame is 98 kB; 399 of them are 39 MB


def test_a_process_that_ends_with_a_filter_alive_ends_silently(environment):
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
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert done.stderr == b""


def has_bestsource():
    return hasattr(vs.core, "bs")


@pytest.mark.skipif(not has_bestsource(), reason="needs BestSource: pip install vapoursynth-bestsource")
def test_a_real_clip_through_bestsource_is_the_file_doors(environment, tmp_path):
    """examples/upscale.vpy on the example's clip, four frames in flight."""
    piped = subprocess.run(
        [HOME / "vspipe", "-r", "4", "-c", "y4m", "-e", "2", EXAMPLES / "upscale.vpy", "-"],
        env=environment, capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    assert piped.returncode == 0, piped.stderr
    upscale(EXAMPLES / "bunny.mp4", tmp_path / "out.mkv", codec="ffv1", duration=0.12)
    frames = frames_of(tmp_path / "out.mkv")
    assert len(frames) == 3
    header, _, rest = piped.stdout.partition(b"\n")
    assert header.startswith(b"YUV4MPEG2 C420 W640 H360")
    assert rest == b"".join(b"FRAME\n" + b"".join(p.tobytes() for p in planes) for _, _, planes in frames)
