"""Image sequences in and out: which files they are, in which order, and that no half of one is left behind."""

import os
import shutil
import struct
import subprocess
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from media_samples import make_clip, packet_times, probe_streams
from rfdn_stream import Upscaler, upscale
from rfdn_stream.errors import MediaError, ModelError, UsageError
from rfdn_stream.jobs.report import LogReporter
from rfdn_stream.media.headers import stored_size
from rfdn_stream.media.image import ImageMetadata, read_image, write_image
from rfdn_stream.media.kinds import Kind, stored_kind
from rfdn_stream.media.naming import Pattern, find_images
from support import random_frame, save_tiny


def shoot(folder, names, size=(24, 16), format="rgb24", **options):
    """Images of random codes, each another one."""
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        write_image(folder / name, random_frame(format, *size, seed=seed), **options)
    return folder


def pictures(folder):
    """The images of a folder by name, as OpenCV reads them."""
    return {path.name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(folder.iterdir())}


def numbers(first, last):
    return [f"shot_{number:03d}.png" for number in range(first, last + 1)]


@pytest.mark.parametrize("format", ["rgb24", "gbrp16le"])
def test_a_sequence_becomes_a_sequence_of_the_same_numbers(tmp_path, tiny_model, format):
    """Each image as if it were alone: samples, depth, transparency, EXIF and colour profile."""
    alpha = (np.add.outer(np.arange(16), np.arange(24)) * 6).astype(np.uint8 if format == "rgb24" else np.uint16)
    exif = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, 1, 0)  # upright
    along = {"alpha": alpha, "metadata": ImageMetadata(exif=exif)}
    shots = shoot(tmp_path / "in", numbers(98, 102), format=format, **along)
    result = upscale(shots / "shot_%03d.png", tmp_path / "big_%05d.png", model=tiny_model)
    assert (result.frames, result.width, result.height) == (5, 48, 32)
    assert sorted(os.listdir(tmp_path)) == [*(f"big_{n:05d}.png" for n in range(98, 103)), "in"]
    with Upscaler(tiny_model, purpose="image") as upscaler:
        for number in range(98, 103):
            want = upscaler.submit(read_image(shots / f"shot_{number:03d}.png")[0]).result()
            frame, clear, metadata = read_image(tmp_path / f"big_{number:05d}.png")
            for got, expected in zip(frame.planes, want.planes, strict=True):
                np.testing.assert_array_equal(got, expected)
            assert (clear.shape, clear.dtype) == ((32, 48), alpha.dtype)
            assert metadata.exif == exif


def test_a_sequence_becomes_a_video_at_the_rate_that_is_said(tmp_path, tiny_model):
    shots = shoot(tmp_path / "in", numbers(1, 6))
    result = upscale(shots, tmp_path / "out.mkv", model=tiny_model, fps="24000/1001", codec="ffv1")
    times = [time for time, _ in packet_times(result.target)]
    assert times == pytest.approx([n * 1001 / 24000 for n in range(6)], abs=0.001)
    (video,) = probe_streams(result.target)
    assert (video["width"], video["height"], video["r_frame_rate"]) == (48, 32, "24000/1001")
    with av.open(str(result.target)) as container, Upscaler(tiny_model) as upscaler:
        for number, got in enumerate(container.decode(video=0)):
            want = upscaler.submit(read_image(shots / f"shot_{number + 1:03d}.png")[0]).result()
            # FFV1 has RGB of 10 bits or of 8 with padding; on the way back a code may be rounded otherwise.
            assert np.abs(got.to_ndarray(format="rgb24").astype(int) - want.planes[0]).max() <= 1


def test_a_video_of_a_sequence_is_compared_frame_by_frame(tmp_path, tiny_model):
    shots = shoot(tmp_path / "in", numbers(1, 3))
    assert upscale(shots, tmp_path / "out.mkv", model=tiny_model, verify="full").proof.mode == "full"


