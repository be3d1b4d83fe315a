"""Jobs in segments: whatever ends one, it goes on, and its result is the same to the packet."""

import dataclasses
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import av
import pytest

import job_process
from media_samples import make_clip
from rfdn_stream import upscale
from rfdn_stream.errors import MediaError, ModelError, RfdnError, UsageError
from rfdn_stream.jobs import work
from rfdn_stream.jobs.journal import Done, Journal
from rfdn_stream.jobs.plan import job_folder, load_plan
from rfdn_stream.lock import locked
from rfdn_stream.media.part_sink import PartSink
from rfdn_stream.upscaler import Upscaler
from support import save_tiny

SEGMENTS = 8


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A clip of eight closed groups of pictures with B-frames, and of much else that a file holds."""
    return make_clip(
        tmp_path_factory.mktemp("clip") / "in.mkv",
        frames=40,
        options={"preset": "medium", "g": "5", "bf": "2", "sc_threshold": "0"},
        audio=["aac"],
        subtitles=["subrip"],
        chapters=[(0, 800, "one"), (800, 1600, "two")],
        attachment=b"a font",
        metadata={"title": "A film"},
    )


@pytest.fixture
def job(tmp_path, tiny_model):
    """`upscale` with the tiny network, cut at every keyframe, into the test's folder."""

    def run(source, name="out.mkv", **options):
        options = {"model": tiny_model, "preset": "veryfast", "segment": 0.1, "engine": "torch", **options}
        return upscale(source, tmp_path / name, **options)

    return run


@pytest.fixture(scope="module")
def undisturbed(clip, tiny_model, tmp_path_factory):
    """What is in the output of a job that nothing has disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "out.mkv"
    upscale(clip, out, model=tiny_model, preset="veryfast", segment=0.1, engine="torch")
    return packets(out)


def packets(path):
    """All that a file holds, packet for packet, in the file's order."""
    with av.open(str(path)) as container:
        return [
            (p.stream_index, p.pts, p.dts, p.duration, p.is_keyframe, bytes(p)) for p in container.demux() if p.size
        ]


class StoppedError(Exception):
    """Ends a job from its reporter."""


class StopAfter:
    """A reporter that ends the job by `failure` once so many segments are whole."""

    def __init__(self, whole, failure=StoppedError):
        self.whole, self.failure, self.heard = whole, failure, []

    def note(self, text):
        self.heard.append(text)

    def event(self, kind, facts):
        self.heard.append((kind, facts))

    def begin(self, what, frames):
        self.heard.append(("begin", frames))

    def frame(self, stages):
        self.heard.append(stages.frames)

    def segments(self, whole, total, frames):
        self.heard.append(("segments", whole, total, frames))
        if whole == self.whole:
            raise self.failure

    def end(self):
        self.heard.append("end")


@pytest.fixture
def half_done(job, clip, tmp_path):
    """The folder of a job of which three segments are whole."""
    with pytest.raises(StoppedError):
        job(clip, reporter=StopAfter(3))
    return job_folder(tmp_path / "out.mkv")


# --- whatever ends it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("strength", "jobs", "late"), [(1, 10, 0.2), (0, 4, 0.05)], ids=["network", "overlapping"])
def test_killed_at_thirty_random_moments(clip, tiny_model, tmp_path, strength, jobs, late):
    """Each job is killed three times, each time where it happens to be, and then goes on to its end."""
    options = {"model": tiny_model, "preset": "veryfast", "segment": 0.1, "engine": "torch", "strength": strength}
    lengths, moments, ends = [], random.Random(0), 0
    upscale(clip, tmp_path / "here.mkv", **options)
    undisturbed = packets(tmp_path / "here.mkv")
    for name in ("warm.mkv", "whole.mkv"):
        begun = time.perf_counter()
        job_process.start(clip, tmp_path / name, **options).join()
        lengths.append(time.perf_counter() - begun)
        assert packets(tmp_path / name) == undisturbed
    for number in range(jobs):
        out = tmp_path / f"{number}.mkv"
        journal = job_folder(out) / "journal"
        for whole in sorted(moments.choices(range(SEGMENTS), k=3)):
            process = job_process.start(clip, out, **options)
            while process.is_alive() and (not journal.exists() or journal.read_bytes().count(b"\n") < whole):
                time.sleep(0.001)
            process.join(moments.uniform(0, late) * lengths[1])
            process.kill()
            process.join()
            if out.exists():  # it was faster
                ends += 1
                assert packets(out) == undisturbed
                out.unlink()
        upscale(clip, out, **options)
        assert packets(out) == undisturbed
        assert not job_folder(out).exists()
    assert ends < jobs, "most were to be killed before their end"


