"""Small electron microscope files, written from the published layouts and not with our readers."""

import io
import json
import struct
from dataclasses import dataclass

import numpy as np
import tifffile


@dataclass(frozen=True)
class Shot:
    """One image: counts (H, W) or (N, H, W) and nm per row and column."""

    counts: np.ndarray
    pixel_nm: tuple[float, float] = (2.5, 4.0)
    magnification: float = 50_000.0
    kilovolts: float = 200.0

    @property
    def frames(self):
        return self.counts if self.counts.ndim == 3 else self.counts[None]


def sample_shot(shape, *, seed=0, frames=0, dtype=np.uint16):
    full = (frames, *shape) if frames else shape
    counts = np.random.default_rng(seed).integers(200, 4000, full)
    return Shot(counts.astype(dtype))


# DigitalMicrograph: kind and length of each number type.
_DM_NUMBERS = {"i2": 2, "i4": 3, "u2": 4, "u4": 5, "f4": 6, "f8": 7, "u1": 8, "i8": 11}
_DM_DATA = {"i2": 1, "f4": 2, "u1": 6, "i4": 7, "u2": 10, "u4": 11, "f8": 12}


class _Dm:
    """Writer of a tag tree: dicts are groups, lists groups without names."""

    def __init__(self, version, order):
        self.wide, self.order = version == 4, order
        self.word = ">Q" if self.wide else ">I"

    def number(self, value):
        return struct.pack(self.word, value)

    def group(self, content):
        named = isinstance(content, dict)
        pairs = list(content.items()) if named else [("", v) for v in content]
        body = b"".join(self.tag(name, value) for name, value in pairs)
        return b"\1\0" + self.number(len(pairs)) + body

    def tag(self, name, value):
        group = isinstance(value, dict | list)
        body = self.group(value) if group else self.data(value)
        head = struct.pack(">BH", 20 if group else 21, len(name)) + name.encode("latin-1")
        return head + (struct.pack(">Q", len(body)) if self.wide else b"") + body

    def data(self, value):
        if isinstance(value, str):
            value = np.frombuffer(value.encode("utf-16-le"), "<u2")
        if isinstance(value, np.ndarray):
            kind = value.dtype.str[1:]
            described = [20, _DM_NUMBERS[kind], value.size]
            raw = value.astype(self.order + kind).tobytes()
        elif isinstance(value, tuple):  # a record of two numbers
            described = [15, 0, len(value)] + [n for _ in value for n in (0, 6)]
            raw = struct.pack(self.order + f"{len(value)}f", *value)
        elif isinstance(value, int):
            described, raw = [5], struct.pack(self.order + "I", value)
        else:
            described, raw = [7], struct.pack(self.order + "d", value)
        return b"%%%%" + self.number(len(described)) + b"".join(map(self.number, described)) + raw


def dm(
    shot, *, version=3, order="<", units=("nm", "nm"), info=None, meta=None, extra=(), kind=None
):
    """`units` and `extra` (size, step, unit) in the order of the file: columns first."""
    rows, columns = shot.counts.shape[-2:]
    sizes = [columns, rows, *shot.counts.shape[:-2], *(e[0] for e in extra)]
    steps = [shot.pixel_nm[1], shot.pixel_nm[0]]
    axes = [{"Origin": 0.0, "Scale": s, "Units": u} for s, u in zip(steps, units, strict=True)] + [
        {"Origin": 0.0, "Scale": float(e[1]), "Units": e[2]} for e in extra
    ]
    optics = {
        "Name": "Talos", "Indicated Magnification": shot.magnification, "Voltage":
        shot.kilovolts * 1e3, "Illumination Mode": "TEM", "Imaging Mode": "MAG1",
    }  # fmt: skip
    values = np.broadcast_to(shot.counts.ravel(), (int(np.prod(sizes)) // shot.counts.size,
                                                   shot.counts.size)).ravel()  # fmt: skip
    image = {
        "ImageData": {
            "Calibrations": {"Dimension": axes},
            "Data": values,
            "DataType": kind or _DM_DATA[shot.counts.dtype.str[1:]],
            "Dimensions": sizes,
        },
        "ImageTags": {"Microscope Info": {**optics, **(info or {})}, "Meta Data": meta or {}},
        "Name": "flake",
    }
    small = {"ImageData": {"Data": np.zeros(4, "u4"), "DataType": 23, "Dimensions": [2, 2]}}
    tree = {"ImageList": [small, image], "Thumbnails": [{"ImageIndex": 0}], "Place": (1.0, 2.0)}
    writer = _Dm(version, order)
    body = writer.group(tree) + bytes(8)
    head = struct.pack(">I", version) + writer.number(
        len(body) - 4 if version == 3 else len(body) - 8
    )
    return head + struct.pack(">I", 1 if order == "<" else 0) + body


