"""The engines of a card, without one: padding, recorded frames, memory that runs out, and a trace on fake tensors.

Recording is replaced by running again, on the very buffers that a graph would replay on, so that a stale picture
or result would show. test_gpu.py shows the rest on a card.
"""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from rfdn_stream.batch import Batch
from rfdn_stream.devices.cpu import CpuDevice
from rfdn_stream.engines import graph, torch_engine
from rfdn_stream.engines.compiled import CompiledEngine
from rfdn_stream.engines.graph import KEPT, CudaGraphs, GraphEngine
from rfdn_stream.engines.padding import pad_channels
from rfdn_stream.engines.torch_engine import TorchEngine, choose_precision
from rfdn_stream.errors import DeviceError, ModelError, UsageError
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Layout
from rfdn_stream.nets.base import architectures
from rfdn_stream.nets.catalogue import open_model
from rfdn_stream.nets.fold import fold
from rfdn_stream.nets.imdn import IMDN, IMDNOptions
from rfdn_stream.ticket import HEAD, Ticket, place
from rfdn_stream.upscaler import Upscaler
from support import random_frame

CPU, CARD = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture(scope="module")
def model(tiny_model):
    return open_model(tiny_model)


def picture(height, width, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


class Again:
    """Stands in for CudaGraphs: runs the work again, on the same buffers."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, work):
        self.recorded += 1
        result = work().clone()

        def replay():
            self.replayed += 1
            result.copy_(work())

        return result, replay


class Small(nn.Module):
    """A network in a memory that holds so many pixels, in one picture or in several."""

    def __init__(self, network, pixels):
        super().__init__()
        self.network, self.pixels, self.refused = network, pixels, 0

    def forward(self, x):
        if x.shape[0] * x.shape[2] * x.shape[3] > self.pixels:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.network(x)


# Padding


NETWORKS = [
    (net, name, options)
    for net in architectures().values()
    for name, options in {**net.published, **net.variants}.items()
]


@pytest.mark.parametrize(("net", "name", "options"), NETWORKS, ids=[name for _, name, _ in NETWORKS])
@torch.no_grad()
def test_padding_is_exact(net, name, options):
    torch.manual_seed(0)
    plain = fold(net(options))
    state = {key: value.clone() for key, value in plain.state_dict().items()}
    padded = pad_channels(plain, 8)
    assert padded is not plain
    for key, value in plain.state_dict().items():
        assert torch.equal(value, state[key])
    x = picture(33, 40)[None]
    torch.testing.assert_close(padded(x), plain(x), rtol=0, atol=4e-6)
    for key, conv in padded.named_modules():
        if isinstance(conv, nn.Conv2d):
            assert conv.weight.shape[:2] == (conv.out_channels, conv.in_channels)
            assert key == "fea_conv" or conv.in_channels % 8 == 0
            assert key == "upsampler.0" or conv.out_channels % 8 == 0


def test_padding_that_would_change_the_picture_is_not_done():
    """IMDB of an unusual width splits its maps where the padding of one part would lie."""
    torch.manual_seed(0)
    odd = fold(IMDN(IMDNOptions(channels=60, blocks=1)))
    assert pad_channels(odd, 8) is odd
    assert pad_channels(nn.Identity(), 8)(1) == 1
    tiny = fold(IMDN(IMDNOptions()))
    assert pad_channels(tiny, 1) is tiny


def test_an_engine_of_padded_channels_gives_the_same(model):
    x = picture(30, 41)
    plain, padded = TorchEngine(*model, CPU, "fp32"), TorchEngine(*model, CPU, "fp32", multiple=12)
    torch.testing.assert_close(padded(x), plain(x), rtol=0, atol=1e-5)


# Recorded frames


def test_every_size_is_recorded_once_and_replayed(model):
    record = Again()
    plain, recorded = TorchEngine(*model, CPU, "fp32"), GraphEngine(*model, CPU, "fp32", record=record)
    for seed in range(3):
        for height in (20, 24, 32):
            x = picture(height, 40, seed)
            assert torch.equal(recorded(x), plain(x))
    assert (record.recorded, record.replayed) == (3, 9)
    assert recorded.description.startswith("CUDA graph fp32")


def test_the_latest_sizes_are_kept(model):
    record = Again()
    plain, recorded = TorchEngine(*model, CPU, "fp32"), GraphEngine(*model, CPU, "fp32", record=record)
    for height in (*range(20, 20 + KEPT), 20, 40, 20, 21):  # 40 takes the place of 21, the longest unused
        x = picture(height, 30, height)
        assert torch.equal(recorded(x), plain(x))
    assert record.recorded == KEPT + 2


def test_the_number_of_pictures_is_part_of_what_is_recorded(model):
    """A batch, the smaller one at the end, and a single picture have a graph each."""
    record = Again()
    plain, recorded = TorchEngine(*model, CPU, "fp32"), GraphEngine(*model, CPU, "fp32", record=record)
    for seed in range(3):
        x = torch.stack([picture(20, 30, 10 * seed + index) for index in range(3)])
        for count in (3, 2):
            assert torch.equal(recorded(x[:count]), plain(x[:count]))
        assert torch.equal(recorded(x[0]), plain(x[0]))
    assert (record.recorded, record.replayed) == (3, 9)


def test_frames_too_small_for_the_network_and_tiles_are_not_recorded(model):
    record = Again()
    small, tiled = (GraphEngine(*model, CPU, "fp32", tile, record=record) for tile in (None, 64))
    assert torch.equal(small(picture(9, 40)), TorchEngine(*model, CPU, "fp32")(picture(9, 40)))
    x = picture(100, 80)
    assert torch.equal(tiled(x), TorchEngine(*model, CPU, "fp32", 64)(x))
    assert record.recorded == 0


def test_a_recording_that_fails_is_told_and_done_without(model, caplog):
    def record(work):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    engine, x = GraphEngine(*model, CPU, "fp32", record=record), picture(20, 30)
    for _ in range(2):
        assert torch.equal(engine(x), TorchEngine(*model, CPU, "fp32")(x))
    (warning,) = caplog.messages
    assert warning.startswith("no CUDA graph for frames of 30x20, going on without, which is slower: CUDA error: oper")
    assert "more" not in warning


class FakeGraph:
    """A graph that a test records itself."""

    def __init__(self):
        self.handle = object()

    def pool(self):
        return self.handle

    def replay(self):
        pass


def test_graphs_warm_up_share_their_memory_and_take_turns(monkeypatch):
    """What CudaGraphs asks of torch."""
    asked, stream = [], object()
    benchmark = torch.backends.cudnn.benchmark

    @contextmanager
    def recording(graph, pool, on, *, capture_error_mode):
        assert CudaGraphs._recording.locked()
        asked.append((pool, on, capture_error_mode))
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    runs, graphs = [], CudaGraphs()

    def work():
        runs.append(torch.backends.cudnn.benchmark)
        return torch.ones(len(runs))

    result, replay = graphs(work)
    assert result.numel() == graph.WARM_UPS + 1
    assert all(runs)
    assert torch.backends.cudnn.benchmark is benchmark
    graphs(work)
    assert asked == [(None, stream, "thread_local"), (replay.__self__.handle, stream, "thread_local")]

    def boom():
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        graphs(boom)
    assert not CudaGraphs._recording.locked()
    assert torch.backends.cudnn.benchmark is benchmark


# Memory that runs out


@pytest.mark.parametrize("engine_class", [TorchEngine, GraphEngine])
def test_a_frame_that_does_not_fit_is_done_in_tiles_and_said_so(model, caplog, engine_class):
    network, spec = model
    small = Small(network, 100 * 100)
    record = {"record": Again()} if engine_class is GraphEngine else {}
    engine, x = engine_class(small, spec, CPU, "fp32", **record), picture(200, 260)
    assert torch.equal(engine(x), TorchEngine(network, spec, CPU, "fp32", 65)(x))
    assert caplog.messages == [
        "out of memory: going on with tiles of 130 px from this frame on",
        "out of memory: going on with tiles of 65 px from this frame on",
    ]
    assert (engine.tile, small.refused) == (65, 2)
    engine(x)
    assert small.refused == 2  # not tried again


@pytest.mark.parametrize("engine_class", [TorchEngine, GraphEngine])
@pytest.mark.parametrize(("size", "tile"), [((80, 90), None), ((120, 160), 80)])
def test_a_batch_that_does_not_fit_is_done_frame_by_frame_and_said_so(model, caplog, engine_class, size, tile):
    """And each frame in tiles, where not even one fits."""
    network, spec = model
    small = Small(network, 100 * 100)
    record = {"record": Again()} if engine_class is GraphEngine else {}
    engine, x = engine_class(small, spec, CPU, "fp32", **record), torch.stack([picture(*size, seed) for seed in (1, 2)])
    alone = TorchEngine(network, spec, CPU, "fp32", tile)
    for _ in range(2):
        assert torch.equal(engine(x), torch.stack([alone(one) for one in x]))
    tiles = [f"out of memory: going on with tiles of {tile} px from this frame on"] if tile else []
    assert caplog.messages == ["out of memory: going on with one frame at a time", *tiles]
    assert small.refused == len(caplog.messages)  # not tried again


def test_a_batch_whose_maps_would_not_fit_is_not_tried(model):
    """By the memory that there is; frames that fit alone go whole."""
    network, spec = model
    small = Small(network, 100 * 100)
    engine, x = TorchEngine(small, spec, CPU, "fp32"), torch.stack([picture(80, 90, seed) for seed in (1, 2)])
    engine._max_pixels = lambda height, width: 100 * 100
    alone = TorchEngine(network, spec, CPU, "fp32")
    assert torch.equal(engine(x), torch.stack([alone(one) for one in x]))
    assert small.refused == 0


def test_recorded_frames_make_room_for_one_that_does_not_fit(model):
    network, spec = model
    engine = GraphEngine(Small(network, 100 * 100), spec, CPU, "fp32", record=Again())
    engine(picture(80, 90))
    assert len(engine._shots) == 1
    engine(picture(120, 160))
    assert not engine._shots


def test_memory_for_not_even_a_tile(model):
    network, spec = model
    engine = TorchEngine(Small(network, 100), spec, CPU, "fp32")
    with pytest.raises(DeviceError, match=r"^out of memory at 300x200 even in tiles of 64 px; close other programs$"):
        engine(picture(200, 300))


@pytest.mark.parametrize(
    "failure",
    [
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: out of memory\nmore"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] data. DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_no_memory_has_many_names(failure):
    assert torch_engine.out_of_memory(failure)
    assert not torch_engine.out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_the_ticket_of_a_frame_that_no_memory_is_left_for(tiny_model, monkeypatch):
    with Upscaler(tiny_model, device=CpuDevice(check=True)) as upscaler:
        engine = upscaler.engine

        def full(rgb):
            raise torch.OutOfMemoryError("CUDA out of memory")

        full.scale = 2
        monkeypatch.setattr(upscaler, "engine", full)
        ticket = upscaler.submit(random_frame())
        with pytest.raises(DeviceError, match=r"^cpu is out of memory; end other programs"):
            ticket.result()
        monkeypatch.setattr(upscaler, "engine", engine)
        upscaler.submit(random_frame()).result()


def test_no_memory_for_the_weights(model, monkeypatch):
    def to(module, *args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(nn.Module, "to", to)
    with pytest.raises(DeviceError, match=r"^cuda:0 has no memory left for the network; end other .* --device cpu$"):
        TorchEngine(*model, CARD, multiple=1)


def test_how_much_of_a_card_maps_may_take_is_asked_once_a_size(model, monkeypatch):
    """Later, what the engine itself keeps would count as taken."""
    engine, asked = TorchEngine(*model, CPU, "fp32"), []
    bytes_per_pixel = 4 * model[1].activation_floats_per_pixel

    def mem_get_info(device):
        asked.append(device)
        return int(100 * 100 * bytes_per_pixel / torch_engine.GPU_SHARE) - 1000 + 1, 1 << 40

    monkeypatch.setattr(engine, "_device", CARD)
    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2000)
    assert [engine._tile_for(100, 100), engine._tile_for(100, 101), engine._tile_for(100, 100)] == [0, 68, 0]
    assert asked == [CARD] * 2


# Precision


def test_precision_on_a_card(monkeypatch):
    all_three = ("fp32", "bf16", "fp16")
    assert choose_precision("auto", CARD, all_three) == ("fp16", "the fastest on a GPU")
    assert choose_precision("fp32", CARD, all_three) == ("fp32", "as asked, multiplied in TF32")
    for has, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)  # noqa: B023
        assert choose_precision("auto", CARD, all_three[:2])[0] == precision
    assert choose_precision("auto", CPU, ("fp32",))[0] == "fp32"
    with pytest.raises(UsageError, match="fp16 is for GPUs"):
        choose_precision("fp16", CPU, all_three)


# torch.compile


def compiled(model, backend):
    return CompiledEngine(*model, CPU, "fp32", record=Again(), backend=backend)


def test_a_compiled_network_gives_the_same(model):
    engine, x = compiled(model, "eager"), picture(20, 30)
    for _ in range(2):
        torch.testing.assert_close(engine(x), TorchEngine(*model, CPU, "fp32")(x), rtol=0, atol=1e-5)
    assert engine.description.startswith("torch.compile fp32")


@pytest.mark.parametrize("factor", [1.5, float("nan")])
def test_a_compiled_network_that_differs_is_not_used(model, caplog, factor):
    def wrong(module, inputs):
        return lambda *args: tuple(result * factor for result in module(*args))

    engine, x = compiled(model, wrong), picture(20, 30)
    assert torch.equal(engine(x), TorchEngine(*model, CPU, "fp32")(x))
    (warning,) = (record.getMessage() for record in caplog.records if record.name == "rfdn_stream")
    assert "differs from the plain one by " in warning


def test_a_network_that_cannot_be_compiled(model):
    def broken(module, inputs):
        raise OSError("no C++ compiler\nand more")

    with pytest.raises(
        UsageError, match=r"^torch.compile does not work here: .*: OSError: no C\+\+ compiler; choose engine graph$"
    ):
        compiled(model, broken)(picture(20, 30))


# On fake tensors of a card: dtypes, devices, layouts and shapes, by torch's own account


@pytest.fixture
def fake(monkeypatch):
    """A FakeTensorMode to enter; what it does not know of a card is answered here."""

    def to(module, **options):
        """Module.to, which swaps fake parameters where they must be replaced."""
        for part in module.modules():
            for name, value in part._parameters.items():
                wanted = options if value.ndim == 4 or "dtype" in options else {}
                part._parameters[name] = nn.Parameter(value.to(**wanted), requires_grad=False)
        return module

    mode = FakeTensorMode()
    mode.waited = []

    def current_stream(device):
        return SimpleNamespace(synchronize=lambda: mode.waited.append(device))

    monkeypatch.setattr(nn.Module, "to", to)
    monkeypatch.setattr(torch.cuda, "current_stream", current_stream)
    return mode


@pytest.fixture
def network():
    """The bundled video model, padded as for a card."""
    net, spec = open_model("erfdn-x2-video")
    return pad_channels(net, 8), spec


def made_for_fake_card(network, engine_class, **options):
    """The engine as it would be made for a card."""
    net, spec = network
    for part in net.modules():
        for name, value in part._parameters.items():
            part._parameters[name] = nn.Parameter(torch.empty(value.shape), requires_grad=False)
    return engine_class(net, spec, CARD, multiple=1, **options)


def on_fake_card(network, engine_class, **options):
    """The same, and what goes into and comes out of each of its convolutions."""
    engine, seen = made_for_fake_card(network, engine_class, **options), []
    for part in network[0].modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda conv, inputs, result: seen.append((*inputs, result, conv.weight)))
    return engine, seen


@pytest.mark.parametrize("engine_class", [TorchEngine, GraphEngine])
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize(
    ("size", "tile"), [((1080, 1920), 0), ((271, 479), 0), ((14, 300), 0), ((1, 1), 0), ((700, 900), 256)]
)
def test_the_engine_on_a_fake_card(network, fake, engine_class, batch, size, tile):
    options = {"record": Again()} if engine_class is GraphEngine else {}
    with fake:
        engine, seen = on_fake_card(network, engine_class, tile=tile, **options)
        assert fake.waited == [CARD]  # the weights are there before another stream reads them
        result = engine(torch.empty(*batch, 3, *size, device=CARD))
    assert result.shape == (*batch, 3, 2 * size[0], 2 * size[1])
    assert result.device == CARD
    assert result.dtype == (torch.float32 if tile else torch.float16)
    tensors = [value for values in seen for value in values if isinstance(value, torch.Tensor)]
    assert len(tensors) > 3 * 60
    for tensor in tensors:
        assert (tensor.device, tensor.dtype) == (CARD, torch.float16)
        assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_what_a_fake_card_finds(network, fake):
    """That the trace can fail: another device, another dtype, a frame that is too small, a look at a value."""
    with fake:
        engine, _ = on_fake_card(network, TorchEngine, tile=0)
        net = engine._network
        x = torch.empty(1, 3, 20, 20, device=CARD, dtype=torch.float16)
        net(x)
        with pytest.raises(RuntimeError, match="to be on the same device"):
            net(x.to("cpu"))
        with pytest.raises(RuntimeError, match=r"Input type \(float\)"):
            net(x.float())
        with pytest.raises(ModelError, match="pad the frame"):
            net(x[..., :14])
        with pytest.raises(Exception, match="_local_scalar_dense"):
            bool(net(x).sum() > 0)


class Graphs:
    """A backend of torch.compile that keeps its graphs, and runs them as Inductor would get them: functional ATen."""

    def __init__(self):
        self.given = []

    def __call__(self, module, inputs):
        self.given.append(module.graph)
        return torch._dynamo.lookup_backend("aot_eager")(module, inputs)


@pytest.fixture
def equal(monkeypatch):
    """Fake tensors have no values: what is compared counts as equal."""
    monkeypatch.setattr(torch.Tensor, "__float__", lambda tensor: 0.0)


def test_the_compiled_engine_on_a_fake_card(network, fake, equal):
    """One graph, without a break, all of it in half precision on the card, maps in channels_last."""
    backend, record, results = Graphs(), Again(), []
    sizes = (1080, 1920), (1080, 1920), (14, 300)
    with fake:
        engine = made_for_fake_card(network, CompiledEngine, tile=0, record=record, backend=backend)
        for size in sizes:
            results.append(engine(torch.empty(3, *size, device=CARD)))
    for size, result in zip(sizes, results):
        assert (result.shape, result.device, result.dtype) == ((3, 2 * size[0], 2 * size[1]), CARD, torch.float16)
    (given,) = backend.given
    assert (record.recorded, record.replayed) == (1, 2)  # the last one is too small, and runs plainly
    values = [node.meta.get("example_value") for node in given.nodes]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    assert {(tensor.device, tensor.dtype) for tensor in tensors} == {(CARD, torch.float16)}
    x, *maps, last, shuffled = (tensor for tensor in tensors if tensor.ndim == 4 and min(tensor.shape[2:]) > 100)
    assert len(maps) > 100
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in (x, *maps, last))
    assert {tensor.shape[1] % 8 for tensor in maps} == {0}
    assert (last.shape[1], shuffled.shape[1]) == (12, 3)


@pytest.mark.parametrize(
    ("wrong", "complaint"), [(lambda t: t.to("cpu"), "same device"), (lambda t: t.float(), "type")], ids=["cpu", "fp32"]
)
def test_what_a_fake_card_finds_in_the_compiled_engine(network, fake, equal, wrong, complaint):
    with fake:
        engine = made_for_fake_card(network, CompiledEngine, tile=0, record=Again(), backend=Graphs())
        conv = network[0].LR_conv
        conv.weight = nn.Parameter(wrong(conv.weight), requires_grad=False)
        with pytest.raises(
            UsageError, match=rf"^torch.compile does not work here: .*{complaint}.*; choose engine graph$"
        ):
            engine(torch.empty(3, 40, 48, device=CARD))


@pytest.mark.parametrize("engine_class", [TorchEngine, GraphEngine])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("source", "target"), [("yuv420p", "yuv420p"), ("p010le", "yuv420p10le"), ("rgb24", "yuv444p")]
)
def test_the_compute_stream_on_a_fake_card(tiny_model, network, fake, engine_class, count, source, target):
    """From bytes to bytes, with torch's colour kernels: nothing of it on the host, no value looked at."""
    upscaler = Upscaler(tiny_model, device="cpu")
    layouts = Layout(FORMATS[source], 639, 361), Layout(FORMATS[target], 1278, 722)
    colors = [RGB_FULL if layout.format.family == "rgb" else ColorSpec() for layout in layouts]
    with fake:
        options = {"record": Again()} if engine_class is GraphEngine else {}
        upscaler.engine, _ = on_fake_card(network, engine_class, tile=0, **options)
        dev_in = torch.empty(place(layouts[0], count), dtype=torch.uint8, device=CARD)
        dev_out = torch.empty(HEAD + place(layouts[1], count), dtype=torch.uint8, device=CARD)
        tickets = [Ticket(upscaler, None, None, layouts[1], colors[1]) for _ in range(count)]
        for _ in range(2):
            upscaler._compute(dev_in, dev_out, Batch(tickets, layouts[0], colors[0], layouts[1], colors[1]))
    upscaler.close()
    for ticket in tickets:
        assert ticket._failure is None
        assert len(ticket.marks) == 4
