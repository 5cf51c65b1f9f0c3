"""Convert a raw data set into the Arrow format: ``python -m tce_core.data.convert KIND SOURCE OUT``."""

import argparse
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tce_core.data import ade20k, cityscapes, folder
from tce_core.data.dataset import Dataset, open_dataset
from tce_core.data.layout import Layout, Pair, read_image, read_mask
from tce_core.data.streets.dataset import make_streets
from tce_core.data.writer import SplitWriter, new_folder
from tce_core.errors import UserError

LAYOUTS = {"cityscapes": cityscapes.find, "ade20k": ade20k.find, "camvid": folder.find, "folder": folder.find}
DECODERS = 4
AHEAD = 16  # pairs decoded before they are written, which bounds the memory they take


def convert(kind: str, source: str | Path, out: str | Path, progress: Progress | None = None) -> Dataset:
    """Convert the raw data set in folder ``source`` into the new folder ``out`` and open it.

    ``kind`` is ``cityscapes``, ``ade20k``, ``camvid`` or ``folder``. Rows are sorted by name, so equal sources give
    equal fingerprints. Raises UserError for anything wrong in the source, or if ``out`` is taken; ``out`` then
    stays as it was.
    """
    if kind not in LAYOUTS:
        raise UserError(f"unknown kind of data set {kind!r}; known are {', '.join(LAYOUTS)}")
    source = Path(source)
    with new_folder(out) as partial:
        layout = LAYOUTS[kind](source)
        for split, pairs in layout.splits.items():
            task = progress.add_task(split, total=len(pairs)) if progress else None
            with SplitWriter(partial / f"{split}.arrow", layout.classes, f"{kind} {source.name}", split) as writer:
                for pair, image, mask in _decoded(pairs, layout):
                    _add(writer, pair, image, mask)
                    if progress and task is not None:
                        progress.advance(task)
    return open_dataset(out)


def _decoded(pairs: Sequence[Pair], layout: Layout) -> Iterator[tuple[Pair, np.ndarray, np.ndarray]]:
    """Decode pairs in their order, a few ahead of the one that is wanted."""

    def read(pair: Pair) -> tuple[Pair, np.ndarray, np.ndarray]:
        return pair, read_image(pair.image), read_mask(pair.mask, layout.labels)

    waiting: deque[Future[tuple[Pair, np.ndarray, np.ndarray]]] = deque()
    with ThreadPoolExecutor(DECODERS) as pool:
        try:
            for pair in pairs:
                waiting.append(pool.submit(read, pair))
                if len(waiting) == AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # after an error nobody wants the rest


def _add(writer: SplitWriter, pair: Pair, image: np.ndarray, mask: np.ndarray) -> None:
    try:
        writer.add(pair.name, image, mask)
    except UserError as error:
        raise UserError(f"{pair.mask}: {error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 on success, 2 after printing what the user can mend."""
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        if options.kind == "streets":
            dataset = make_streets(options.out, seed=options.seed)
        else:
            columns = TextColumn("{task.description:>5}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            with Progress(*columns, console=console) if console.is_terminal else nullcontext() as progress:
                dataset = convert(options.kind, options.source, options.out, progress)
    except (UserError, OSError) as error:  # a full disk or a folder that may not be written is the user's, too
        print(f"error: {error}", file=sys.stderr)
        return 2
    for split in filter(None, (dataset.train, dataset.val, dataset.test)):
        print(f"{split.name}: {len(split)} images, {split.num_classes} classes, {split.path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tce_core.data.convert", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, find in LAYOUTS.items():
        about = (find.__doc__ or "").split("\n")[0].replace("``", "")
        command = kinds.add_parser(kind, help=about, description=about)
        command.add_argument("source", type=Path, metavar="SOURCE", help="the raw data set's folder")
        command.add_argument("out", type=Path, metavar="OUT", help="the folder to make")
    streets = kinds.add_parser("streets", help="draw the built-in procedural data set; there is no SOURCE")
    streets.add_argument("out", type=Path, metavar="OUT", help="the folder to make")
    streets.add_argument("--seed", type=int, default=0, help="equal seeds draw equal images (default: 0)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
