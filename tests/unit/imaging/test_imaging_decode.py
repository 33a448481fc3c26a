from __future__ import annotations

import colorsys
import io

import imagecodecs
import numpy as np
import pytest
from imagecodecs import jpeg8_encode
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.errors import PixelDecodingError
from dicom_node.imaging.codestream import codestream_size
from dicom_node.imaging.decode import check_pixels, decode_frames
from tests.builders.pixel_images import make_image

LIMIT = 1 << 30


def decode(ds, number=1):
    check_pixels(ds, max_pixels_bytes=LIMIT)
    (frame,) = decode_frames(ds, [number])
    return frame


def ramp(dtype, low, high, shape=(6, 7)):
    return np.linspace(low, high, int(np.prod(shape))).astype(dtype).reshape(shape)


@pytest.mark.parametrize(
    ("dtype", "low", "high", "bits"),
    [
        (np.uint8, 0, 255, 8),
        (np.int8, -128, 127, 8),
        (np.uint16, 0, 4095, 12),
        (np.int16, -2048, 2047, 12),
        (np.uint16, 0, 65535, 16),
        (np.int16, -32768, 32767, 16),
        (np.uint32, 0, 1 << 24, 32),
        (np.int32, -(1 << 24), 1 << 24, 32),
    ],
)
def test_integers_of_every_width_keep_their_value(dtype, low, high, bits):
    stored = ramp(dtype, low, high)

    frame = decode(make_image(stored, bits_stored=bits))

    assert frame.dtype == np.float32
    np.testing.assert_array_equal(frame, stored)


def test_bits_above_the_stored_ones_do_not_count():
    # Old files keep an overlay there (PS3.5 8.1.1).
    stored = ramp(np.uint16, 0, 4095)

    frame = decode(make_image(stored | 0x8000, bits_stored=12))

    np.testing.assert_array_equal(frame, stored)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_values_that_are_said_to_lie_higher_up_are_refused(syntax):
    # DCMTK would move them down by four bits, pydicom would not.
    ds = make_image(ramp(np.uint16, 0, 4095), bits_stored=12)
    if syntax == RLELossless:
        ds.compress(syntax, generate_instance_uid=False)
    ds.HighBit = 15

    with pytest.raises(
        PixelDecodingError, match="High Bit is 15; 12 Bits Stored ask for 11"
    ):
        decode(ds)


def test_a_codestream_says_itself_where_its_values_lie():
    stored = ramp(np.uint16, 0, 4095)
    ds = make_image(stored, bits_stored=12)
    ds.compress(JPEGLSLossless, generate_instance_uid=False)
    ds.HighBit = 15

    np.testing.assert_array_equal(decode(ds), stored)


def coded(stored, held, syntax, *, bits, **values):
    """Return an image whose codestream holds other bits than its header says."""
    encode = {
        JPEGLSLossless: imagecodecs.jpegls_encode,
        JPEG2000Lossless: lambda array: imagecodecs.jpeg2k_encode(
            array, level=0, codecformat="J2K", reversible=True
        ),
    }[syntax]
    ds = make_image(stored, bits_stored=bits, **values)
    ds.PixelData = encapsulate([encode(held)])
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_values_beyond_the_stored_bits_of_a_lossless_codestream_are_refused(syntax):
    unsigned = ramp(np.uint16, 0, 4095)
    signed = ramp(np.int16, -2048, 2047)
    without_their_signs = signed.view(np.uint16) & 0xFFF

    for stored, held in (
        (unsigned, unsigned | 0x8000),
        (signed, without_their_signs),
    ):
        with pytest.raises(PixelDecodingError, match="beyond Bits Stored"):
            decode(coded(stored, held, syntax, bits=12))
    with pytest.raises(PixelDecodingError, match="beyond Bits Allocated"):
        decode(coded(ramp(np.uint8, 0, 255), unsigned, syntax, bits=8))


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_a_wider_codestream_within_the_stored_bits_keeps_every_value(syntax):
    for stored in (ramp(np.uint16, 0, 4095), ramp(np.int16, -2048, 2047)):
        ds = coded(stored, stored.view(np.uint16), syntax, bits=12)

        np.testing.assert_array_equal(decode(ds), stored)