def test_a_video_becomes_a_sequence(tmp_path, tiny_model, caplog):
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", format="yuv420p10le", frames=4, audio=["aac"])
    result = upscale(clip, tmp_path / "f_%d.png", model=tiny_model)
    made = {path.name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in tmp_path.glob("*.png")}
    assert sorted(made) == ["f_1.png", "f_2.png", "f_3.png", "f_4.png"]
    assert {(image.shape, image.dtype.name) for image in made.values()} == {((96, 128, 3), "uint16")}
    assert (result.width, result.height) == (128, 96)
    assert "not kept: audio #1 (aac) (an image sequence holds pictures only" in caplog.text


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
@pytest.mark.parametrize("lying", [False, True])
def test_a_video_that_is_turned_or_mirrored_gives_upright_pictures(tmp_path, tiny_model, lying, signs, caplog):
    first, second = (sign << 16 for sign in signs)
    places = (0, first, 0, second, 0, 0) if lying else (first, 0, 0, 0, second, 0)
    clip = make_clip(tmp_path / "in.mp4", frames=2, matrix=(*places, 0, 0, 1 << 30))
    upscale(clip, tmp_path / "plain_%d.png", model=tiny_model, strength=0)
    image = cv2.imread(str(tmp_path / "plain_1.png"))
    assert image.shape == ((128, 96, 3) if lying else (96, 128, 3))
    upscale(clip, tmp_path / "out.apng", model=tiny_model, strength=0)
    with av.open(str(tmp_path / "out.apng")) as container:
        frame = next(container.decode(video=0))
    np.testing.assert_array_equal(frame.to_ndarray(format="bgr24"), image)
    upscale(clip, tmp_path / "out.y4m", model=tiny_model, strength=0)
    mirrored = (first * second > 0) == lying
    said = "mirroring " if mirrored else "rotation by "
    assert (f"not kept: {said}" in caplog.text) == (lying or signs != (1, 1))
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    command = ["ffmpeg", "-v", "error", "-i", str(clip), "-frames:v", "1", str(tmp_path / "shown.png")]
    subprocess.run(command, check=True)  # which turns it as players do
    shown = cv2.resize(cv2.imread(str(tmp_path / "shown.png")), image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    ways = image, image[::-1], image[:, ::-1], image[::-1, ::-1]
    alike = [np.abs(way.astype(int) - shown).mean() for way in ways]
    assert alike[0] < min(alike[1:]) / 2, alike


def test_a_turn_by_no_right_angle_is_told(tmp_path, tiny_model, caplog):
    turn = round(2**15.5)
    clip = make_clip(tmp_path / "in.mp4", frames=1, matrix=(turn, turn, 0, -turn, turn, 0, 0, 0, 1 << 30))
    upscale(clip, tmp_path / "out_%d.png", model=tiny_model)
    assert "not kept: rotation by 45 degrees" in caplog.text


def test_people_count_otherwise_than_computers_sort(tmp_path, caplog):
    shots = shoot(tmp_path / "in", ["a9.png", "a10.png", "a11.jpg", "a1.png"])
    (shots / "notes.txt").write_text("no image")
    found = find_images(shots)
    assert [path.name for path in found.paths] == ["a1.png", "a9.png", "a10.png", "a11.jpg"]
    assert found.notes == (f"1 other files in {shots} are left out",)
    assert [path.name for path in find_images(shots / "*.png").paths] == ["a1.png", "a9.png", "a10.png"]
    assert "2 to 8 are missing" in find_images(shots / "*.png").notes[0]
    assert find_images(shots / "a1.png") is None
    assert find_images("-") is find_images("http://host/%05d.png") is None


def test_a_part_of_a_sequence(tmp_path, tiny_model):
    shots = shoot(tmp_path / "in", numbers(11, 20))
    (tmp_path / "out").mkdir()
    upscale(shots / "shot_%03d.png", tmp_path / "out" / "%03d.png", model=tiny_model, fps="10", start=0.3, duration=0.4)
    assert sorted(os.listdir(tmp_path / "out")) == ["014.png", "015.png", "016.png", "017.png"]


@pytest.mark.parametrize(
    ("pattern", "number", "name"),
    [("a%d.png", 7, "a7.png"), ("%05d.jpg", 7, "00007.jpg"), ("100%%_%02d.png", 123, "100%_123.png")],
)
def test_names_and_numbers(pattern, number, name):
    made = Pattern(made_path := __import__("pathlib").Path(pattern))
    assert made.file(number).name == name
    assert made.number(name) == number
    assert made_path.parent == made.file(1).parent
    for other in ("a07.png", "0007.jpg", "100%_1.png", "x7.png", "a7.jpg", "a-7.png", "a.png"):
        assert made.number(other) is None


BAD = {
    "a hole": (numbers(1, 3) + numbers(6, 7) + numbers(9, 9), "shot_%03d.png", "has a hole: 4 to 5, 8 of 1 to 9 are"),
    "nothing": ([], "shot_%03d.png", "no file .*shot_%03d.png is there, such as .*shot_001.png"),
    "an empty folder": ([], "", "the folder .* is empty; name a video file, or a folder of images"),
    "no match": (numbers(1, 2), "*.jpg", r"no file matches .*\*.jpg"),
    "two numbers": (numbers(1, 2), "%d_%d.png", "write the number's place once"),
    "no images": (numbers(1, 2), "shot_%d.mp4", r"\.mp4 is not an image format"),
}  # fmt: skip


@pytest.mark.parametrize(("names", "source", "words"), BAD.values(), ids=BAD)
def test_sequences_that_are_none(tmp_path, tiny_model, names, source, words):
    shots = shoot(tmp_path / "in", names)
    with pytest.raises((MediaError, UsageError), match=words) as failure:
        upscale(shots / source, tmp_path / "out.mkv", model=tiny_model)
    assert "\n" not in str(failure.value)
    assert os.listdir(tmp_path) == ["in"]


def test_a_folder_of_other_things(tmp_path, tiny_model):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "film.mp4").write_bytes(b"film")
    with pytest.raises(MediaError, match="holds no images"):
        upscale(tmp_path / "in", tmp_path / "out.mkv", model=tiny_model)
    with pytest.raises(MediaError, match=r"matches film.mp4, which is no image"):
        upscale(tmp_path / "in" / "*", tmp_path / "out.mkv", model=tiny_model)


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".tiff"])
def test_images_of_several_sizes(tmp_path, tiny_model, extension):
    shots = shoot(tmp_path / "in", [f"a{extension}", f"b{extension}"])
    shoot(shots, [f"c{extension}"], size=(24, 20))
    with pytest.raises(MediaError, match=r"24x16.*24x20|24x20.*24x16") as failure:
        upscale(shots, tmp_path / "out_%d.png", model=tiny_model)
    assert "the images of a sequence have one size" in str(failure.value)
    assert os.listdir(tmp_path) == ["in"]


