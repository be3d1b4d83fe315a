"""The models there are, and how one is opened: by its name, or as a file of the user's own.

A model describes itself; whoever uses one asks its `ModelSpec` and never its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rfdn_stream.errors import ModelError, UsageError
from rfdn_stream.nets import checkpoint
from rfdn_stream.nets.base import Network, NetworkOptions, blank
from rfdn_stream.nets.fetch import Progress, download, home, sha256_of
from rfdn_stream.nets.fold import fold
from rfdn_stream.nets.rfdn import preset

Purpose = Literal["video", "image", "general"]

WEIGHTS = Path(__file__).parent / "weights"
PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class ModelSpec:
    """All that is known of a model.

    Args:
        name: as the user writes it.
        architecture: a name of registry.ARCHITECTURES; `options` are that class's.
        value_range: what the weights as stored take and give, ``0..1`` or ``0..255``.
        precisions: what the folded network can be computed in, the most exact first.
        file: the weights; of a model to be downloaded, their name in the folder of downloads.
        url: where the weights are downloaded from; None for bundled ones and for the user's own.
        sha256, size: of the weights file.
        licence, source: of the weights, and who made them.
        training: how, in a sentence or two.
        scores: by benchmark and measure, as ``{"Set5 PSNR-Y": 36.94}``.
        purpose: what kind of picture the model was trained for.
        multiple_of: what the sides of a frame must be divisible by.
        begun_from: the model whose weights this one was trained on from; mixtures of the two work (`blend`).
    """

    name: str
    architecture: str
    options: NetworkOptions
    value_range: str
    precisions: tuple[str, ...]
    file: Path
    url: str | None
    sha256: str
    size: int
    licence: str
    source: str
    training: str
    purpose: Purpose
    scores: Mapping[str, float] = field(default_factory=dict)
    multiple_of: int = 1
    begun_from: str | None = None

    @property
    def scale(self) -> int:
        """Enlargement of each side."""
        return self.options.scale

    @property
    def minimum_size(self) -> int:
        """The smallest side, in pixels, of a frame that the network takes."""
        return self.options.minimum_size

    @property
    def parameters(self) -> int:
        """Weights and biases, counted."""
        return sum(p.numel() for p in blank(self.architecture, self.options).parameters())

    @property
    def activation_floats_per_pixel(self) -> int:
        """Values held at once, at most, for each pixel put in."""
        return self.options.activation_floats_per_pixel

    @property
    def path(self) -> Path:
        """Where the weights lie, or will lie once they are downloaded."""
        return self.file if self.url is None else home() / "models" / self.file

    @property
    def available(self) -> bool:
        """Whether the weights are on this machine."""
        return self.path.is_file()


def _scores(set5_psnr: float, set5_ssim: float, set14_psnr: float, set14_ssim: float) -> dict[str, float]:
    return {
        "Set5 PSNR-Y": set5_psnr,
        "Set5 SSIM-Y": set5_ssim,
        "Set14 PSNR-Y": set14_psnr,
        "Set14 SSIM-Y": set14_ssim,
    }


def _bundled(name: str, scale: int, **facts: Any) -> ModelSpec:
    """E-RFDN with weights of this project's own, which come with the package."""
    return ModelSpec(
        name=name,
        architecture="rfdn",
        options=preset("E-RFDN", scale),
        value_range="0..1",
        precisions=PRECISIONS,
        file=WEIGHTS / f"{name}.safetensors",
        url=None,
        licence="MIT",
        source="rfdn-stream",
        **facts,
    )