def test_the_command_pauses_on_a_signal_and_goes_on(clip, tiny_model, undisturbed, tmp_path):
    out = tmp_path / "out.mkv"
    options = ["--model", tiny_model, "--preset", "veryfast", "--segment", "0.1", "--engine", "torch"]
    command = [sys.executable, "-m", "rfdn_stream", "upscale", clip, out, *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list(job_folder(out).glob("journal")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[1]
    if process.returncode == 0:
        pytest.skip("the job was faster than the signal")
    assert process.returncode == 130
    assert f"segments are whole in {job_folder(out)}; the same command goes on from there" in said
    assert not out.exists()
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    assert "going on with the job" in said
    assert packets(out) == undisturbed
    assert os.listdir(tmp_path) == ["out.mkv"]


@pytest.mark.parametrize("whole", [0, 1, 7, 8])
def test_a_failure_keeps_what_is_whole(job, clip, undisturbed, tmp_path, caplog, whole):
    with pytest.raises(StoppedError):
        job(clip, reporter=StopAfter(whole))
    assert os.listdir(tmp_path) == [".out.mkv.rfdn-job"]
    assert f"{whole} of {SEGMENTS} segments are whole" in caplog.text
    caplog.clear()
    reporter = StopAfter(None)
    assert job(clip, reporter=reporter).frames == 40
    assert ("segments", whole, SEGMENTS, 5 * whole) in reporter.heard
    assert max(each for each in reporter.heard if isinstance(each, int)) == 40 if whole < 8 else True
    assert packets(tmp_path / "out.mkv") == undisturbed
    assert os.listdir(tmp_path) == ["out.mkv"]


def test_a_torn_line_is_a_segment_made_anew(half_done, job, clip, undisturbed, tmp_path):
    with (half_done / "journal").open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 5)
    reporter = StopAfter(None)
    job(clip, reporter=reporter)
    assert ("segments", 2, SEGMENTS, 10) in reporter.heard
    assert packets(tmp_path / "out.mkv") == undisturbed


def test_every_beginning_of_a_journal_is_understood(tmp_path):
    lines = [Done(index, 5, 1, 99, 7, "00").as_line() for index in range(3)]
    for length in [*range(0, len(b"".join(lines)), 17), len(b"".join(lines))]:
        path = tmp_path / "journal"
        path.write_bytes(b"".join(lines)[:length])
        journal = Journal(path)
        journal.add(Done(9, 5, 1, 99, 7, "00"))
        again = Journal(path)
        assert again.damaged == 0
        assert list(again.done) == [*range(length // len(lines[0])), 9]


# --- what is not as it was --------------------------------------------------------------------------------------


def spoil(path, at=-10):
    """Turns a byte of a file around."""
    data = bytearray(path.read_bytes())
    data[at] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoiling", "said"),
    [
        (lambda folder: spoil(folder / "journal", 200), "1 lines of the journal are damaged"),
        (lambda folder: (folder / "00001.packets").unlink(), "segment 1 is missing"),
        (lambda folder: os.truncate(folder / "00001.packets", 100), "segment 1 has 100 bytes instead of"),
        (lambda folder: spoil(folder / "00001.packets"), "segment 1 is damaged"),
    ],
    ids=["journal", "missing", "short", "damaged"],
)
def test_what_is_damaged_is_made_anew(half_done, job, clip, undisturbed, tmp_path, caplog, spoiling, said):
    spoiling(half_done)
    job(clip)
    assert said in caplog.text
    assert packets(tmp_path / "out.mkv") == undisturbed


def test_a_segment_that_is_damaged_before_it_is_joined(job, clip, undisturbed, tmp_path):
    folder = job_folder(tmp_path / "out.mkv")

    class Spoiler(StopAfter):
        def end(self):
            spoil(folder / "00003.packets")

    with pytest.raises(MediaError, match=r"segment .*00003.packets is damaged; run the same command again"):
        job(clip, reporter=Spoiler(None))
    job(clip)
    assert packets(tmp_path / "out.mkv") == undisturbed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"crf": 30}, "--crf is 30 and was not given"),
        ({"reuse": "off", "preset": "fast"}, "--reuse is off and was frames; --preset is fast and was veryfast"),
        ({"scale": 1.5}, "--scale is 1.5 and was not given"),
        ({"segment": 1}, "--segment is 1 and was 0.1"),
    ],
)
def test_other_options_are_refused_by_name(half_done, job, clip, tmp_path, change, said):
    before = sorted(path.name for path in half_done.iterdir())
    with pytest.raises(UsageError, match=r"begun otherwise: .*--restart to throw it away") as refusal:
        job(clip, **change)
    assert said in str(refusal.value)
    assert sorted(path.name for path in half_done.iterdir()) == before
    job(clip, restart=True, **change)
    assert os.listdir(tmp_path) == ["out.mkv"]


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("nowhere.mkv", {}),
        (None, {"crf": 99}),
        (None, {"model": "unknown"}),
        (None, {"codec": "dnxhd"}),  # which only the encoder knows when it is opened
    ],
)
def test_a_restart_that_is_refused_costs_nothing(half_done, job, clip, source, change):
    before = sorted(path.name for path in half_done.iterdir())
    with pytest.raises(RfdnError):
        job(source or clip, restart=True, **change)
    assert sorted(path.name for path in half_done.iterdir()) == before


