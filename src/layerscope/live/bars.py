"""Bars and text burnt into the pictures: the pixel size they tell, and where no region may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.errors import InputError
from layerscope.ops.lettering import Image
from layerscope.ops.scale import mask_annotations, resolve_pixel_size

_LOOK_EVERY = 15
"""Frames between two looks for a bar in the picture, where the last found none."""


@dataclass(frozen=True)
class BurntIn:
    """What is known of it.

    Attributes
    ----------
    sizes : mapping of tuple of int to (PixelSize or None)
        By the bar in the first frame of each shape (H, W, 3); None where there was no bar.
    annotated : bool
        Whether there is a bar or text to exclude.
    """

    sizes: Mapping[tuple[int, ...], PixelSize | None] = field(default_factory=dict)
    annotated: bool = False


class Bars:
    """Looks for what is burnt in, as seldom as will do: a look takes 2 ms.

    Parameters
    ----------
    length : str or None
        Of a bar, where its label cannot be read.
    """

    def __init__(self, length: str | None):
        self._length, self._unlooked, self._follows = length, 0, False
        self.known = BurntIn()

    def follow(self, known: BurntIn) -> None:
        """Go by what another has found; look for nothing any more."""
        self.known, self._follows = known, True

    def size_in(self, pixels: Image) -> PixelSize | None:
        """Pixel size by a bar in the picture, looked for in the first frame of each shape.

        Raises
        ------
        InputError
            If there is a bar that says nothing; on that frame only.
        """
        shape = pixels.shape
        if shape in self.known.sizes:
            return self.known.sizes[shape]
        image, size = Micrograph(pixels, name="live"), None
        try:
            size = resolve_pixel_size(image, scale_bar_length=self._length).pixel_size
        except InputError as error:
            raise InputError(f"{error} (first frame)") from None
        finally:
            self.known = replace(self.known, sizes={**self.known.sizes, shape: size})
        return size

    def exclude(self, image: Micrograph) -> Micrograph:
        """Exclude what is burnt in; a bar comes when somebody switches it on."""
        if self._follows:
            return mask_annotations(image) if self.known.annotated else image
        self._unlooked += 1
        if not self.known.annotated and 1 < self._unlooked <= _LOOK_EVERY:
            return image
        self._unlooked = 1
        masked = mask_annotations(image)
        self.known = replace(self.known, annotated=masked.excluded is not None)
        return masked
