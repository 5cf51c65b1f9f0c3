"""Pictures that a page holds in itself, as `data:` addresses."""

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

Bytes = npt.NDArray[np.uint8]
SIDE = 320
"""Most pixels of a picture's width. A page scales smaller ones up."""


def png(array: Bytes) -> str:
    """A label picture (h, w, 3): nearest pixels, no loss."""
    image = Image.fromarray(array)
    return _address(image.resize(_size(image), Image.Resampling.NEAREST), "png", optimize=True)


def jpeg(array: Bytes) -> str:
    """A photograph (h, w, 3)."""
    image = Image.fromarray(np.ascontiguousarray(array))
    return _address(image.resize(_size(image), Image.Resampling.LANCZOS), "jpeg", quality=85)


def _size(image: Image.Image) -> tuple[int, int]:
    scale = min(1.0, SIDE / image.width)
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))


def _address(image: Image.Image, kind: str, **options: object) -> str:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