_MRC_MODES = {"i1": 0, "i2": 1, "f4": 2, "u2": 6, "f2": 12}


def mrc(shot, *, order="<", extension=b"", kind=b"", cell=True):
    count, rows, columns = shot.frames.shape
    head = bytearray(1024)
    mode = _MRC_MODES[shot.counts.dtype.str[1:]]
    struct.pack_into(order + "4i", head, 0, columns, rows, count, mode)
    struct.pack_into(order + "3i", head, 28, columns, rows, count)
    if cell:
        tall, wide = (10 * p for p in shot.pixel_nm)
        struct.pack_into(order + "3f", head, 40, columns * wide, rows * tall, count)
    struct.pack_into(order + "i", head, 92, len(extension))
    head[104 : 104 + len(kind)] = kind
    head[208:214] = b"MAP " + (b"DD" if order == "<" else b"\x11\x11")
    struct.pack_into(order + "i", head, 220, 1)
    head[224:235] = b"made by us "
    return bytes(head) + extension + shot.frames.astype(order + shot.counts.dtype.str[1:]).tobytes()


def fei_record(shot, *, projection=2, instrument=1):
    """One FEI1 record: voltage, pixel size in m, modes and magnification."""
    record = bytearray(768)
    bits = sum(1 << b for b in (1, 5, 14, 15, 25, 26, 31))
    struct.pack_into("<iiI", record, 0, 768, 0, bits)
    record[20:25] = b"Talos"
    struct.pack_into("<d", record, 84, shot.kilovolts * 1e3)
    struct.pack_into("<dd", record, 156, shot.pixel_nm[1] * 1e-9, shot.pixel_nm[0] * 1e-9)
    struct.pack_into("<ii", record, 244, instrument, projection)
    struct.pack_into("<d", record, 289, shot.magnification)
    return bytes(record)


_SER_TYPES = {"u1": 1, "u2": 2, "u4": 3, "i2": 5, "i4": 6, "f4": 7, "f8": 8}


def ser(shot, *, version=0x220, step=None, kind=0x4122):
    count, rows, columns = shot.frames.shape
    word = "<I" if version == 0x210 else "<Q"
    tall, wide = (p * 1e-9 for p in shot.pixel_nm)
    dimension = struct.pack("<iddi", count, 0.0, 1.0, 0)
    dimension += struct.pack("<i", 6) + b"Number" + struct.pack("<i", 0)
    start = 22 + struct.calcsize(word) + 4 + len(dimension)
    at = start + 2 * count * struct.calcsize(word)
    element_at, tag_at, body = [], [], b""
    for frame in shot.frames:
        element_at.append(at + len(body))
        body += struct.pack("<ddi", 0.0, step or wide, 0) + struct.pack(
            "<ddi", 0.0, step or tall, 0
        )
        body += struct.pack("<hii", _SER_TYPES[shot.counts.dtype.str[1:]], columns, rows)
        body += frame[::-1].tobytes()
        tag_at.append(at + len(body))
        body += struct.pack("<ii", 0x4152, 1_600_000_000)
    head = struct.pack("<HHHiiii", 0x4949, 0x197, version, kind, 0x4152, count, count)
    head += struct.pack(word, start) + struct.pack("<i", 1) + dimension
    places = b"".join(struct.pack(word, a) for a in (*element_at, *tag_at))
    return head + places + body