def test_a_restart_in_one_go_throws_the_old_job_away(half_done, job, clip, tmp_path):
    assert job(clip, restart=True, segment=10).frames == 40
    assert os.listdir(tmp_path) == ["out.mkv"]


def test_another_source_is_refused(half_done, job, clip, tmp_path, undisturbed):
    copy = tmp_path / "copy.mkv"
    shutil.copy(clip, copy)
    with pytest.raises(UsageError, match=r"the source is .*copy.mkv, not .*in.mkv"):
        job(copy)


def test_a_changed_source_is_refused(job, clip, tmp_path):
    source = tmp_path / "in.mkv"
    shutil.copy(clip, source)
    with pytest.raises(StoppedError):
        job(source, reporter=StopAfter(2))
    spoil(source, 1000)
    with pytest.raises(UsageError, match=r"in.mkv has changed since"):
        job(source)


@pytest.mark.parametrize(("harm", "said"), [(os.remove, "cannot be read any more"), (spoil, "has changed since")])
def test_a_source_that_changes_or_vanishes_meanwhile(job, clip, tmp_path, undisturbed, harm, said):
    source, kept = tmp_path / "in.mkv", clip.stat()
    shutil.copy(clip, source)
    os.utime(source, ns=(kept.st_atime_ns, kept.st_mtime_ns))

    class Harm(StopAfter):
        def segments(self, whole, total, frames):
            if whole == 2:
                harm(source)

    with pytest.raises(MediaError, match=said):
        job(source, reporter=Harm(None))
    done = Journal(job_folder(tmp_path / "out.mkv") / "journal").done
    assert list(done) in ([0, 1], [0, 1, 2])  # the next one may have been read before the harm
    shutil.copy(clip, source)
    os.utime(source, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    job(source)
    assert packets(tmp_path / "out.mkv") == undisturbed


def test_other_weights_are_refused(job, clip, tmp_path):
    model = save_tiny(tmp_path / "net.safetensors")
    with pytest.raises(StoppedError):
        job(clip, model=model, reporter=StopAfter(2))
    save_tiny(model, seed=1)
    with pytest.raises(Exception, match="weights of net are not those that the job was begun with; --restart"):
        job(clip, model=model)


def test_other_weights_of_the_second_network_are_refused(job, clip, tmp_path):
    with pytest.raises(StoppedError):
        job(clip, scale=4, reporter=StopAfter(1))
    path = job_folder(tmp_path / "out.mkv") / "job.json"
    plan = json.loads(path.read_text())
    first, second = plan["weights"]
    path.write_text(json.dumps({**plan, "weights": [first, second[::-1]]}))
    with pytest.raises(ModelError, match="weights of tiny-x2 and tiny-x2 are not those that the job was begun with"):
        job(clip, scale=4)


@pytest.mark.parametrize(
    ("spoiling", "said"),
    [
        (lambda plan: plan.write_text("{"), "is damaged; --restart"),
        (lambda plan: plan.write_text(json.dumps({**json.loads(plan.read_text()), "format": 99})), "another version"),
        (lambda plan: plan.write_text(plan.read_text().replace('"torch": "', '"torch": "9')), "torch is .*, not 9"),
        (lambda plan: plan.write_text(plan.read_text().replace('"crf"', '"cfr"')), "is damaged; --restart"),
    ],
    ids=["torn", "format", "versions", "unknown"],
)
def test_plans_that_are_not_ours(half_done, job, clip, tmp_path, undisturbed, spoiling, said):
    spoiling(half_done / "job.json")
    with pytest.raises(UsageError, match=said):
        job(clip)
    assert len(list(half_done.glob("*.packets"))) == 3
    job(clip, restart=True)
    assert packets(tmp_path / "out.mkv") == undisturbed


def test_an_output_that_appears_meanwhile_is_not_replaced(job, clip, tmp_path, undisturbed):
    out = tmp_path / "out.mkv"

    class Appears(StopAfter):
        def end(self):
            out.write_text("precious")

    with pytest.raises(UsageError, match="has appeared meanwhile"):
        job(clip, reporter=Appears(None))
    assert out.read_text() == "precious"
    with pytest.raises(UsageError, match="pass --overwrite"):
        job(clip)
    job(clip, overwrite=True)
    assert packets(out) == undisturbed


# --- one at a time, space, places -------------------------------------------------------------------------------


def test_two_processes_never_work_on_one_job(half_done, job, clip, tmp_path, undisturbed):
    with locked(half_done), pytest.raises(UsageError, match=f"process {os.getpid()} is working on the job"):
        job(clip)
    job(clip)
    assert packets(tmp_path / "out.mkv") == undisturbed


def test_the_lock_of_a_dead_process_is_none(tmp_path):
    held = job_process.SERVER.Event()
    process = job_process.SERVER.Process(target=job_process.hold, args=(tmp_path, held))
    process.start()
    assert held.wait(60)
    with pytest.raises(UsageError, match=f"process {process.pid} is working"), locked(tmp_path):
        pass
    process.kill()
    process.join()
    with locked(tmp_path):
        pass


@contextmanager
def small_disk(folder, size):
    """A disk of so many bytes; skips where nobody may mount one."""
    folder.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_pauses_the_job(clip, tiny_model, tmp_path, caplog):
    """First the job sees it coming; then, with its watch asleep, the disk itself refuses."""
    options = {"model": tiny_model, "segment": 0.1, "engine": "torch", "codec": "ffv1"}
    with small_disk(tmp_path / "disk", "1600k") as disk:
        out = disk / "out.mkv"
        with pytest.raises(MediaError, match=r"is nearly full .*; free some space"):
            upscale(clip, out, **options)
        assert "the same command goes on from there" in caplog.text
        assert os.listdir(disk) == [".out.mkv.rfdn-job"]
        subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)
        upscale(clip, out, **options)
        assert len({p[0] for p in packets(out)}) == 3
        upscale(clip, tmp_path / "out.mkv", **options)
        assert packets(out) == packets(tmp_path / "out.mkv")


