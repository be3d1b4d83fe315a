"""The catalogue, the bundled weights, files of the user's own, and downloads from a real server."""

import http.server
import os
import socket
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rfdn_stream import registry
from rfdn_stream.errors import ModelError, UsageError
from rfdn_stream.frame import ColorSpec, Layout, pixel_format
from rfdn_stream.kernels import cpu
from rfdn_stream.nets import catalogue, checkpoint
from rfdn_stream.nets.catalogue import default_model, describe, fetch_model, models, open_model, spec
from rfdn_stream.nets.fetch import download, home, sha256_of
from rfdn_stream.nets.rfdn import RFDN, RFDNOptions

BUNDLED = [model for model in models() if model.url is None]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Downloads go into an empty folder, and a proxy does not come between."""
    monkeypatch.setenv("RFDN_STREAM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "home"


def drawing():
    """A picture with edges, text and slopes, [1, 3, 96, 144] in 0..1."""
    image = np.linspace(40, 200, 144 * 96 * 3).reshape(96, 144, 3).astype(np.uint8)
    cv2.putText(image, "RFDN", (6, 50), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (250, 240, 20), 3, cv2.LINE_AA)
    cv2.circle(image, (96, 70), 18, (10, 60, 200), -1, cv2.LINE_AA)
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("model", BUNDLED, ids=lambda model: model.name)
def test_bundled_models_are_what_the_catalogue_says(model):
    assert (model.path.stat().st_size, sha256_of(model.path)) == (model.size, model.sha256)
    state, metadata = checkpoint.load(model.path)
    _, found = checkpoint.build(state, {})
    assert (found.architecture, found.options, found.value_range) == (
        model.architecture,
        model.options,
        model.value_range,
    )
    assert metadata["value_range"] == model.value_range


def through_video(picture):
    """What 8 bits and 4:2:0 leave of a picture [1, 3, H, W], as the networks get it."""
    format, color = pixel_format("yuv420p"), ColorSpec("bt709")
    height, width = picture.shape[2:]
    planes = [torch.empty(shape, dtype=torch.uint8) for shape in Layout(format, width, height).shapes]
    made = torch.empty(3, height, width)
    cpu.post(picture[0].clamp(0, 1), planes, format, color)
    cpu.pre(planes, format, color, made)
    return made[None]


def errors(model, prepare=lambda picture: picture):
    """Mean squared errors of a model's result and of bicubic's, for a picture made small as in training."""
    sharp = drawing()
    rows, columns = sharp.shape[2:]
    small = F.interpolate(sharp, size=(rows // model.scale, columns // model.scale), mode="bicubic", antialias=True)
    small = prepare(small)
    net, _ = open_model(model.name)
    results = net(small), F.interpolate(small, size=(rows, columns), mode="bicubic")
    return [float(((result - sharp) ** 2).mean()) for result in results]


@pytest.mark.parametrize("model", BUNDLED, ids=lambda model: model.name)
def test_bundled_models_beat_bicubic(model):
    """A wrong value range, channel order or shift by a pixel would show.

    The network for video makes good what chroma has lost, so that it wins where that was lost, and less elsewhere.
    """
    ours, bicubic = errors(model)
    assert ours < (0.85 if model.scale == 4 else 0.8 if model.purpose == "video" else 0.7) * bicubic
    if model.purpose == "video":
        ours, bicubic = errors(model, through_video)
        assert ours < (0.5 if model.scale == 2 else 0.9) * bicubic


def test_every_model_describes_itself():
    assert len({model.name for model in models()}) == len(models())
    for model in models():
        assert model.architecture in registry.ARCHITECTURES
        assert (model.scale, model.minimum_size) == (model.options.scale, model.options.minimum_size)
        assert spec(model.name) is model
        assert model.licence
        assert model.source
        assert model.training
        assert len(model.sha256) == 64


def test_unknown_names_list_the_known():
    for ask in (spec, open_model, fetch_model):
        with pytest.raises(UsageError, match="there is no model 'esrgan'; available: erfdn-x2-video, erfdn-x2-clean"):
            ask("esrgan")


def test_defaults_by_scale_and_purpose(folder):
    assert default_model(2).name == "erfdn-x2-video"
    assert default_model(2, "image").name == "erfdn-x2-clean"
    assert (default_model(3).name, default_model(3, "image").name) == ("erfdn-x3-video", "erfdn-x3-clean")
    with pytest.raises(UsageError, match="no model for scale 5, only for 2, 3 and 4; --model FILE takes your own"):
        default_model(5)
    assert (default_model(4).name, default_model(4, "image").name) == ("erfdn-x4-video", "erfdn-x4-clean")
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "erfdn-x4-official.pth").touch()
    assert default_model(4, "image").name == "erfdn-x4-official"  # the better one
    assert default_model(4).name == "erfdn-x4-video"


def test_a_scale_that_only_a_download_has_says_so(folder, monkeypatch):
    monkeypatch.setattr(catalogue, "MODELS", tuple(model for model in models() if model.scale != 4 or model.url))
    for purpose in ("video", "image"):
        with pytest.raises(UsageError, match="`rfdn-stream models fetch erfdn-x4-official` downloads them"):
            default_model(4, purpose)


def test_models_that_are_not_here_say_how_to_get_them(folder):
    with pytest.raises(UsageError, match="`rfdn-stream models fetch erfdn-x4-official` downloads them"):
        open_model("erfdn-x4-official")
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "erfdn-x4-official.pth").write_bytes(b"something else")
    with pytest.raises(ModelError, match="is not the file published as erfdn-x4-official; `rfdn-stream models fetch"):
        open_model("erfdn-x4-official")


def test_damaged_installations_are_noticed(tmp_path):
    model = replace(BUNDLED[0], file=tmp_path / "gone.safetensors")
    with pytest.raises(UsageError, match="install rfdn-stream anew"):
        open_model(model)
    model.file.write_bytes(BUNDLED[0].path.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelError, match="is not the file published as erfdn-x2-video; install rfdn-stream anew"):
        open_model(model)


def official_layout(path):
    """The bundled video weights as the authors publish theirs: a PyTorch file that works on 0..255."""
    state, _ = checkpoint.load(spec("erfdn-x2-video").path)
    state["fea_conv.weight"] /= 255
    state["upsampler.0.weight"] *= 255
    state["upsampler.0.bias"] *= 255
    torch.save(state, path)
    return path


def test_files_of_ones_own_describe_themselves(tmp_path):
    path = official_layout(tmp_path / "mine.pth")
    net, model = open_model(str(path), 2)
    assert (model.name, model.scale, model.value_range, model.minimum_size) == ("mine", 2, "0..255", 15)
    assert (model.path, model.size, model.sha256) == (path, path.stat().st_size, sha256_of(path))
    assert model.available
    known, _ = open_model("erfdn-x2-video")
    x = drawing()[:, :, :40, :50]
    torch.testing.assert_close(net(x), known(x), rtol=0, atol=1e-5)
    trained, _ = open_model(path, folded=False)
    torch.testing.assert_close(trained(x * 255) / 255, known(x), rtol=0, atol=1e-5)
    with pytest.raises(UsageError, match="model mine enlarges by 2, not by 3"):
        open_model(path, 3)
    with pytest.raises(UsageError, match="model erfdn-x2-clean enlarges by 2, not by 4"):
        open_model("erfdn-x2-clean", 4)


def test_files_of_other_networks_are_named(tmp_path):
    path = tmp_path / "other.pth"
    torch.save(torch.nn.Conv2d(3, 4, 3).state_dict(), path)
    with pytest.raises(ModelError, match=r"other\.pth: the weights are another network's"):
        open_model(path)
    with pytest.raises(ModelError, match="there is no weights file"):
        open_model("nowhere.pth")


def test_models_are_described_without_their_weights(tmp_path):
    assert not spec("erfdn-x4-official").available
    assert describe("erfdn-x4-official") is spec("erfdn-x4-official")
    assert describe(official_layout(tmp_path / "mine.pth")).options == spec("erfdn-x2-video").options
    with pytest.raises(UsageError, match="there is no model 'esrgan'"):
        describe("esrgan")


def test_what_a_file_says_of_itself_is_kept(tmp_path):
    net = RFDN(RFDNOptions(channels=8, blocks=1, scale=3))
    checkpoint.save(tmp_path / "mine.safetensors", net, {"value_range": "0..1", "licence": "CC0", "training": "none"})
    _, model = open_model(tmp_path / "mine.safetensors")
    assert (model.licence, model.training, model.scale) == ("CC0", "none", 3)


class Server(http.server.BaseHTTPRequestHandler):
    """Answers /good, and spoils the file on other paths."""

    content = bytes(range(256)) * 600

    def do_GET(self):
        self.server.asked.append(self.path)
        content = {"/good": self.content, "/wrong": b"hello", "/short": self.content}.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path == "/short" else content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.asked, server.url = [], f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def get(server, folder, tmp_path):
    """Downloads one path of the server into the folder of models."""
    (tmp_path / "content").write_bytes(Server.content)
    sha256, size = sha256_of(tmp_path / "content"), len(Server.content)

    def get(path, progress=None):
        download(f"{server.url}{path}", folder / "models" / "net.pth", sha256, size, progress)

    return get


def test_downloads_arrive_whole_report_and_happen_once(get, server, folder):
    seen = []
    get("/good", lambda done, total: seen.append((done, total)))
    assert (folder / "models" / "net.pth").read_bytes() == Server.content
    assert seen == sorted(seen)
    assert len(seen) > 2
    assert seen[-1] == (len(Server.content), len(Server.content))
    get("/good")
    assert server.asked == ["/good"]
    (folder / "models" / "net.pth").write_bytes(b"spoilt since")
    get("/good")
    assert (folder / "models" / "net.pth").read_bytes() == Server.content
    assert os.listdir(folder / "models") == ["net.pth"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/wrong", r"/wrong sent is not the published file \(its SHA-256 differs\)"),
        ("/short", "no connection to 127.0.0.1:.*, or it broke off"),
        ("/none", "the server answered 404 Not Found for http.*/none; .*download http.*put it at .*net.pth"),
    ],
)
def test_failed_downloads_say_why_and_leave_nothing(get, folder, path, words):
    with pytest.raises(ModelError, match=words):
        get(path)
    assert os.listdir(folder / "models") == []


def test_no_connection_and_nowhere_to_write(folder):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/net.pth"
        with pytest.raises(ModelError, match=r"no connection to 127\.0\.0\.1"):
            download(url, folder / "net.pth", "0" * 64, 1)
    assert os.listdir(folder) == []
    (folder / "file").touch()
    with pytest.raises(ModelError, match=r"cannot write to .*file.* set RFDN_STREAM_HOME to another folder"):
        download(url, folder / "file" / "net.pth", "0" * 64, 1)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folders_are_named(get, folder):
    (folder / "models").mkdir(parents=True, mode=0o500)
    with pytest.raises(ModelError, match=r"cannot write to .*models"):
        get("/good")


def test_a_fetched_model_opens_by_its_name(server, folder, tmp_path, monkeypatch):
    path = official_layout(tmp_path / "official.pth")
    monkeypatch.setattr(Server, "content", path.read_bytes())
    model = replace(
        spec("erfdn-x4-official"),
        name="test",
        options=spec("erfdn-x2-video").options,
        url=f"{server.url}/good",
        sha256=sha256_of(path),
        size=path.stat().st_size,
    )
    monkeypatch.setattr(catalogue, "MODELS", (model, *models()))
    with pytest.raises(UsageError, match="models fetch test"):
        open_model("test")
    assert fetch_model("test") == model.path == folder / "models" / "erfdn-x4-official.pth"
    net, opened = open_model("test", 2)
    assert opened is model
    x = drawing()[:, :, :40, :50]
    torch.testing.assert_close(net(x), open_model("erfdn-x2-video")[0](x), rtol=0, atol=1e-5)
    assert fetch_model("erfdn-x2-video") == spec("erfdn-x2-video").path  # bundled: nothing to do
    assert server.asked == ["/good"]


def test_downloads_go_to_the_users_data_folder_by_default(monkeypatch):
    monkeypatch.delenv("RFDN_STREAM_HOME")
    assert home().name == "rfdn-stream"
    assert home().is_absolute()
