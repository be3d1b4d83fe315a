"""Images keep their depth, transparency, greyness, profile and orientation."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Frame
from rfdn_stream.media.image import ImageMetadata, check_image, check_size, read_image, write_image

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (20, 30, 3), dtype=np.uint8)
RGB16 = RANDOM.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
SMOOTH = np.stack([*np.meshgrid(np.arange(0, 240, 4), np.arange(0, 120, 4)), np.full((30, 60), 90)], -1)
SMOOTH = SMOOTH.astype(np.uint8)


def rgb_frame(rgb):
    height, width = rgb.shape[:2]
    if rgb.dtype == np.uint8:
        return Frame((rgb,), FORMATS["rgb24"], width, height, RGB_FULL)
    planes = tuple(np.ascontiguousarray(rgb[..., i]) for i in (1, 2, 0))
    return Frame(planes, FORMATS["gbrp16le"], width, height, RGB_FULL)


def rgb_of(frame):
    return frame.planes[0] if frame.format.name == "rgb24" else np.dstack([frame.planes[i] for i in (2, 0, 1)])


def exif(orientation, order="<"):
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 8)
    return head + struct.pack(order + "HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6" b="c"/></x:xmpmeta>'


def icc(space=b"RGB "):
    """A profile that libpng takes: a header, one tag, and something that does not compress to nothing."""
    data = b"desc" + bytes(4) + np.random.default_rng(1).bytes(400)
    body = bytearray(128)
    body[8:12], body[12:16], body[16:20], body[20:24] = b"\x02\x10\0\0", b"mntr", space, b"XYZ "
    body[36:40] = b"acsp"
    body[68:80] = struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    struct.pack_into(">I", body, 0, 144 + len(data))
    return bytes(body) + struct.pack(">I4sII", 1, b"desc", 144, len(data)) + data


@pytest.mark.parametrize("extension", ["png", "tif", "tiff", "webp"])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_eight_bits_come_back(tmp_path, extension, with_alpha):
    alpha = RANDOM.integers(1, 256, RGB.shape[:2], dtype=np.uint8) if with_alpha else None
    path = tmp_path / f"image.{extension}"
    assert write_image(path, rgb_frame(RGB), alpha) == []
    frame, got_alpha, metadata = read_image(path)
    np.testing.assert_array_equal(frame.planes[0], RGB)
    assert frame.color == RGB_FULL
    assert frame.pts is None
    assert not metadata.gray
    if with_alpha:
        np.testing.assert_array_equal(got_alpha, alpha)
    else:
        assert got_alpha is None


@pytest.mark.parametrize("extension", ["png", "tiff"])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_sixteen_bits_come_back(tmp_path, extension, with_alpha):
    alpha = RANDOM.integers(0, 65536, RGB.shape[:2], dtype=np.uint16) if with_alpha else None
    path = tmp_path / f"image.{extension}"
    assert write_image(path, rgb_frame(RGB16), alpha) == []
    frame, got_alpha, _ = read_image(path)
    assert frame.format.name == "gbrp16le"
    np.testing.assert_array_equal(rgb_of(frame), RGB16)
    if with_alpha:
        np.testing.assert_array_equal(got_alpha, alpha)


@pytest.mark.parametrize(("extension", "samples"), [("png", RGB), ("png", RGB16), ("tiff", RGB16), ("jpg", RGB)])
def test_grey_stays_grey(tmp_path, extension, samples):
    grey = np.repeat(samples[..., :1], 3, 2)
    path = tmp_path / f"grey.{extension}"
    write_image(path, rgb_frame(grey), metadata=ImageMetadata(gray=True), quality=100)
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 2
    frame, _, metadata = read_image(path)
    assert metadata.gray
    tolerance = 2 if extension == "jpg" else 0
    assert np.abs(rgb_of(frame).astype(int) - grey).max() <= tolerance


@pytest.mark.parametrize("extension", [".png", ".tiff", ".webp", ".jpg"])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_what_was_grey_is_compared_as_it_is_written(tmp_path, extension, with_alpha):
    """Networks leave three components that are not quite equal."""
    alpha = np.full(RGB.shape[:2], 200, np.uint8) if with_alpha and extension != ".jpg" else None
    frame, grey, path = rgb_frame(RGB), ImageMetadata(gray=True), tmp_path / "grey.part"
    write_image(path, frame, alpha, grey, extension=extension)
    check_image(path, frame, alpha, grey, extension)
    if extension != ".jpg":
        with pytest.raises(MediaError, match="its pixels differ"):
            check_image(path, rgb_frame(RGB ^ 4), alpha, grey, extension)


@pytest.mark.parametrize(("extension", "side"), [(".webp", 16383), (".JPG", 65500)])
def test_sizes_that_a_format_does_not_hold(tmp_path, extension, side):
    check_size((side, 8), extension)
    check_size((8, 100_000), ".png")
    with pytest.raises(UsageError, match=rf"the result is 8x{side + 1}, and \{extension} holds {side} pixels a side"):
        check_size((8, side + 1), extension)


def test_jpeg_is_fine_and_not_subsampled(tmp_path):
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = (255, 0, 0)
    stripes[:, 1::2] = (0, 0, 255)
    path = tmp_path / "stripes.jpg"
    assert write_image(path, rgb_frame(stripes)) == []
    assert np.abs(rgb_of(read_image(path)[0]).astype(int) - stripes).mean() < 12  # 4:2:0 would give 127
    big, small = tmp_path / "big.jpg", tmp_path / "small.jpg"
    write_image(big, rgb_frame(SMOOTH))
    write_image(small, rgb_frame(SMOOTH), quality=30)
    assert small.stat().st_size < big.stat().st_size


def test_webp_takes_a_quality(tmp_path):
    write_image(tmp_path / "a.webp", rgb_frame(RGB))
    write_image(tmp_path / "b.webp", rgb_frame(RGB), quality=30)
    assert (tmp_path / "b.webp").stat().st_size < (tmp_path / "a.webp").stat().st_size / 2


def test_depth_and_transparency_that_jpeg_lacks_are_told(tmp_path):
    white_half = np.full(RGB.shape[:2], 65535, np.uint16)
    white_half[:, 15:] = 0
    notes = write_image(tmp_path / "image.jpg", rgb_frame(RGB16), white_half, quality=100)
    assert ["transparency" in notes[0], "8 bits" in notes[1]] == [True, True]
    got = rgb_of(read_image(tmp_path / "image.jpg")[0])
    assert got[:, 17:].min() > 250
    assert write_image(tmp_path / "image.webp", rgb_frame(RGB16)) == [
        ".webp holds 8 bits: the image's 16 are rounded; .png and .tiff keep them"
    ]
    np.testing.assert_array_equal(rgb_of(read_image(tmp_path / "image.webp")[0]), np.rint(RGB16 / 257))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_orientation_gives_an_upright_image(tmp_path, orientation, order):
    # Four blocks of different colour, so that every turn and mirroring differs.
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:24, :32], upright[:24, 32:], upright[24:, :32] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.swapaxes(0, 1), 6: np.rot90(upright, 1), 7: np.rot90(upright.swapaxes(0, 1), 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    path = tmp_path / "photo.jpg"
    write_image(path, rgb_frame(np.ascontiguousarray(stored)), metadata=ImageMetadata(exif=exif(orientation, order)))
    frame, _, metadata = read_image(path)
    assert np.abs(rgb_of(frame).astype(int) - upright).max() < 40
    # OpenCV's own reading of the orientation agrees.
    np.testing.assert_array_equal(rgb_of(frame), cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1])
    again = tmp_path / "again.jpg"
    write_image(again, frame, metadata=metadata)
    assert rgb_of(read_image(again)[0]).shape == upright.shape
    assert read_image(again)[2].exif == exif(1, order)


def test_tiff_orientation_is_applied(tmp_path):
    path = tmp_path / "turned.tiff"
    pixels = RGB[:4, :6]
    data = np.ascontiguousarray(pixels).tobytes()
    entries = [
        (256, 3, 1, 6), (257, 3, 1, 4), (258, 3, 3, 8 + 2 + 10 * 12 + 4), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 8 + 2 + 10 * 12 + 4 + 6), (274, 3, 1, 3), (277, 3, 1, 3), (278, 3, 1, 4), (279, 4, 1, len(data)),
    ]  # fmt: skip
    directory = b"".join(
        struct.pack("<HHI", tag, kind, count)
        + (struct.pack("<HH", value, 0) if kind == 3 and count == 1 else struct.pack("<I", value))
        for tag, kind, count, value in entries
    )
    head = b"II" + struct.pack("<HIH", 42, 8, len(entries))
    path.write_bytes(head + directory + bytes(4) + struct.pack("<3H", 8, 8, 8) + data)
    np.testing.assert_array_equal(rgb_of(read_image(path)[0]), pixels[::-1, ::-1])


@pytest.mark.parametrize("extension", ["png", "jpg", "webp"])
def test_profile_and_exif_go_along(tmp_path, extension):
    given = ImageMetadata(exif=exif(1), icc=icc(), xmp=XMP)
    assert write_image(tmp_path / f"a.{extension}", rgb_frame(RGB), metadata=given) == []
    assert read_image(tmp_path / f"a.{extension}")[2] == given


def test_what_is_too_large_to_go_along_is_told(tmp_path):
    (note,) = write_image(tmp_path / "a.jpg", rgb_frame(RGB), metadata=ImageMetadata(exif=exif(1), xmp=XMP * 900))
    assert note == "the image's XMP is damaged or too large and was left out"
    assert read_image(tmp_path / "a.jpg")[2].exif == exif(1)


def test_xmp_does_not_ask_for_a_turn_once_more(tmp_path):
    write_image(tmp_path / "a.jpg", rgb_frame(RGB), metadata=ImageMetadata(exif=exif(6), xmp=XMP))
    assert read_image(tmp_path / "a.jpg")[2].xmp == XMP.replace(b'n="6"', b'n="1"')


def test_profiles_of_other_colours_are_left_out_and_that_is_told(tmp_path, capfd):
    """CMYK is read as RGB, transparency makes RGB of grey, and WebP has no grey."""
    alpha, grey = np.full(RGB.shape[:2], 9, np.uint8), ImageMetadata(gray=True, icc=icc(b"GRAY"))
    for name, clear, given in (
        ("a.png", None, ImageMetadata(icc=icc(b"CMYK"))),
        ("b.png", alpha, grey),
        ("c.webp", None, grey),
        ("d.png", None, ImageMetadata(gray=True, icc=icc())),
    ):
        (note,) = write_image(tmp_path / name, rgb_frame(RGB), clear, given)
        assert f"its colour profile is for {given.icc[16:20].decode().strip()} and was left out" in note
        assert read_image(tmp_path / name)[2].icc is None
    assert write_image(tmp_path / "e.png", rgb_frame(RGB), metadata=grey) == []
    assert read_image(tmp_path / "e.png")[2] == grey
    assert capfd.readouterr() == ("", "")


def test_text_and_resolution_are_told(tmp_path):
    write_image(tmp_path / "a.png", rgb_frame(RGB))
    write_image(tmp_path / "a.jpg", rgb_frame(RGB))
    png, jpg = (tmp_path / "a.png").read_bytes(), (tmp_path / "a.jpg").read_bytes()
    chunks = b""
    for kind, content in (
        (b"tEXt", b"Title\0A"),
        (b"iTXt", b"Author\0\0\0\0\0B"),
        (b"pHYs", struct.pack(">IIB", 11811, 11811, 1)),
    ):
        chunks += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    (tmp_path / "a.png").write_bytes(png[:33] + chunks + png[33:])
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 5) + b"hello"
    assert jpg[6:11] == b"JFIF\0"
    (tmp_path / "a.jpg").write_bytes(jpg[:13] + b"\2" + struct.pack(">HH", 118, 118) + jpg[18:20] + comment + jpg[20:])
    for name, text in (("a.png", "Title, Author"), ("a.jpg", "comment")):
        frame, _, metadata = read_image(tmp_path / name)
        notes = [f"its text ({text}) is left out", "its resolution of 300 dpi is left out"]
        assert write_image(tmp_path / "out.png", frame, metadata=metadata) == notes
    assert read_image(tmp_path / "out.png")[2].lost == ()


def test_pages_that_are_not_taken_are_told(tmp_path):
    assert cv2.imwritemulti(str(tmp_path / "a.tiff"), [RGB, RGB[::-1], RGB])
    frame, _, metadata = read_image(tmp_path / "a.tiff")
    assert write_image(tmp_path / "b.tiff", frame, metadata=metadata) == ["only the first of its 3 pages is taken"]
    assert read_image(tmp_path / "b.tiff")[2].lost == ()


def test_profiles_that_cannot_be_kept_are_told(tmp_path):
    given = ImageMetadata(icc=icc())
    (note,) = write_image(tmp_path / "a.tiff", rgb_frame(RGB), metadata=given)
    assert note == "TIFF files are written without colour profile"
    (note,) = write_image(tmp_path / "a.png", rgb_frame(RGB), metadata=ImageMetadata(icc=b"nonsense" * 20))
    assert "damaged" in note
    np.testing.assert_array_equal(rgb_of(read_image(tmp_path / "a.png")[0]), RGB)


@pytest.mark.parametrize("data", [b"", b"II*\0\xff\xff\xff\xff", b"MM\0*", b"garbage!", exif(1)[:-6]])
def test_damaged_exif_is_left_alone(tmp_path, data):
    path = tmp_path / "photo.jpg"
    write_image(path, rgb_frame(RGB), metadata=ImageMetadata(exif=data or None))
    frame, _, metadata = read_image(path)
    assert (frame.width, frame.height) == (30, 20)
    assert metadata.exif == (data or None)


@pytest.mark.parametrize(
    ("name", "content", "error", "says"),
    [
        ("missing.png", None, MediaError, "does not exist"),
        ("empty.png", b"", MediaError, "is empty"),
        ("text.png", b"hello " * 50, MediaError, "is not an image of a known format, or it is damaged"),
        ("image.gif", b"GIF89a", UsageError, r"\.gif is not an image format of this program; it knows \.jpeg"),
        ("image", b"x", UsageError, "has no extension"),
    ],
)
def test_unreadable_images_are_told_in_one_line(tmp_path, capfd, name, content, error, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=says) as caught:
        read_image(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tiff"])
def test_images_that_were_cut_off_are_refused(tmp_path, capfd, extension):
    path = tmp_path / f"photo.{extension}"
    write_image(path, rgb_frame(np.tile(RGB, (8, 8, 1))), metadata=ImageMetadata(exif=exif(1)))
    capfd.readouterr()
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(MediaError, match=r"cut off|damaged"):
        read_image(path)


def test_folder(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(MediaError, match="is a folder"):
        read_image(tmp_path / "folder.png")


def test_animations_are_refused(tmp_path):
    webp = b"RIFF" + struct.pack("<I", 100) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02" + bytes(9)
    (tmp_path / "a.webp").write_bytes(webp + bytes(80))
    write_image(tmp_path / "b.png", rgb_frame(RGB))
    png = (tmp_path / "b.png").read_bytes()
    control = b"acTL" + struct.pack(">II", 2, 0)
    chunk = struct.pack(">I", 8) + control + struct.pack(">I", zlib.crc32(control))
    (tmp_path / "b.png").write_bytes(png[:33] + chunk + png[33:])
    for name in ("a.webp", "b.png"):
        with pytest.raises(MediaError, match="is an animation"):
            read_image(tmp_path / name)


def test_float_images_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "float.tiff"), RGB.astype(np.float32))
    with pytest.raises(MediaError, match="has float32 samples; supported are 8 and 16 bits"):
        read_image(tmp_path / "float.tiff")


def test_names_in_any_script(tmp_path):
    path = tmp_path / "фото 写真 é.png"
    write_image(path, rgb_frame(RGB))
    np.testing.assert_array_equal(rgb_of(read_image(path)[0]), RGB)


def test_working_name_may_end_in_anything(tmp_path):
    write_image(tmp_path / "image.part", rgb_frame(RGB), extension=".PNG")
    assert (tmp_path / "image.part").read_bytes()[:4] == b"\x89PNG"


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(UsageError, match=r"the quality is 101; it must be 1 to 100"):
        write_image(tmp_path / "a.jpg", rgb_frame(RGB), quality=101)
    with pytest.raises(MediaError, match=r"cannot write .*: No such file or directory"):
        write_image(tmp_path / "missing" / "a.png", rgb_frame(RGB))
    yuv = Frame(tuple(np.zeros(s, np.uint8) for s in ((4, 4), (2, 2), (2, 2))), FORMATS["yuv420p"], 4, 4, ColorSpec())
    with pytest.raises(MediaError, match="rgb24 and gbrp16le frames, got yuv420p"):
        write_image(tmp_path / "a.png", yuv)