def test_images_of_several_kinds(tmp_path, tiny_model, caplog):
    """The first one does not decide for the others: all get the depth and the transparency that some have."""
    caplog.set_level("INFO", "rfdn_stream")
    shots = shoot(tmp_path / "in", ["a.png"])
    shoot(shots, ["b.png"], format="gbrp16le")
    shoot(shots, ["c.png"], alpha=np.full((16, 24), 51, np.uint8))
    upscale(shots, tmp_path / "out_%d.png", model=tiny_model)
    made = [cv2.imread(str(tmp_path / f"out_{number}.png"), cv2.IMREAD_UNCHANGED) for number in (1, 2, 3)]
    assert {(image.shape, image.dtype.name) for image in made} == {((32, 48, 4), "uint16")}
    assert [image[16, 24, 3] for image in made] == [65535, 65535, 51 * 257]
    assert "all of them get the 16 bits and the transparency that some have" in caplog.text
    upscale(shots, tmp_path / "out.apng", model=tiny_model)
    with av.open(str(tmp_path / "out.apng")) as container:
        assert [f.to_ndarray(format="rgba")[16, 24, 3] for f in container.decode(video=0)] == [255, 255, 51]


@pytest.mark.parametrize("extension", [".png", ".tiff", ".webp", ".jpg"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_kinds_are_in_the_first_bytes(tmp_path, extension, channels, dtype):
    deep, clear = dtype == np.uint16, channels == 4
    if (deep and extension in (".webp", ".jpg")) or (clear and extension == ".jpg"):
        pytest.skip("no such images")
    path = tmp_path / f"a{extension}"
    cv2.imwrite(str(path), np.full((8, 8, channels), 9, dtype))
    assert stored_kind(path) == Kind(deep, clear)
    data = path.read_bytes()
    for length in range(0, min(len(data), 200), 7):
        path.write_bytes(data[:length])
        assert stored_kind(path) in (Kind(), Kind(deep), Kind(clear=clear), Kind(deep, clear))


def test_a_palette_with_a_transparent_colour(tmp_path):
    clear = struct.pack(">I", 1) + b"tRNS\0" + bytes(4)
    shoot(tmp_path, ["a.png"])
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(data[:33] + clear + data[33:])
    assert [stored_kind(tmp_path / name) for name in ("a.png", "b.png")] == [Kind(), Kind(clear=True)]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "lossy.webp"])