MODELS = (
    _bundled(
        "erfdn-x2-video",
        2,
        sha256="95f983489ab9709c150eeaebc7f6854327e32cf46d633eac2f0f1e9fc2f5e7c2",
        size=1_680_240,
        training="erfdn-x2-clean, trained on with what x264, x265, VP9 and MPEG-2 leave of frames at many qualities.",
        purpose="video",
        scores=_scores(36.601, 0.9515, 32.440, 0.9030),
        begun_from="erfdn-x2-clean",
    ),
    _bundled(
        "erfdn-x2-clean",
        2,
        sha256="90007eaf36551d60425da8a17451ef4f8fe02d434ea96574211466a203901294",
        size=1_680_112,
        training="From scratch, on photographs under free licences, in the end at three sizes, halved by bicubic.",
        purpose="image",
        scores=_scores(37.335, 0.9587, 32.976, 0.9124),
    ),
    _bundled(
        "erfdn-x3-clean",
        3,
        sha256="afd3e8867337193d5fc762e0a205b588a0459eb37cbe400d465422837e915389",
        size=1_707_436,
        training="erfdn-x4-clean, its upsampler resampled, trained on with the same photographs at a third.",
        purpose="image",
        scores=_scores(33.682, 0.9213, 29.830, 0.8321),
    ),
    _bundled(
        "erfdn-x3-video",
        3,
        sha256="8743468ed104c1d57a71b406fc75f9057f54f17216b704e46cbfd341cb84163c",
        size=1_707_508,
        training="erfdn-x3-clean, trained on with what x264, x265, VP9 and MPEG-2 leave of frames at many qualities.",
        purpose="video",
        scores=_scores(33.293, 0.9137, 29.498, 0.8191),
        begun_from="erfdn-x3-clean",
    ),
    _bundled(
        "erfdn-x4-clean",
        4,
        sha256="c2f5dfaa01737dc16ba1377928f935186df62c21c19d3704a092b245dc9c335c",
        size=1_745_296,
        training="A former erfdn-x2-clean, its upsampler resampled, trained on with the same photographs at a quarter.",
        purpose="general",
        scores=_scores(31.517, 0.8858, 28.152, 0.7708),
    ),
    _bundled(
        "erfdn-x4-video",
        4,
        sha256="81e2765c01b8fe956ed42796213c6a5781290e4e1995fcc278793af3b0bab44f",
        size=1_745_392,
        training="erfdn-x4-clean, trained on with what x264, x265, VP9 and MPEG-2 leave of frames at many qualities.",
        purpose="video",
        scores=_scores(31.001, 0.8736, 27.707, 0.7534),
        begun_from="erfdn-x4-clean",
    ),
    ModelSpec(
        name="erfdn-x4-official",
        architecture="rfdn",
        options=preset("E-RFDN", 4),
        value_range="0..255",
        precisions=PRECISIONS,  # its maps reach 13,000 on extreme pictures; fp16 holds 65,504
        file=Path("erfdn-x4-official.pth"),
        url="https://github.com/njulj/RFDN/raw/master/trained_model/RFDN_AIM.pth",
        sha256="11af8ec8ebd68689e90ef1e29044f9804c72d3bd9f7573820b7b26035782760c",
        size=1_754_927,
        licence="MIT",
        source="Jie Liu, Jie Tang, Gangshan Wu (njulj/RFDN)",
        training="The AIM 2020 challenge's winner, by its authors: DIV2K and Flickr2K, bicubic.",
        purpose="general",
        scores=_scores(32.159, 0.8946, 28.645, 0.7825),
    ),
)


def models() -> tuple[ModelSpec, ...]:
    """All models of the catalogue, bundled ones first."""
    return MODELS


def spec(name: str) -> ModelSpec:
    """The model of that name; UsageError lists the names otherwise."""
    for model in MODELS:
        if model.name == name:
            return model
    names = ", ".join(model.name for model in MODELS)
    raise UsageError(f"there is no model {name!r}; available: {names}, or the path of a weights file")


def default_model(scale: int, purpose: str = "video") -> ModelSpec:
    """The model to take where the user names none.

    Args:
        scale: enlargement of each side.
        purpose: ``video`` or ``image``.

    Raises:
        UsageError: no model has this scale, or the one that has must be downloaded first.
    """
    fitting = [model for model in MODELS if model.scale == scale]
    if not fitting:
        *scales, last = (str(s) for s in sorted({model.scale for model in MODELS}))
        raise UsageError(
            f"there is no model for scale {scale}, only for {', '.join(scales)} and {last}; "
            "--model FILE takes your own weights"
        )
    best = min(fitting, key=lambda model: (not model.available, *_fitness(model, purpose)))
    if not best.available:
        raise UsageError(f"the weights of {best.name} are not here yet; {_remedy(best)}")
    return best


