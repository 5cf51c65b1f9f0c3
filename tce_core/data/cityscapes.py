"""Cityscapes: the folders leftImg8bit and gtFine, with 19 of the 34 label ids as classes; the others become void."""

from pathlib import Path

from tce_core import VOID
from tce_core.data.layout import Layout, label_map, match, require_folder
from tce_core.data.schema import ClassInfo
from tce_core.errors import UserError

IMAGE_SUFFIX = "_leftImg8bit.png"
MASK_SUFFIX = "_gtFine_labelIds.png"
NUM_LABEL_IDS = 34  # the ids 0..33; the id -1 (licence plate) is stored as 255

# Label id in the masks, class name, colour. The id of a class is its position in this table.
CLASSES = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)


def find(source: Path) -> Layout:
    """Find the files `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` and `gtFine/SPLIT/CITY/*_gtFine_labelIds.png`.

    SPLIT is train and val; the labels of test are not public.

    Args:
        source: the folder of the raw data set.

    Raises:
        UserError: a folder is missing, or an image and a mask do not match.
    """
    classes = tuple(ClassInfo(i, name, color) for i, (_, name, color) in enumerate(CLASSES))
    known = dict.fromkeys([*range(NUM_LABEL_IDS), VOID], VOID)
    known |= {label: i for i, (label, _, _) in enumerate(CLASSES)}
    splits = {}
    for split in ("train", "val"):
        images, masks = source / "leftImg8bit" / split, source / "gtFine" / split
        splits[split] = match(_by_frame(images, IMAGE_SUFFIX), _by_frame(masks, MASK_SUFFIX), images, masks)
    return Layout(classes, splits, label_map(known))


def _by_frame(folder: Path, suffix: str) -> dict[str, Path]:
    frames: dict[str, Path] = {}
    for path in sorted(require_folder(folder).glob(f"*/*{suffix}")):
        frame = path.name.removesuffix(suffix)
        if frame in frames:
            raise UserError(f"{path}: {frames[frame]} is the same frame; keep one of the two")
        frames[frame] = path
    return frames