def test_padding_may_lie_beyond_the_stored_bits():
    stored = ramp(np.uint16, 0, 4095)
    held = stored.copy()
    held[0, 0] = 63536
    ds = coded(stored, held, JPEGLSLossless, bits=12, PixelPaddingValue=63536)

    np.testing.assert_array_equal(decode(ds).ravel()[1:], stored.ravel()[1:])


def test_big_endian_pixels_keep_their_value():
    stored = ramp(np.int16, -1000, 1000)
    ds = make_image(stored)
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds.PixelData = stored.astype(">i2").tobytes()

    np.testing.assert_array_equal(decode(ds), stored)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_lossless_compression_keeps_every_value(syntax, dtype):
    low = -900 if dtype is np.int16 else 0
    stored = ramp(dtype, low, 250, shape=(65, 70))
    ds = make_image(stored)
    ds.compress(syntax, generate_instance_uid=False)

    np.testing.assert_array_equal(decode(ds), stored)


@pytest.mark.parametrize(
    ("slope", "intercept"),
    [("2.5", "-1024"), ("1", "-1024"), ("1e-3", "0.5"), ("1", "16777217")],
)
def test_values_are_rescaled(slope, intercept):
    stored = ramp(np.uint16, 0, 4000)
    ds = make_image(stored, RescaleSlope=slope, RescaleIntercept=intercept)

    expected = (stored * float(slope) + float(intercept)).astype(np.float32)
    np.testing.assert_array_equal(decode(ds), expected)


@pytest.mark.parametrize("slope", ["0", None, "", ["1", "2"]])
def test_a_useless_rescale_is_left_out(slope):
    stored = ramp(np.uint16, 0, 4000)
    ds = make_image(stored, RescaleIntercept="-5", RescaleSlope=slope)

    np.testing.assert_array_equal(decode(ds), stored)


def test_each_frame_has_its_own_rescale():
    stored = np.stack([ramp(np.uint16, 0, 100)] * 2)
    ds = make_image(stored, frames=2, RescaleSlope="7", RescaleIntercept="7")
    groups = []
    for slope in ("2", "3"):
        group, item = Dataset(), Dataset()
        item.RescaleSlope, item.RescaleIntercept = slope, "1"
        group.PixelValueTransformationSequence = [item]
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups

    np.testing.assert_array_equal(decode(ds, 1), stored[0] * 2 + 1)
    np.testing.assert_array_equal(decode(ds, 2), stored[1] * 3 + 1)


def test_a_modality_lut_is_looked_up_and_clamped_at_its_ends():
    stored = np.array([[0, 10, 11, 12, 13, 200]], np.uint16)
    item = Dataset()
    item.LUTDescriptor = [4, 10, 16]
    item.LUTData = [100, 300, 200, 400]
    ds = make_image(stored, ModalityLUTSequence=[item])

    np.testing.assert_array_equal(decode(ds), [[100, 100, 300, 200, 400, 400]])


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_monochrome1_is_mirrored_in_the_range_of_its_bits(dtype):
    low, high = (0, 4095) if dtype is np.uint16 else (-2048, 2047)
    stored = ramp(dtype, low, high)
    ds = make_image(
        stored,
        photometric="MONOCHROME1",
        bits_stored=12,
        RescaleSlope="2",
        RescaleIntercept="10",
    )

    frame = decode(ds)

    expected = (low + high - stored.astype(np.int64)) * 2 + 10
    np.testing.assert_array_equal(frame, expected)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_as_dark_as_the_picture_gets(photometric):
    stored = ramp(np.int16, -1000, 1000)
    stored[0, :3] = (-2000, -1990, -1980)
    ds = make_image(
        stored,
        photometric=photometric,
        PixelPaddingValue=-2000,
        PixelPaddingRangeLimit=-1990,
    )

    frame = decode(ds)

    inside = np.ones(stored.shape, bool)
    inside[0, :2] = False
    assert frame[0, 0] == frame[0, 1] == frame[inside].min()
    assert frame[0, 2] == -1980 if photometric == "MONOCHROME2" else True


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_pixels_keep_their_value_and_what_is_no_number_is_dark(dtype):
    stored = ramp(dtype, -1.5, 2.5)
    stored[0, :2] = (np.nan, np.inf)

    frame = decode(make_image(stored))

    np.testing.assert_array_equal(frame[1:], stored[1:].astype(np.float32))
    np.testing.assert_array_equal(frame[0, :2], [frame[0, 2]] * 2)


