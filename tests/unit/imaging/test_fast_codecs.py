"""The fast decoders of grey frames, against the truth and against others."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from imagecodecs import jpeg8_decode, jpeg8_encode
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
)

from dicom_node.imaging.decode import check_pixels, decode_frames, decode_stored
from dicom_node.imaging.fast_codecs import FAST_PLUGIN
from tests.builders.dicom_series import write_dataset
from tests.builders.peers import require_program
from tests.builders.pixel_images import make_image


def decode(ds):
    check_pixels(ds, max_pixels_bytes=1 << 30)
    (frame,) = decode_frames(ds, [1])
    return frame


def noise(dtype, bits, shape=(33, 47)):
    low = -(1 << bits - 1) if np.dtype(dtype).kind == "i" else 0
    rng = np.random.default_rng(bits)
    return rng.integers(low, low + (1 << bits), shape).astype(dtype)


def wrap(stored, codestream, syntax, **described):
    ds = make_image(stored, **described)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([codestream])
    ds["PixelData"].is_undefined_length = True
    return ds


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize(
    ("dtype", "bits"),
    [(np.uint8, 8), (np.uint16, 12), (np.uint16, 16), (np.int16, 12), (np.int16, 16)],
)
def test_lossless_jpeg_of_every_predictor_keeps_every_value(predictor, dtype, bits):
    stored = noise(dtype, bits)
    unsigned = stored.view(f"u{stored.itemsize}") & np.array((1 << bits) - 1)
    codestream = jpeg8_encode(
        unsigned.astype(f"u{stored.itemsize}"),
        lossless=True,
        predictor=predictor,
        bitspersample=bits,
    )
    ds = wrap(stored, codestream, JPEGLossless, bits_stored=bits)

    np.testing.assert_array_equal(decode(ds), stored)
    others = get_decoder(JPEGLossless).as_array(ds, decoding_plugin="pylibjpeg")[0]
    np.testing.assert_array_equal(decode(ds), others)


def test_eight_bits_in_sixteen_keep_their_value():
    stored = noise(np.uint8, 8)
    codestream = jpeg8_encode(stored, lossless=True, bitspersample=8)
    ds = wrap(stored.astype(np.uint16), codestream, JPEGLosslessSV1, bits_stored=8)

    np.testing.assert_array_equal(decode(ds), stored)
    assert decode_stored(ds, 1) == stored.astype("<u2").tobytes()


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEG2000Lossless])
def test_colour_where_grey_is_said_is_an_error(syntax):
    stored = noise(np.uint8, 8)
    colour = np.stack([stored, stored, stored], axis=-1)
    if syntax == JPEGLosslessSV1:
        codestream = jpeg8_encode(colour, lossless=True, bitspersample=8)
        ds = wrap(stored, codestream, syntax)
    else:
        ds = make_image(colour, photometric="RGB")
        ds.compress(syntax, generate_instance_uid=False)
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"

    with pytest.raises(RuntimeError, match="not what its header says"):
        get_decoder(syntax).as_array(ds, decoding_plugin=FAST_PLUGIN)
    with pytest.raises((RuntimeError, ValueError)):
        decode(ds)


def test_a_frame_that_hides_its_size_is_not_handed_to_a_fast_decoder():
    stored = noise(np.uint8, 8)
    codestream = jpeg8_encode(stored, lossless=True, bitspersample=8)
    hidden = codestream[:2] + b"\0" + codestream[2:]  # libjpeg-turbo reads on
    np.testing.assert_array_equal(jpeg8_decode(hidden), stored)

    ds = wrap(stored, hidden, JPEGLosslessSV1)

    with pytest.raises(RuntimeError, match="does not say its size"):
        get_decoder(JPEGLosslessSV1).as_array(ds, decoding_plugin=FAST_PLUGIN)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("options", "bits", "syntax", "within"),
    [
        (["+e1"], 12, JPEGLosslessSV1, 0),
        (["+el", "+sv", "6", "+pt", "2"], 8, JPEGLossless, 0),
        (["+el", "+sv", "6", "+pt", "3"], 16, JPEGLossless, 0),
        (["+ee"], 12, JPEGExtended12Bit, 1),
    ],
)
def test_dcmtk_decodes_the_same_values(tmp_path, options, bits, syntax, within):
    dtype = np.uint8 if bits == 8 else np.uint16
    raw, coded, again = (tmp_path / name for name in ("raw", "coded", "again"))
    ds = make_image(noise(dtype, bits, (64, 48)), bits_stored=bits)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    write_dataset(ds, raw)
    subprocess.run([require_program("dcmcjpeg"), *options, raw, coded], check=True)
    subprocess.run([require_program("dcmdjpeg"), coded, again], check=True)

    compressed = dcmread(coded)
    assert compressed.file_meta.TransferSyntaxUID == syntax
    theirs = dcmread(again).pixel_array.astype(np.float32)
    assert np.abs(decode(compressed) - theirs).max() <= within