@pytest.mark.parametrize("size", ["100k", "600k"])
def test_a_disk_that_is_full_in_the_midst(clip, tiny_model, tmp_path, monkeypatch, size):
    """While a segment is written, or while the output is."""
    monkeypatch.setattr("rfdn_stream.jobs.segmented.RESERVE", -1 << 40)
    options = {"model": tiny_model, "segment": 0.1, "engine": "torch", "codec": "ffv1"}
    with small_disk(tmp_path / "disk", size) as disk:
        out = disk / "out.mkv"
        with pytest.raises(MediaError, match="No space left on device; free some space"):
            upscale(clip, out, **options)
        assert os.listdir(disk) == [".out.mkv.rfdn-job"]
        assert not list(disk.glob(".*/*.part"))
        subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)
        upscale(clip, out, **options)
        upscale(clip, tmp_path / "out.mkv", **options)
        assert packets(out) == packets(tmp_path / "out.mkv")


def test_a_folder_that_nobody_writes_into(clip, tiny_model, job, tmp_path):
    with pytest.raises(UsageError, match="cannot write into /proc"):
        upscale(clip, "/proc/out.mkv", model=tiny_model, segment=0.1)


def test_a_refusing_encoder_leaves_no_job(job, clip, tmp_path):
    with pytest.raises(UsageError, match="refuses"):
        job(clip, "out.avi", codec="dvvideo", preset=None)  # which takes television's sizes alone
    assert os.listdir(tmp_path) == []