def test_single_bits_become_zero_and_one():
    bits = np.array([[0, 1, 1, 0, 1, 0, 0, 1], [1, 0, 0, 0, 1, 1, 1, 0]], np.uint8)
    ds = make_image(bits)
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = 0
    ds.PixelData = np.packbits(bits, bitorder="little").tobytes()

    np.testing.assert_array_equal(decode(ds), bits)


@pytest.mark.parametrize("planar", [0, 1])
def test_rgb_keeps_its_values_in_either_plane_order(planar):
    rgb = np.random.default_rng(1).integers(0, 256, (5, 6, 3), np.uint8)
    ds = make_image(rgb, photometric="RGB")
    if planar:
        ds.PlanarConfiguration = 1
        ds.PixelData = rgb.transpose(2, 0, 1).tobytes()

    frame = decode(ds)

    assert frame.dtype == np.uint8
    np.testing.assert_array_equal(frame, rgb)


def test_ybr_full_becomes_rgb():
    # PS3.3 C.7.6.3.1.2: Y = .2990 R + .5870 G + .1140 B and so on.
    rgb = np.array([[colorsys.hsv_to_rgb(h / 12, 0.8, 0.9) for h in range(12)]]) * 255
    matrix = [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]]
    ybr = rgb @ np.array(matrix).T + [0, 128, 128]
    ds = make_image(ybr.round().astype(np.uint8), photometric="YBR_FULL")

    np.testing.assert_allclose(decode(ds).astype(float), rgb, atol=2)


def test_sixteen_bit_colour_becomes_eight_bit():
    rgb = np.array([[[0, 0x80FF, 0xFFFF]]], np.uint16)

    np.testing.assert_array_equal(
        decode(make_image(rgb, photometric="RGB")), [[[0, 0x80, 0xFF]]]
    )


def test_palette_colours_are_looked_up():
    ds = make_image(np.array([[0, 1, 2, 2]], np.uint8), photometric="PALETTE COLOR")
    for name, entries in (
        ("Red", [0, 10, 255]),
        ("Green", [5, 6, 7]),
        ("Blue", [9, 8, 0]),
    ):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [3, 0, 16])
        data = np.array([value << 8 for value in entries], "<u2").tobytes()
        setattr(ds, f"{name}PaletteColorLookupTableData", data)

    frame = decode(ds)

    assert frame.tolist() == [[[0, 5, 9], [10, 6, 8], [255, 7, 0], [255, 7, 0]]]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"Rows": 60}, "needed"),
        ({"BitsStored": 17}, "bits stored"),
        ({"HighBit": 16}, "bits stored"),
        ({"SamplesPerPixel": 2}, "samples"),
        ({"BitsAllocated": 12}, "bits allocated"),
        ({"NumberOfFrames": 999_999}, "needed|more than"),
        ({"Rows": 65535, "Columns": 65535}, "more than"),
    ],
)
def test_descriptions_that_contradict_themselves_are_refused(values, reason):
    ds = make_image(ramp(np.uint16, 0, 100), **values)

    with pytest.raises(PixelDecodingError, match=reason):
        check_pixels(ds, max_pixels_bytes=LIMIT)


