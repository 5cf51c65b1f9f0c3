"""A plain folder: SPLIT/images and SPLIT/masks with equal file stems, and classes.json. CamVid uses this format."""

import json
from pathlib import Path

from tce_core import VOID
from tce_core.data.layout import IMAGE_SUFFIXES, Layout, files_by_stem, label_map, match, require_folder
from tce_core.data.schema import ClassInfo, parse_classes
from tce_core.errors import UserError


def find(source: Path) -> Layout:
    """Find the files `{train,val[,test]}/{images,masks}/STEM.{jpg,png}` and read the classes of `classes.json`.

    Masks are PNG files. Their values are the ids in `classes.json`, or 255 for void.

    Args:
        source: the folder of the raw data set.

    Raises:
        UserError: something is missing or malformed, or an image and a mask do not match.
    """
    classes = read_classes(require_folder(source) / "classes.json")
    splits = {}
    for split in ("train", "val", "test"):
        if split == "test" and not (source / split).exists():
            continue
        images, masks = source / split / "images", source / split / "masks"
        splits[split] = match(files_by_stem(images, IMAGE_SUFFIXES), files_by_stem(masks, (".png",)), images, masks)
    return Layout(classes, splits, label_map({i: i for i in (*range(len(classes)), VOID)}))


def read_classes(path: Path) -> tuple[ClassInfo, ...]:
    """Read the classes of a `classes.json`.

    The file holds `{"num_classes": K, "ignore_index": 255, "classes": [{"id", "name", "color"}, …]}`. The first two
    keys are optional, but must be right if they are given.

    Raises:
        UserError: the file cannot be read, is not JSON (the message names the line), or its content is inconsistent.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read; it must list the classes of the data set") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text at byte {error.start}; save it as UTF-8") from error
    if not isinstance(raw, dict):
        raise UserError(f'{path}: holds a {type(raw).__name__}; it must be an object with a list "classes"')
    classes = parse_classes(raw.get("classes"), str(path))
    if raw.get("num_classes", len(classes)) != len(classes):
        raise UserError(f'{path}: "num_classes" is {raw["num_classes"]!r}, but {len(classes)} classes are listed')
    if raw.get("ignore_index", VOID) != VOID:
        raise UserError(f'{path}: "ignore_index" is {raw["ignore_index"]!r}; void pixels must be {VOID}')
    return classes