# --- who does what ----------------------------------------------------------------------------------------------


def test_what_a_worker_makes_depends_on_nothing_it_did_before(half_done, clip, tmp_path):
    """In any order, by one or by several, once or twice: the same bytes."""
    plan = load_plan(half_done)
    wanted = {}
    with work.Worker(plan) as worker:
        for segment in plan.segments:
            done = worker.work(segment)
            wanted[segment.index] = done, plan.path(segment).read_bytes()
    with work.Worker(plan) as worker:
        for segment in reversed(plan.segments):
            assert (worker.work(segment), plan.path(segment).read_bytes()) == wanted[segment.index]
    for segment in plan.segments[2:4]:
        with work.Worker(plan) as worker:
            assert (worker.work(segment), plan.path(segment).read_bytes()) == wanted[segment.index]


@pytest.fixture
def overlapping(monkeypatch):
    """Segments overlap, as where a card computes."""
    monkeypatch.setattr(Upscaler, "fills_processor", False)


def test_an_encoder_is_drained_while_the_next_segment_is_under_way(half_done, overlapping, monkeypatch):
    """A drain begins once a frame of the next segment is written, and is told of before that one's end."""
    plan, next_begun, drain = load_plan(half_done), threading.Event(), PartSink.drain
    wanted, heard = Journal(half_done / "journal").done, []

    def late(self):
        assert next_begun.wait(60)
        yield from drain(self)

    def progress(segment, stages):
        heard.append(segment.index)
        if segment.index == 1:
            next_begun.set()
            time.sleep(0 if "0 is whole" in heard else 1)  # longer than a drain of five frames

    monkeypatch.setattr(PartSink, "drain", late)
    with work.Worker(plan) as worker, closing(worker.work_through(plan.segments[:2], progress)) as all_done:
        for done in all_done:
            assert done == wanted[done.index]
            heard.append(f"{done.index} is whole")
    assert heard.index("0 is whole") < len(heard) - 2
    assert [each for each in heard if each != "0 is whole"] == [0] * 5 + [1] * 5 + ["1 is whole"]


