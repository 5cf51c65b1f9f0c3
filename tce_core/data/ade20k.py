"""ADE20K for scene parsing: `objectInfo150.txt` names 150 classes; label 0 is everything else and becomes void."""

import colorsys
from pathlib import Path

from tce_core import VOID
from tce_core.data.layout import IMAGE_SUFFIXES, Layout, files_by_stem, label_map, match, require_folder
from tce_core.data.schema import ClassInfo, check_classes
from tce_core.errors import UserError

GOLDEN_RATIO = 0.618033988749895


def find(source: Path) -> Layout:
    """Find the files of `{images,annotations}/{training,validation}` and read the classes of `objectInfo150.txt`.

    Args:
        source: the folder of the raw data set.

    Raises:
        UserError: something is missing or malformed, or an image and a mask do not match.
    """
    classes = read_classes(require_folder(source) / "objectInfo150.txt")
    splits = {}
    for split, folder in (("train", "training"), ("val", "validation")):
        images, masks = source / "images" / folder, source / "annotations" / folder
        splits[split] = match(files_by_stem(images, IMAGE_SUFFIXES), files_by_stem(masks, (".png",)), images, masks)
    return Layout(classes, splits, label_map({0: VOID} | {info.id + 1: info.id for info in classes}))


def read_classes(path: Path) -> tuple[ClassInfo, ...]:
    """Read the classes of an `objectInfo150.txt`.

    The file has tab-separated columns under a heading: the first column is the index of a class, the last one holds
    its names. A class takes its first name, such as `building` from `building, edifice`.

    Raises:
        UserError: the file cannot be read, or its indices do not count up from 1; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read; it must list the classes of the data set") from error
    classes = []
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        if cells[0].strip() != str(number - 1) or len(cells) < 2:
            raise UserError(f"{path}, line {number}: {line!r} should start with {number - 1}, a tab, and end in names")
        classes.append(ClassInfo(number - 2, cells[-1].split(",")[0].strip(), _color(number - 2)))
    return check_classes(classes, str(path))


def _color(index: int) -> tuple[int, int, int]:
    # Steps of the golden ratio around the colour wheel give neighbouring ids different hues, for any number of ids.
    value, saturation = (0.95, 0.7, 0.5)[index % 3], (0.85, 0.55)[index % 2]
    red, green, blue = colorsys.hsv_to_rgb(index * GOLDEN_RATIO % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)