def test_sizes_are_in_the_first_bytes(tmp_path, name):
    write_image(tmp_path / name, random_frame("rgb24", 300, 41), quality=80 if name == "lossy.webp" else None)
    assert stored_size(tmp_path / name) == (300, 41)
    data = (tmp_path / name).read_bytes()
    for length in range(0, min(len(data), 200), 7):
        (tmp_path / "cut").write_bytes(data[:length])
        assert stored_size(tmp_path / "cut") in (None, (300, 41))


def test_a_damaged_image_is_named(tmp_path, tiny_model):
    shots = shoot(tmp_path / "in", numbers(1, 4))
    whole = (shots / "shot_003.png").read_bytes()
    (shots / "shot_003.png").write_bytes(whole[:60])
    with pytest.raises(MediaError, match=r"shot_003\.png"):
        upscale(shots / "shot_%03d.png", tmp_path / "out_%d.png", model=tiny_model)
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("", "in/out_%d.png"),
        ("shot_%03d.png", "in/shot_%03d.png"),
        ("shot_*.png", "in/shot_x%d.png"),
        ("", "in/out.webp"),
    ],
)
def test_an_output_that_would_be_a_part_of_the_input(tmp_path, tiny_model, source, target):
    shots = shoot(tmp_path / "in", numbers(1, 3))
    with pytest.raises(UsageError, match="would be a part of the input"):
        upscale(shots / source, tmp_path / target, model=tiny_model, overwrite=True)
    assert sorted(os.listdir(shots)) == numbers(1, 3)


def test_beside_the_input_under_another_name(tmp_path, tiny_model):
    shots = shoot(tmp_path / "in", numbers(1, 2))
    upscale(shots / "shot_%03d.png", shots / "big_%03d.png", model=tiny_model)
    assert sorted(os.listdir(shots)) == ["big_001.png", "big_002.png", *numbers(1, 2)]


