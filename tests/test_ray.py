"""A job on a real Ray cluster of two nodes, one of which dies; and clusters that are not there."""

import logging
import os
import socket
import sys
from dataclasses import replace

import pytest

from rfdn_stream import upscale
from rfdn_stream.errors import UsageError
from rfdn_stream.jobs import ray_executor, ray_node
from rfdn_stream.jobs.plan import job_folder, load_plan
from rfdn_stream.jobs.ray_executor import RayExecutor
from rfdn_stream.jobs.report import LogReporter
from support import film

# Before Ray is imported: a node may take long to begin on a machine that is busy with others.
os.environ.setdefault("RAY_raylet_start_wait_time_s", "150")
pytest.importorskip("ray")

CUT = {"segment": 0.5, "preset": "ultrafast"}
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes with one processor each, which are processes of this machine."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        cluster.second = cluster.add_node(**NODE)
        yield cluster
    finally:
        cluster.shutdown()


class Watch(LogReporter):
    """Does something when the first segment is whole."""

    def __init__(self, then):
        self.then, self.frames = then, []

    def frame(self, stages):
        self.frames.append(stages.frames)

    def segments(self, whole, total, frames):
        if whole == 1 and self.then:
            then, self.then = self.then, None
            then()


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")  # of Ray's own
def test_a_node_dies_and_the_file_is_the_same(cluster, tiny_model, tmp_path, monkeypatch, caplog):
    """The nodes do not see the source by its path, which means something else in each process: they get copies."""
    caplog.set_level(logging.INFO)
    film(tmp_path / "film.mp4", frames=100, gop=12)
    monkeypatch.chdir(tmp_path)
    source = "/proc/self/cwd/film.mp4"
    alone = upscale(source, tmp_path / "alone.mp4", model=tiny_model, **CUT)
    monkeypatch.setattr(ray_executor, "BLOCK", 10_000)  # so that it travels in several
    sent, copied = [], ray_executor._copied
    monkeypatch.setattr(ray_executor, "_copied", lambda *what: sent.append(copied(*what)) or sent[-1])
    watch = Watch(lambda: cluster.remove_node(cluster.second))
    shared = upscale(source, tmp_path / "out.mp4", model=tiny_model, cluster=cluster.address, reporter=watch, **CUT)
    assert shared.target.read_bytes() == alone.target.read_bytes()
    assert [len(copy.blocks) > 2 for copy in sent] == [True]  # once, whoever asked
    assert watch.frames[-1] <= shared.frames == 100
    assert any("a worker ended (" in record.message and "is done again" in record.message for record in caplog.records)
    assert sorted(os.listdir(tmp_path)) == ["alone.mp4", "film.mp4", "out.mp4"]


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("auto", r"no Ray cluster runs on this machine \(.*\); begin one with `ray start --head`"),
        ("nonsense", r"no Ray cluster answers at nonsense \(an address is HOST:PORT\)"),
        ("PORT", r"no Ray cluster answers at 127\.0\.0\.1:\d+ \(.*refused.*\)"),
    ],
)
def test_a_cluster_that_is_not_there(tiny_model, tmp_path, monkeypatch, address, message):
    """One line; what the job needs to begin is kept."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    source = film(tmp_path / "film.mp4", frames=50, gop=12)
    if address == "PORT":
        address = f"127.0.0.1:{unused_port()}"
    with pytest.raises(UsageError, match=message) as failure:
        upscale(source, tmp_path / "out.mp4", model=tiny_model, cluster=address, **CUT)
    assert "\n" not in str(failure.value)
    assert job_folder(tmp_path / "out.mp4").is_dir()
    assert not (tmp_path / "out.mp4").exists()


def test_a_restart_without_the_cluster_costs_nothing(tiny_model, tmp_path):
    source, target = film(tmp_path / "film.mp4", frames=50, gop=12), tmp_path / "out.mp4"
    upscale(source, target, model=tiny_model, keep_job=True, **CUT)
    target.unlink()
    journal = (job_folder(target) / "journal").read_bytes()
    with pytest.raises(UsageError, match="no Ray cluster answers"):
        upscale(source, target, model=tiny_model, cluster=f"127.0.0.1:{unused_port()}", restart=True, **CUT)
    assert (job_folder(target) / "journal").read_bytes() == journal


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"needs Ray; install it with: pip install 'rfdn-stream\[ray\]'"):
        next(RayExecutor("auto").run(None, [None], None))


def test_a_node_with_other_versions_refuses(tiny_model, tmp_path):
    """What a node does, in this process: it says what it has, and what the job was begun with."""
    film(tmp_path / "film.mp4", frames=50, gop=12)
    upscale(tmp_path / "film.mp4", tmp_path / "out.mp4", model=tiny_model, keep_job=True, **CUT)
    plan = load_plan(job_folder(tmp_path / "out.mp4"))
    other = replace(plan, versions={**plan.versions, "PyAV": "1.0"})
    with pytest.raises(UsageError, match=r"has rfdn-stream .*, not .*PyAV 1\.0.*; install the same there"):
        ray_node.work(other, plan.segments[0], (), None, None)
    moved = replace(plan, source=str(tmp_path / "elsewhere.mp4"))
    assert ray_node.work(moved, plan.segments[0], (), None, None) is None
    ray_node.scratch(moved).rmdir()  # nothing was put there


def test_a_short_video_is_done_here(tiny_model, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    film(tmp_path / "film.mp4", frames=10)
    upscale(tmp_path / "film.mp4", tmp_path / "out.mp4", model=tiny_model, cluster="nowhere", preset="ultrafast")
    assert "by one worker, here" in caplog.text


def test_nothing_to_do_needs_no_cluster():
    assert list(RayExecutor("127.0.0.1:1").run(None, [], None)) == []
