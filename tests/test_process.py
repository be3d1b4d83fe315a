"""Settings of a whole process, in one of its own: what becomes of freed pictures, and who hears Ctrl-C."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource, sys
from rfdn_stream.process import return_large_blocks

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

libc.free(libc.malloc(30 << 20))  # as any first large block does, this raises glibc's threshold
if sys.argv[1] == "set":
    assert return_large_blocks()
before = resident()
blocks = [libc.malloc(10 << 20) for _ in range(10)]
for block in blocks:
    ctypes.memset(block, 1, 10 << 20)
assert resident() - before > 90 << 20
for block in blocks[:-1]:  # the last one keeps the heap from shrinking
    libc.free(block)
print((resident() - before) >> 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_freed_blocks_leave_the_process():
    def kept(mode):
        ran = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
        return int(ran.stdout)

    assert kept("set") < 20
    assert kept("left") > 80  # else this test shows nothing


KEEPING = """
import ctypes, resource, sys
from rfdn_stream.process import keep_small_blocks

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
libc.free(libc.malloc(8 << 20))
if sys.argv[1] == "set":
    assert keep_small_blocks()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    blocks = [libc.malloc(1 << 20) for _ in range(20)]
    for block in blocks:
        ctypes.memset(block, 1, 1 << 20)
        libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_small_blocks_are_had_again_without_page_faults():
    def faults(mode):
        ran = subprocess.run([sys.executable, "-c", KEEPING, mode], capture_output=True, text=True, check=True)
        return int(ran.stdout)

    assert faults("set") < 10_000
    assert faults("left") > 100_000  # else this test shows nothing


CHILDREN = """
import multiprocessing, signal, time
from rfdn_stream.process import uninterrupted_children

if __name__ == "__main__":
    children = [multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,)) for _ in range(2)]
    with uninterrupted_children():
        for child in children:
            child.start()
    for child in children:
        status = dict(line.split(":", 1) for line in open(f"/proc/{child.pid}/status"))
        print(int(status["SigBlk"], 16) >> signal.SIGINT - 1 & 1)
        child.kill()
    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_children_do_not_hear_ctrl_c(tmp_path):
    """From their first moment on, and the first one of a process too, which brings a process of Python's along."""
    program = tmp_path / "program.py"
    program.write_text(CHILDREN)
    ran = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["1", "1", "False"]