def velox(shot, *, unit="m", kind="Image", optics=None, detector="HAADF", scan=None):
    import h5py

    told = {
        "Optics": {"AccelerationVoltage": str(shot.kilovolts * 1e3), "OperatingMode": "1",
                   "ProjectorMode": "2", "NominalMagnification": str(shot.magnification),
                   **(optics or {})},
        "Scan": {"ScanSize": scan} if scan else {},
        "BinaryResult": {"PixelUnitX": unit, "PixelUnitY": unit, "Detector": detector,
                         "PixelSize": {"width": repr(shot.pixel_nm[1] * 1e-9),
                                       "height": repr(shot.pixel_nm[0] * 1e-9)}},
    }  # fmt: skip
    text = np.frombuffer(json.dumps(told).encode().ljust(3000, b"\0"), np.uint8)
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["Version"] = np.array([b'{"version": "4", "format": "Velox"}'])
        place = f"Data/{kind}/0123456789abcdef0123456789abcdef"
        file[f"{place}/Data"] = np.moveaxis(shot.frames, 0, -1)
        file[f"{place}/Metadata"] = np.repeat(text[:, None], len(shot.frames), axis=1)
    return stream.getvalue()


def ncem(shot, *, units="[n_m]", names=("y", "x")):
    import h5py

    stream = io.BytesIO()
    shape = shot.counts.shape
    with h5py.File(stream, "w") as file:
        file.attrs["version_major"] = 0
        group = file.create_group("data/flake")
        group.attrs["emd_group_type"] = 1
        group["data"] = shot.counts
        steps = (*[1.0] * (len(shape) - 2), *shot.pixel_nm)
        for n, (size, step) in enumerate(zip(shape, steps, strict=True), 1):
            axis = group.create_dataset(f"dim{n}", data=np.arange(size) * step)
            axis.attrs["units"] = units if n > len(shape) - 2 else "[]"
            axis.attrs["name"] = names[n - len(shape) - 1 + 2] if n > len(shape) - 2 else "number"
        file.create_group("microscope").attrs["voltage"] = shot.kilovolts * 1e3
        file["microscope"].attrs["magnification"] = shot.magnification
    return stream.getvalue()


def hyperspy(shot):
    """The layout of `ncem` with columns first, an axis by its first two coordinates."""
    import h5py

    stream = io.BytesIO()
    axes = (("x", shot.pixel_nm[1], "[n_m]"), ("y", shot.pixel_nm[0], "[n_m]"), ("t", 1.0, "[s]"))
    with h5py.File(stream, "w") as file:
        file.attrs["version_major"] = "0"
        group = file.create_group("signals/flake")
        group.attrs["emd_group_type"] = 1
        group["data"] = shot.counts.T
        for n, (name, step, unit) in enumerate(axes[: shot.counts.ndim], 1):
            axis = group.create_dataset(f"dim{n}", data=[0.0, step])
            axis.attrs["name"], axis.attrs["units"] = name, unit
    return stream.getvalue()


def _tiff(shot, tags, **options):
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for frame in shot.frames:
            writer.write(frame, photometric="minisblack", extratags=tags, metadata=None, **options)
    return stream.getvalue()


def fei_tiff(shot, *, code=34682, field=False, columns=None):
    rows, wide = shot.counts.shape[-2:]
    tall_m, wide_m = (p * 1e-9 for p in shot.pixel_nm)
    text = f"[User]\r\nUserText=x\r\n[Beam]\r\nHV={shot.kilovolts * 1e3:g}\r\nBeam=EBeam\r\n"
    text += f"[Image]\r\nResolutionX={columns or wide}\r\nResolutionY={rows}\r\n"
    text += f"MagnificationReal={shot.magnification}\r\n[Detectors]\r\nName=ETD\r\n"
    if field:
        text += f"[EBeam]\r\nHFW={wide * wide_m!r}\r\nVFW={rows * tall_m!r}\r\n"
    else:
        text += f"[Scan]\r\nPixelWidth={wide_m!r}\r\nPixelHeight={tall_m!r}\r\n"
    return _tiff(shot, [(code, "s", 0, text, True)])


