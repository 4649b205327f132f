"""Small scan files of every format, byte by byte from the published layouts.

`Field` says what such a file must read as. Rows run from the top, as the instrument shows them; it
is up to each builder to store them the way its format does.
"""

import io
import struct
from dataclasses import dataclass

import numpy as np
import tifffile


@dataclass(frozen=True, eq=False)
class Field:
    """Whole numbers `raw` (H, W), first row on top; heights are raw * scale + offset, in nm."""

    raw: np.ndarray
    scale_nm: float = 0.125
    offset_nm: float = 0.0
    pixel_nm: tuple[float, float] = (4.0, 2.5)

    @property
    def heights(self):
        return self.raw * self.scale_nm + self.offset_nm

    @property
    def metres(self):
        return self.heights * 1e-9

    @property
    def size_nm(self):
        """Height and width of the field."""
        rows, columns = self.raw.shape
        return rows * self.pixel_nm[0], columns * self.pixel_nm[1]


def sample_field(shape=(23, 37), seed=3):
    raw = np.random.default_rng(seed).integers(-3000, 3000, shape).astype(np.int16)
    return Field(raw)


def _item(name, kind, value):
    return name.encode() + b"\0" + kind.encode() + value


def _object(kind, body):
    return kind.encode() + b"\0" + struct.pack("<I", len(body)) + body


def _gwy_field(field, lateral, unit, values):
    rows, columns = field.raw.shape
    tall, wide = (s * 1e-9 for s in field.size_nm)
    body = _item("xres", "i", struct.pack("<i", columns))
    body += _item("yres", "i", struct.pack("<i", rows))
    body += _item("xreal", "d", struct.pack("<d", wide))
    body += _item("yreal", "d", struct.pack("<d", tall))
    for key, shown in (("si_unit_xy", lateral), ("si_unit_z", unit)):
        text = _item("unitstr", "s", shown.encode("latin-1") + b"\0")
        body += _item(key, "o", _object("GwySIUnit", text))
    data = struct.pack("<I", values.size) + values.astype("<f8").tobytes()
    return _object("GwyDataField", body + _item("data", "D", data))


def gwy(field, *, title="Height", unit="m"):
    body = _item("/0/data", "o", _gwy_field(field, "m", unit, field.metres))
    body += _item("/0/data/title", "s", title.encode() + b"\0")
    meta = _object("GwyContainer", _item("Tip", "s", b"NSC15\0"))
    body += _item("/0/meta", "o", meta)
    lines = struct.pack("<I", 2) + b"one\0two\0"
    body += _item("/0/data/log", "o", _object("GwyStringList", _item("strings", "S", lines)))
    return b"GWYP" + _object("GwyContainer", body)


def gwy1(field):
    """Version 1: type codes before the names, prefixes that mean nothing."""
    body = struct.pack("<I", 64) + b"/0/base/palette\0Gold\0"
    body += struct.pack("<I", 80) + b"/0/data\0" + _gwy_field(field, "µm", "nm", field.metres)
    return b"GWYO" + _object("GwyContainer", body)


def gsf(field, *, unit="nm"):
    rows, columns = field.raw.shape
    tall, wide = field.size_nm
    header = (
        f"Gwyddion Simple Field 1.0\nXRes = {columns}\nYRes = {rows}\nXReal = {wide!r}\n"
        f"YReal = {tall!r}\nXYUnits = nm\nZUnits = {unit}\nTitle = Topography\n"
    ).encode()
    return header + bytes(4 - len(header) % 4) + field.heights.astype("<f4").tobytes()