def test_an_older_sequence_is_replaced_as_a_whole_or_not_at_all(tmp_path, tiny_model):
    shots, out = shoot(tmp_path / "in", numbers(1, 3)), shoot(tmp_path / "out", [f"{n}.png" for n in range(1, 6)])
    (out / "readme.png").write_bytes(b"not of the pattern")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UsageError, match=r"5 files .*%d\.png exist, such as 1\.png; pass --overwrite"):
        upscale(shots, out / "%d.png", model=tiny_model)
    broken = save_tiny(tmp_path / "huge.safetensors", LR_conv__bias=3e38, upsampler__0__bias=3e38)
    with pytest.raises(ModelError):
        upscale(shots, out / "%d.png", model=broken, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    upscale(shots, out / "%d.png", model=tiny_model, overwrite=True)
    assert sorted(os.listdir(out)) == ["1.png", "2.png", "3.png", "readme.png"]
    assert stored_size(out / "1.png") == (48, 32)


@pytest.mark.parametrize("overwrite", [False, True])
def test_images_that_appear_meanwhile(tmp_path, tiny_model, overwrite):
    """They are kept, or what has the name of a new one is replaced."""
    shots, out = shoot(tmp_path / "in", numbers(1, 3)), tmp_path / "out"
    out.mkdir()
    if overwrite:
        (out / "8.png").write_text("older")

    class Intruder(LogReporter):
        def begin(self, what, frames):
            for name in ("2.png", "9.png"):
                (out / name).write_text("precious")

    options = {"model": tiny_model, "overwrite": overwrite, "reporter": Intruder()}
    if overwrite:
        upscale(shots, out / "%d.png", **options)
        assert stored_size(out / "2.png") == (48, 32)
    else:
        with pytest.raises(UsageError, match=r"2 files .*%d\.png have appeared meanwhile and are kept"):
            upscale(shots, out / "%d.png", **options)
        assert (out / "2.png").read_text() == "precious"
    assert sorted(os.listdir(out)) == (["1.png", "2.png", "3.png", "9.png"] if overwrite else ["2.png", "9.png"])
    assert (out / "9.png").read_text() == "precious"


def test_a_sequence_is_not_for_one_image(tmp_path, tiny_model):
    shots = shoot(tmp_path / "in", numbers(1, 2))
    for source, target, words in (
        (shots, "out.png", "is a sequence by its name and out.png an image"),
        (shots / "shot_001.png", "out_%d.png", "is one image by its name"),
        (shots, "out_%d.mp4", "is not an image format"),
        (shots, "no/such/%d.png", "does not exist; create it first"),
    ):
        with pytest.raises(UsageError, match=words):
            upscale(source, tmp_path / target, model=tiny_model)
    for options in ({"fps": "0"}, {"fps": "many"}, {"matrix": "bt709"}, {"decode": "cpu"}):
        with pytest.raises(UsageError, match=r"--fps|image sequences"):
            upscale(shots, tmp_path / "out.mkv", model=tiny_model, **options)
    with pytest.raises(UsageError, match="--crf, --preset and --pix-fmt are for videos, not for an image sequence"):
        upscale(shots, tmp_path / "out_%d.png", model=tiny_model, crf=3)
    assert os.listdir(tmp_path) == ["in"]


def test_a_name_with_signs_that_is_there_is_that_file(tmp_path, tiny_model):
    write_image(tmp_path / "50%d[1].png", random_frame("rgb24", 24, 16))
    result = upscale(tmp_path / "50%d[1].png", tmp_path / "out.png", model=tiny_model)
    assert (result.frames, result.width) == (1, 48)
    shutil.copy(tmp_path / "out.png", tmp_path / "50%d.png")
    with pytest.raises(UsageError, match="is the input itself"):
        upscale(tmp_path / "50%d.png", tmp_path / "50%d.png", model=tiny_model, overwrite=True)


def test_a_sequence_knows_its_length(tmp_path):
    from rfdn_stream.media.sequence import ImageSequence

    shots = shoot(tmp_path / "in", numbers(1, 5))
    with ImageSequence(find_images(shots), Fraction(10)) as source:
        assert (source.info.duration, source.info.frames_from_header, source.info.rate) == (0.5, 5, 10)
        frames = list(source.items())
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(n, 10) for n in range(5)]