def test_two_encoders_hold_no_more_frames_than_one(half_done, overlapping, monkeypatch):
    """One gives a frame whenever the next takes one: a burst would leave a core idle while that one looks ahead."""
    plan, drain, given, seen = load_plan(half_done), PartSink.drain, [], []

    def counted(self):
        for _ in drain(self):
            given.append(self)
            yield

    def progress(segment, stages):
        if segment.index == 1:
            time.sleep(0.1)  # in which it would give all
            seen.append(len(given) - stages.frames)

    monkeypatch.setattr(PartSink, "drain", counted)
    monkeypatch.setattr(work._Ending, "LONGEST_STEP", 60)
    with work.Worker(plan) as worker, closing(worker.work_through(plan.segments[:2], progress)) as all_done:
        assert [done.index for done in all_done] == [0, 1]
    assert len(given) == 10
    assert max(seen) <= 0


def test_no_second_encoder_is_opened_where_a_network_fills_the_processor(half_done, monkeypatch):
    plan, heard, enter, finish = load_plan(half_done), [], PartSink.__enter__, PartSink.finish
    monkeypatch.setattr(PartSink, "__enter__", lambda sink: heard.append("opened") or enter(sink))
    monkeypatch.setattr(PartSink, "finish", lambda sink: heard.append("finished") or finish(sink))
    with work.Worker(plan) as worker:
        list(worker.work_through(plan.segments[:3], lambda segment, stages: None))
    assert heard == ["opened", "finished"] * 3


def test_a_drain_is_left_where_all_work_ends(half_done, overlapping, monkeypatch):
    plan, draining, given, drain = load_plan(half_done), threading.Event(), [], PartSink.drain

    def slow(self):
        for _ in drain(self):
            given.append(self)
            draining.set()
            time.sleep(0.5)
            yield

    def progress(segment, stages):
        if segment.index == 1 and draining.wait(60):
            raise StoppedError

    monkeypatch.setattr(PartSink, "drain", slow)
    with work.Worker(plan) as worker, pytest.raises(StoppedError):
        list(worker.work_through(plan.segments, progress))
    assert len(given) == 1
    assert not list(half_done.glob("*.part"))


@pytest.mark.parametrize("reuse", ["frames", "regions"])
def test_what_frames_keep_of_others_ends_with_the_segment(tmp_path, tiny_model, reuse):
    """Still pictures: the first of a segment is computed, whatever the worker has in its memory."""

    def still(picture, number):
        for plane in picture.planes:
            plane.update(bytes([100]) * plane.buffer_size)

    source = make_clip(tmp_path / "in.mkv", frames=20, options={"g": "5", "sc_threshold": "0"}, prepare=still)
    options = {"model": tiny_model, "segment": 0.1, "engine": "torch", "reuse": reuse, "preset": "ultrafast"}
    with pytest.raises(StoppedError):
        upscale(source, tmp_path / "out.mkv", reporter=StopAfter(2), **options)
    plan = load_plan(job_folder(tmp_path / "out.mkv"))
    with work.Worker(plan) as worker:
        assert [worker.work(segment).reused for segment in plan.segments] == [4, 4, 4, 4]


@pytest.mark.parametrize("engine", ["torch", "winograd,torch"])
def test_networks_in_sequence(job, tmp_path, engine):
    """Whoever goes on, or works on it, opens the engines that the job was begun with."""
    source = make_clip(tmp_path / "in.mkv", size=(32, 24), frames=20, options={"g": "5", "sc_threshold": "0"})
    options = {"scale": 4, "engine": engine}
    whole = job(source, "whole.mkv", **options)
    assert (whole.frames, whole.width, whole.height) == (20, 128, 96)
    with pytest.raises(StoppedError):
        job(source, reporter=StopAfter(1), **options)
    plan = load_plan(job_folder(tmp_path / "out.mkv"))
    assert plan.engine == engine
    with work.Worker(plan) as worker:
        assert worker.work(plan.segments[0]) == Journal(plan.folder / "journal").done[0]
    job(source, **options)
    assert packets(tmp_path / "out.mkv") == packets(whole.target)