def nanoscope(field, *, stored=2, declared=2, section="Ciao image list", size=None, aspect="1:1",
              name="Height", scan=(), lines=None):  # fmt: skip
    rows, columns = field.raw.shape
    tall, wide = field.size_nm
    steps = 256**declared
    sensitivity = 16.0
    hard = field.scale_nm * steps / sensitivity
    shown = size or f"{wide / 1e3!r} {tall / 1e3!r} ~m"
    start = 8192
    body = np.ascontiguousarray(field.raw[::-1]).astype(f"<i{stored}").tobytes()
    header = "\r\n".join(
        [
            r"\*File list", r"\Version: 0x09200000", r"\Data length: 8192", r"\*Scanner list",
            rf"\@Sens. Zscan: V {sensitivity!r} nm/V", r"\*Ciao scan list", r"\Scan Size: 500 nm",
            *scan,
            rf"\*{section}", rf"\Data offset: {start}", rf"\Data length: {len(body)}",
            rf"\Bytes/pixel: {declared}", rf"\Samps/line: {columns}",
            rf"\Number of lines: {lines or rows}",
            rf"\Aspect Ratio: {aspect}", rf"\Scan Size: {shown}", r"\Line Direction: Trace",
            rf'\@2:Image Data: S [{name}] "{name}"', r"\@Z magnify: C [2:Z scale] 0.5",
            rf"\@2:Z scale: V [Sens. Zscan] (0.006693481 V/LSB) {hard!r} V",
            rf"\@2:Z offset: V [Sens. Zscan] (0.006 V/LSB) {field.offset_nm / sensitivity!r} V",
            r"\*File list end", "\x1a",
        ]
    ).encode("latin-1")  # fmt: skip
    return header.ljust(start, b"\0") + body