def zeiss_tiff(shot, *, named=True):
    """Square pixels only; without a name the pixel of a screen of 1024 columns."""
    side_nm, columns = shot.pixel_nm[1], shot.counts.shape[-1]
    screen_m = side_nm * 1e-9 * columns / 1024
    lines = ["0", "0", "0", repr(screen_m), "1.0e+04", "AP_MAG",
             f"Mag = {shot.magnification / 1000:.2f} K X", "AP_ACTUALKV",
             f"EHT = {shot.kilovolts:.2f} kV", "DP_DETECTOR_CHANNEL", "Signal A = InLens",
             "AP_PIXEL_SIZE", "Pixel Size = 99.9 nm"]  # fmt: skip
    if named:
        lines += ["AP_IMAGE_PIXEL_SIZE", f"Image Pixel Size = {side_nm!r} nm"]
    return _tiff(shot, [(34118, "s", 0, "\r\n".join(lines), True)])


def tvips_tiff(shot):
    first = np.zeros(1, np.dtype(tifffile.TIFF.TVIPS_HEADER_V1).newbyteorder("<"))
    second = np.zeros(1, np.dtype(tifffile.TIFF.TVIPS_HEADER_V2).newbyteorder("<"))
    first["Version"] = 2
    second["PixelSizeX"], second["PixelSizeY"] = shot.pixel_nm[1], shot.pixel_nm[0]
    second["TemMagnification"] = shot.magnification
    second["TemHighTension"] = shot.kilovolts * 1e3
    second["Magic"] = 0xAAAAAAAA
    raw = first.tobytes() + second.tobytes()
    return _tiff(shot, [(37706, "B", len(raw), raw, True)])


def sis_tiff(shot):
    """The tag holds a table whose entry points at the scale; both are put behind the pixels."""
    plain = _tiff(shot, [(33560, "B", 68, bytes(68), True)])
    with tifffile.TiffFile(io.BytesIO(plain)) as tif:
        at = tif.pages[0].tags[33560].valueoffset
    table = struct.pack("<4s6xhhhhh6x32sH", b"SIS0", 0, 0, 1, 0, 120, b"flake", 1)
    table += struct.pack("<hhI", 1, 1, len(plain))
    tall_nm, wide_nm = shot.pixel_nm
    scale = struct.pack("<10xhdd8xd2x34s32s", -9, wide_nm, tall_nm, shot.magnification, b"Veleta",
                        b"TIF")  # fmt: skip
    return plain[:at] + table + plain[at + 68 :] + scale


def jeol_tiff(shot, *, mode="MAG"):
    """The resolution is that of the camera, pixels per cm."""
    text = (
        "<TemReporter><Eos><EosMode>eosTEM</EosMode></Eos><ElectronGun><AccelerationVoltage>"
        f"{shot.kilovolts * 1e3:g}</AccelerationVoltage></ElectronGun><ImageFormingSystem>"
        f"<ModeString>{mode}</ModeString><SelectorValue>{shot.magnification:g}</SelectorValue>"
        "<SelectorUnitString>X</SelectorUnitString></ImageFormingSystem></TemReporter>"
    )
    per_cm = [1e7 / (p * shot.magnification) for p in (shot.pixel_nm[1], shot.pixel_nm[0])]
    ratios = tuple((round(n * 1000), 1000) for n in per_cm)
    return _tiff(
        shot, [(271, "s", 0, "JEOL Ltd.", True)], description=text, resolution=ratios,
        resolutionunit="CENTIMETER",
    )  # fmt: skip


def gatan_tiff(shot, *, unit="nm"):
    tall, wide = shot.pixel_nm
    return _tiff(
        shot,
        [(65003, "s", 0, unit, True), (65004, "s", 0, unit, True),
         (65009, "d", 1, wide, True), (65010, "d", 1, tall, True)],
    )  # fmt: skip


BUILDERS = {"dm": dm, "mrc": mrc, "ser": ser, "emd": velox}
"""One builder for each format of `layerscope.io.em.RECORDERS`."""

TIFFS = {
    "fei": fei_tiff,
    "fei, field width": lambda s: fei_tiff(s, code=34680, field=True),
    "tvips": tvips_tiff,
    "olympus-sis": sis_tiff,
    "jeol": jeol_tiff,
    "digitalmicrograph": gatan_tiff,
}
"""TIFFs of makers, with pixels that are not square."""