def test_plans_travel(half_done):
    import pickle

    plan = load_plan(half_done)
    assert pickle.loads(pickle.dumps(plan)) == plan
    dataclasses.replace(plan).save()
    assert load_plan(half_done) == plan


# --- what is cut ------------------------------------------------------------------------------------------------


def test_short_videos_go_in_one_go(job, clip, tmp_path):
    reporter = StopAfter(None)
    job(clip, segment=10, reporter=reporter)
    assert not [each for each in reporter.heard if isinstance(each, tuple) and each[0] == "segments"]


def test_a_long_source_is_read_through_with_a_word(job, clip, monkeypatch):
    monkeypatch.setattr("rfdn_stream.jobs.file.LONG", clip.stat().st_size)
    reporter = StopAfter(None)
    job(clip, reporter=reporter)
    assert "reading 0.0 GB to find the keyframes where it can be cut" in reporter.heard


def test_a_pipe_goes_in_one_go_and_is_told(job, clip, tmp_path, caplog):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=lambda: pipe.write_bytes(clip.read_bytes()), daemon=True).start()
    with caplog.at_level(logging.INFO, "rfdn_stream"):
        assert job(pipe).frames == 40
    assert "in one go, and to be begun anew if it is interrupted: the source can be read only once" in caplog.text


def test_a_broadcast_in_segments(job, tmp_path):
    """Whose clock is far from 0: all segments, and what is copied beside them, are moved alike."""
    options = {"preset": "medium", "g": "5", "bf": "2", "sc_threshold": "0"}
    far = {"output_ts_offset": "50000"}
    source = make_clip(tmp_path / "in.ts", frames=40, options=options, audio=["mp2"], muxer_options=far)
    times = []
    for segment in (0.1, 10):
        made = packets(job(source, f"{segment}.mp4", segment=segment).target)
        times.append([(index, pts, duration) for index, pts, _, duration, *_ in made])
    assert sorted(times[0]) == sorted(times[1])
    assert min(pts for _, pts, _ in times[0]) == 0


def test_a_part_of_a_video_in_segments(job, clip, tmp_path):
    """The same frames at the same times as in one go, and the same of the other streams."""
    span = {"start": 0.5, "duration": 0.75, "codec": "ffv1", "preset": None}
    files = [job(clip, f"{segment}.mkv", segment=segment, **span).target for segment in (0.1, 10)]
    segmented, straight = ([p for p in packets(file) if p[0]] for file in files)
    assert segmented == straight
    frames = [[(f.pts, f.to_ndarray().tobytes()) for f in av.open(str(file)).decode(video=0)] for file in files]
    assert frames[0] == frames[1]
    assert len(frames[0]) == 19


def test_the_folder_is_kept_if_that_is_asked_for(job, clip, tmp_path):
    job(clip, keep_job=True)
    assert len(list(job_folder(tmp_path / "out.mkv").glob("*.packets"))) == SEGMENTS


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1", "mpeg4"])
def test_every_encoder_makes_the_same_twice(job, clip, tmp_path, codec):
    """By a machine with any number of processors, as the plan says how many the encoder is set up for."""
    fast = {"libx264": "veryfast", "libx265": "veryfast", "libsvtav1": "12", "libvpx-vp9": "8"}
    options = {"codec": codec, "preset": fast.get(codec)}
    whole = packets(job(clip, "whole.mkv", **options).target)
    with pytest.raises(StoppedError):
        job(clip, reporter=StopAfter(2), **options)
    affinity = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(affinity)})
        resumed = packets(job(clip, **options).target)
    finally:
        os.sched_setaffinity(0, affinity)
    assert resumed == whole
    times = [p[2] for p in whole if p[0] == 0 and p[2] is not None]
    assert times == sorted(set(times))