def ibw(field, *, order="<", labels=("HeightRetrace", "PhaseRetrace"), note=b"ScanSize: 5e-06\r"):
    rows, columns = field.raw.shape
    layers = [field.metres if "Height" in x else np.full((rows, columns), 7.0) for x in labels]
    data = b"".join(x[::-1].astype(order + "f8").tobytes() for x in layers)
    block = b"".join(x.encode().ljust(32, b"\0") for x in ("", *labels))
    wave = bytearray(320)
    struct.pack_into(order + "ih", wave, 12, len(data) // 8, 4)
    wave[28:36] = b"scan0001"
    struct.pack_into(order + "4i", wave, 68, columns, rows, len(labels), 0)
    tall, wide = (p * 1e-9 for p in field.pixel_nm)
    struct.pack_into(order + "4d", wave, 84, wide, tall, 1.0, 1.0)
    for at in (148, 152, 156):
        wave[at : at + 1] = b"m"
    sizes = (320 + len(data), 0, len(note), 0, 0, 0, 0, 0, 0, 0, len(block), 0, 0, 0, 0)
    head = bytearray(struct.pack(order + "hh15i", 5, 0, *sizes)[:64]) + wave
    total = int(np.frombuffer(bytes(head), order + "i2").astype(np.int64).sum())
    struct.pack_into(order + "h", head, 2, (-total + 0x8000) % 0x10000 - 0x8000)
    return bytes(head) + data + note + block


def _tiff(pages):
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for array, tags in pages:
            writer.write(array, photometric="minisblack", extratags=tags, metadata=None)
    return stream.getvalue()


def _text_tag(code, text):
    return (code, "s", 0, text, True)


def jpk(field, *, reflect=0, retrace=0):
    tall, wide = (s * 1e-9 for s in field.size_nm)
    common = [(0x8042, "d", 1, wide, True), (0x8043, "d", 1, tall, True)]
    slots = [
        _text_tag(0x8050, "height"), _text_tag(0x8052, "Height"), (0x8051, "I", 1, retrace, True),
        (0x8080, "I", 1, 2, True), _text_tag(0x8081, "nominal"), (0x8045, "I", 1, reflect, True),
        _text_tag(0x8090, "raw"), _text_tag(0x80A3, "NullScaling"),
        _text_tag(0x80C0, "nominal"), _text_tag(0x80D2, "m"), _text_tag(0x80D3, "LinearScaling"),
        (0x80D4, "d", 1, field.scale_nm * 1e-9, True),
        (0x80D5, "d", 1, field.offset_nm * 1e-9, True),
    ]  # fmt: skip
    stored = field.raw if reflect else field.raw[::-1]
    thumbnail = np.zeros((8, 8), np.uint8)
    return _tiff([(thumbnail, common), (np.ascontiguousarray(stored), slots)])


def park(field, *, kind=1, image_type=0, unit="um", source="Z Height"):
    rows, columns = field.raw.shape
    tall, wide = (s / 1e3 for s in field.size_nm)
    nm = {"um": 1e3, "nm": 1.0}[unit]

    def wide_text(text, size):
        return text.encode("utf-16-le").ljust(2 * size, b"\0")

    head = struct.pack("<I", image_type) + wide_text(source, 32) + wide_text("C-AFM", 8)
    head += struct.pack("<dIIIIdIdIII", 1.0, 0, 0, columns, rows, 0.0, 0, 1.0, 1, 1, 0)
    head += struct.pack("<dddddd", wide, tall, 0.0, 0.0, 1.0, 2.0) + wide_text("nm", 8)
    # Height = gain * (scale * raw + offset).
    gain = 0.5
    head += struct.pack("<dd", 0.0, 0.0) + struct.pack("<d", gain)
    head += struct.pack("<dd", field.scale_nm / nm / gain, field.offset_nm / nm / gain)
    head += wide_text(unit, 8) + struct.pack("<iiiIII", -9, 9, 0, 0, 0, 1)
    head += struct.pack("<dd", 1.0, 1.0) + 3 * wide_text("", 8) + struct.pack("<I", kind)
    head += bytes(8 + 16 + 32)
    raw = field.raw[::-1].astype(("<i2", "<i4", "<f4")[kind]).tobytes()
    tags = [
        (50432, "I", 1, 0x0E031301, True), (50433, "I", 1, 0x01000002, True),
        (50434, "B", len(raw), raw, True), (50435, "B", len(head), head, True),
    ]  # fmt: skip
    return _tiff([(np.zeros((16, 16), np.uint8), tags)])


def nanonis(field, *, way="up", channels="both"):
    rows, columns = field.raw.shape
    tall, wide = (s * 1e-9 for s in field.size_nm)
    header = (
        ":NANONIS_VERSION:\n2\n:SCANIT_TYPE:\n              FLOAT            MSBFIRST\n"
        f":SCAN_PIXELS:\n       {columns}       {rows}\n:SCAN_RANGE:\n {wide!r}  {tall!r}\n"
        f":SCAN_ANGLE:\n 0.0\n:SCAN_DIR:\n{way}\n:COMMENT:\nquiet: night\n:DATA_INFO:\n"
        "\tChannel\tName\tUnit\tDirection\tCalibration\tOffset\n"
        f"\t14\tZ\tm\t{channels}\t9E-9\t0\n\t0\tCurrent\tA\tforward\t1E-9\t0\n\n:SCANIT_END:\n\n\n"
    ).encode("latin-1")
    stored = field.metres[::-1] if way == "up" else field.metres
    forward, backward = stored.astype(">f4"), (stored + 1e-9)[:, ::-1].astype(">f4")
    current = np.ones((rows, columns), ">f4")
    return header + b"\x1a\x04" + forward.tobytes() + backward.tobytes() + current.tobytes()


def _mdt(frames):
    body = b"".join(frames)
    head = b"\x01\xb0\x93\xff" + struct.pack("<IIH", len(body), 0, len(frames) - 1)
    return head.ljust(33, b"\0") + body


def _frame(kind, variables, body):
    date = struct.pack("<6H", 2023, 4, 5, 11, 46, 5)
    head = struct.pack("<IHH", 22 + len(body), kind, 0x0307) + date
    return head + struct.pack("<H", variables) + body


def mdt(field):
    rows, columns = field.raw.shape
    text = _frame(3, 0, b"text frame".ljust(40, b"\0"))
    axes = struct.pack("<ffh", 0, field.pixel_nm[1] / 1e3, -2)
    axes += struct.pack("<ffh", 0, field.pixel_nm[0], -1)
    axes += struct.pack("<ffh", field.offset_nm, field.scale_nm, -1)
    variables = axes + struct.pack("<BBHH", 0, 0, columns, rows) + bytes(40)
    body = variables + struct.pack("<4H", 0, columns, rows, 0)
    body += field.raw[::-1].astype("<i2").tobytes()
    body += struct.pack("<I", 9) + b"2F:Height"
    return _mdt([text, _frame(0, len(variables), body)])


def _mdt_axis(name, unit, bias, scale, count, number):
    head = struct.pack("<IIIQdQddQQiI", len(name), 0, len(unit), 1, 0.0, 0, bias, scale, 0,
                       count - 1, number, 0)  # fmt: skip
    body = head.ljust(112, b"\0") + name.encode() + unit.encode()
    return struct.pack("<II", 8 + len(body), 112) + body


def mdt_mda(field, *, title="1B:Height", unit="nm", number=-2):
    rows, columns = field.raw.shape
    kinds = {-2: "<i2", -(8 + 52 * 256): "<f8"}
    xml = "<a/>".encode("utf-16")
    axes = _mdt_axis("x", "um", 5.0, field.pixel_nm[1] / 1e3, columns, 8)
    axes += _mdt_axis("y", "um", 5.0, field.pixel_nm[0] / 1e3, rows, 8)
    axes += _mdt_axis("z", unit, field.offset_nm, field.scale_nm, 2**32, number)
    struct_body = struct.pack("<QIII", rows * columns, 2, 2, 1).ljust(33, b"\0")
    array = struct.pack("<II", 41 + len(axes), 33) + struct_body + axes
    sizes = struct.pack("<9I", 9, len(title), len(xml), 0, 16, 0, len(array), 0, 0)
    head = struct.pack("<II", 76, 0) + bytes(32) + sizes
    body = head + title.encode() + xml + bytes(16) + array
    return _mdt([_frame(106, 0, body + field.raw[::-1].astype(kinds[number]).tobytes())])


def wsxm(field, *, kind="double", name="Topography"):
    """Heights; of whole numbers only their differences can be stored."""
    rows, columns = field.raw.shape
    tall, wide = field.size_nm
    span = float(np.ptp(field.raw)) * field.scale_nm

    def text(size):
        return (
            "WSxM file copyright Nanotec Electronica\r\nSxM Image file\r\n"
            f"Image header size: {size}\r\n\r\n[Control]\r\n\r\n    X Amplitude: {wide!r} nm\r\n"
            f"    Y Amplitude: {tall!r} nm\r\n\r\n[General Info]\r\n\r\n"
            f"    Acquisition channel: {name}\r\n    Image Data Type: {kind}\r\n"
            f"    Number of columns: {columns}\r\n    Number of rows: {rows}\r\n"
            f"    X scanning direction: Backward\r\n    Z Amplitude: {span!r} nm\r\n\r\n"
            "[Header end]\r\n"
        ).encode()

    size = len(text(100))  # of three digits
    dtype = {"double": "<f8", "float": "<f4", "short": "<i2"}[kind]
    values = field.raw if kind == "short" else field.heights
    return text(size) + values[::-1, ::-1].astype(dtype).tobytes()


def matrix(field, *, separator="\t", decimal="."):
    tall, wide = (s / 1e3 for s in field.size_nm)
    rows = "\n".join(separator.join(repr(float(v)) for v in row) for row in field.heights)
    header = f"# Channel: Height\n# Width: {wide!r} µm\n# Height: {tall!r} µm\n# Value units: nm\n"
    return header.encode() + rows.replace(".", decimal).encode() + b"\n"


def xyz(field, *, header="x (um), y (um), z [nm]", separator=", ", seed=5):
    """Points in random order; y points up."""
    rows, columns = field.raw.shape
    at = np.random.default_rng(seed).permutation(rows * columns)
    y = (rows - 1 - at // columns) * field.pixel_nm[0] / 1e3
    x = (at % columns) * field.pixel_nm[1] / 1e3
    z = field.heights.ravel()[at]
    lines = [
        separator.join(map(repr, p)) for p in zip(*(v.tolist() for v in (x, y, z)), strict=True)
    ]
    return "\n".join([header, *lines, ""]).encode()


def hdf5(field, **options):
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.attrs["operator"] = "nobody"
        found = file.create_dataset("scan/Height", data=field.metres, **options)
        found.attrs["unit"] = "m"
        file["scan"].attrs["pixel_size_nm"] = field.pixel_nm
        file["scan/Phase"] = np.ones(field.raw.shape)
    return stream.getvalue()


BUILDERS = {
    "gwy": gwy,
    "gsf": gsf,
    "nanoscope": nanoscope,
    "ibw": ibw,
    "jpk": jpk,
    "park": park,
    "nanonis": nanonis,
    "mdt": mdt,
    "wsxm": wsxm,
    "matrix": matrix,
    "hdf5": hdf5,
}
"""One builder for each format of `layerscope.io.FORMATS` that is a scan."""