def _fitness(model: ModelSpec, purpose: str) -> tuple[bool, bool, float]:
    """Sorts models: those made for the purpose first, then those for any, then the others; the better score first."""
    return model.purpose != purpose, model.purpose != "general", -model.scores.get("Set5 PSNR-Y", 0.0)


def fetch_model(name: str, progress: Progress | None = None) -> Path:
    """Downloads the weights of a model where they are not there yet, and says where they lie.

    Raises:
        UsageError: no model has that name.
        ModelError: the download failed (`fetch.download`).
    """
    model = spec(name)
    if model.url is not None:
        download(model.url, model.path, model.sha256, model.size, progress)
    return model.path


def open_model(
    model: str | Path | ModelSpec, scale: int | None = None, *, folded: bool = True
) -> tuple[Network, ModelSpec]:
    """A network with its weights, on the CPU in float32, and its description.

    Args:
        model: a name of the catalogue, or the path of a weights file (which then describes itself).
        scale: what the model's scale must be; None = whatever it is.
        folded: ready for inference (`fold.fold`), taking and giving 0..1; else as trained.

    Raises:
        UsageError: no such model, another scale, or weights that must be downloaded first.
        ModelError: the weights are missing, damaged, or another network's.
    """
    known = model if isinstance(model, ModelSpec) else _named(model)
    if known is None:
        assert not isinstance(model, ModelSpec)
        net, known = _open_file(Path(model))
        _check_scale(known, scale)
    else:
        _check_scale(known, scale)
        net = _open_known(known)
    return (fold(net, known.value_range) if folded else net), known


def describe(model: str | Path) -> ModelSpec:
    """What is known of a model, without its weights where the catalogue knows it.

    Args:
        model: a name of the catalogue, or the path of a weights file (which then describes itself).

    Raises:
        UsageError: no such model.
        ModelError: the weights file is missing, damaged, or of a network that there is not.
    """
    return _named(model) or _open_file(Path(model))[1]


def _named(model: str | Path) -> ModelSpec | None:
    """The model of that name; None where the name must be a path's."""
    if any(str(model) == known.name for known in MODELS):
        return spec(str(model))
    path = Path(model)
    if isinstance(model, str) and path.name == model and not path.suffix and not path.exists():
        return spec(model)  # raises: it looks like a name, but is none
    return None


def _check_scale(model: ModelSpec, scale: int | None) -> None:
    if scale not in (None, model.scale):
        raise UsageError(
            f"model {model.name} enlarges by {model.scale}, not by {scale}; leave the scale out, or take another model"
        )


def _open_known(model: ModelSpec) -> Network:
    if not model.available:
        raise UsageError(f"the weights of {model.name} are not here yet; {_remedy(model)}")
    if sha256_of(model.path) != model.sha256:
        raise ModelError(f"{model.path} is not the file published as {model.name}; {_remedy(model)}")
    state, metadata = checkpoint.load(model.path)
    net, _ = checkpoint.build(state, {**metadata, "value_range": model.value_range})
    return net


def _open_file(path: Path) -> tuple[Network, ModelSpec]:
    """A weights file of the user's own, and what can be told of it."""
    state, metadata = checkpoint.load(path)
    try:
        net, found = checkpoint.build(state, metadata)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return net, ModelSpec(
        name=path.stem,
        architecture=found.architecture,
        options=found.options,
        value_range=found.value_range,
        # Maps grow with the value range, and how far nobody has measured: fp16 ends at 65,504.
        precisions=PRECISIONS if found.value_range == "0..1" else PRECISIONS[:2],
        file=path,
        url=None,
        sha256=sha256_of(path),
        size=path.stat().st_size,
        licence=metadata.get("licence", "not stated"),
        source=metadata.get("source", "a file of the user's"),
        training=metadata.get("training", "not stated"),
        purpose="general",
    )


def _remedy(model: ModelSpec) -> str:
    """What to do where the weights are missing or damaged."""
    if model.url is None:
        return "install rfdn-stream anew"
    return f"`rfdn-stream models fetch {model.name}` downloads them ({model.size / 1e6:.1f} MB, {model.licence})"