def test_rows_must_be_an_unsigned_short():
    ds = make_image(ramp(np.uint16, 0, 100))
    ds["Rows"].VR = "UL"

    with pytest.raises(PixelDecodingError, match="Rows"):
        check_pixels(ds, max_pixels_bytes=LIMIT)


def test_an_image_without_pixels_is_refused():
    ds = make_image(ramp(np.uint16, 0, 100))
    del ds.PixelData

    with pytest.raises(PixelDecodingError, match="no pixel data"):
        check_pixels(ds, max_pixels_bytes=LIMIT)


def test_a_frame_that_is_not_there_is_refused():
    with pytest.raises(PixelDecodingError, match="no frame 2"):
        decode(make_image(ramp(np.uint16, 0, 100)), 2)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_the_codestream_tells_its_size(syntax):
    ds = make_image(ramp(np.uint16, 0, 100, shape=(64, 80)))
    ds.compress(syntax, generate_instance_uid=False)
    frame = ds.PixelData[16:]

    assert codestream_size(frame[frame.index(b"\xff") :]) == (64, 80)


@pytest.mark.parametrize(
    "frame",
    [b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\0\x08", b"\xff\xd8abc", b"rubbish" * 9],
)
def test_what_is_no_codestream_has_no_size(frame):
    assert codestream_size(frame) is None


def test_a_codestream_of_another_size_than_the_header_is_refused():
    ds = make_image(ramp(np.uint16, 0, 100, shape=(64, 80)))
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    ds.Rows = 65

    with pytest.raises(PixelDecodingError, match="64 x 80"):
        decode(ds)


def make_jpeg(stored, *, share=1.0):
    encoded = io.BytesIO()
    Image.fromarray(stored).save(encoded, "JPEG", quality=95)
    codestream = encoded.getvalue()
    ds = make_image(stored)
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = encapsulate([codestream[: int(share * len(codestream))]])
    ds["PixelData"].is_undefined_length = True
    return ds


def test_grey_jpeg_comes_within_what_the_codec_loses():
    y, x = np.mgrid[:64, :48]
    stored = (2 * y + x).astype(np.uint8)
    ds = make_jpeg(stored)

    (frame,) = decode_frames(ds, [1])

    assert np.abs(frame - stored).max() <= 3
    other = get_decoder(JPEGBaseline8Bit).as_array(ds, decoding_plugin="pylibjpeg")[0]
    assert np.abs(frame - other).max() <= 1


@pytest.mark.parametrize("missing", [1, 2, 10, 1000])
@pytest.mark.parametrize("lossless", [True, False])
def test_a_jpeg_frame_that_ends_too_early_is_refused(missing, lossless):
    rng = np.random.default_rng(0)
    stored = rng.integers(100, 130, (64, 48)).astype(np.uint8)
    codestream = jpeg8_encode(stored, lossless=lossless, level=95)
    preview = b"\xff\xe0" + (2 + len(codestream)).to_bytes(2) + codestream
    codestream = codestream[:2] + preview + codestream[2:]
    ds = make_image(stored)
    ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1 if lossless else JPEGBaseline8Bit
    ds.PixelData = encapsulate([codestream + bytes(5001)])
    ds["PixelData"].is_undefined_length = True
    assert np.abs(decode(ds) - stored).max() <= (0 if lossless else 8)

    ds.PixelData = encapsulate([codestream[:-missing]])

    with pytest.raises(PixelDecodingError, match="before its End of Image"):
        decode(ds)


def test_grey_jpeg_larger_than_photographs_is_decoded(monkeypatch):
    stored = np.full((64, 48), 90, np.uint8)
    ds = make_jpeg(stored)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)

    assert np.abs(decode(ds) - stored).max() <= 1


def test_grey_jpeg_that_no_decoder_reads_is_an_error():
    ds = make_jpeg(np.full((64, 48), 90, np.uint8), share=0.1)
    (start,) = generate_frames(ds.PixelData)
    ds.PixelData = encapsulate([start + b"\xff\xd9"])
    ds["PixelData"].is_undefined_length = True

    with pytest.raises(RuntimeError):
        decode(ds)
