"""Convert a raw data set into the Arrow format: `python -m tce_core.data.convert KIND SOURCE OUT`."""

import argparse
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tce_core.data import ade20k, cityscapes, folder
from tce_core.data.dataset import Dataset, open_dataset
from tce_core.data.layout import Layout, Pair, read_image, read_mask
from tce_core.data.streets.dataset import make_streets
from tce_core.data.writer import SplitWriter, new_folder
from tce_core.errors import BAD_INPUT, UserError, exit_code_of

LAYOUTS = {"cityscapes": cityscapes.find, "ade20k": ade20k.find, "camvid": folder.find, "folder": folder.find}
ABOUT = {
    "cityscapes": "Cityscapes: leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelIds.png",
    "ade20k": "ADE20K: {images,annotations}/{training,validation} and objectInfo150.txt",
    "camvid": "CamVid, in the layout of `folder`",
    "folder": "your own data: {train,val[,test]}/{images,masks}/STEM.{jpg,png} and classes.json",
    "streets": "the built-in procedural data set, which needs no SOURCE",
}
THREADS = 4
AHEAD = 16  # pairs that are decoded ahead of the writer; this bounds the memory


def convert(kind: str, source: str | Path, out: str | Path, progress: Progress | None = None) -> Dataset:
    """Convert a raw data set and open the result.

    Rows are sorted by name, so equal sources give equal fingerprints.

    Args:
        kind: `cityscapes`, `ade20k`, `camvid` or `folder`.
        source: the folder of the raw data set.
        out: the folder to create; an empty one may exist.
        progress: shows one bar per split.

    Raises:
        UserError: the kind is unknown, something is wrong in the source, or `out` is taken. `out` stays as it was.
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
    """Decode the pairs in threads, at most `AHEAD` ahead, and yield them in their order."""

    def read(pair: Pair) -> tuple[Pair, np.ndarray, np.ndarray]:
        return pair, read_image(pair.image), read_mask(pair.mask, layout.labels)

    waiting: deque[Future[tuple[Pair, np.ndarray, np.ndarray]]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for pair in pairs:
                waiting.append(pool.submit(read, pair))
                if len(waiting) == AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # after an error, drop the rest


def _add(writer: SplitWriter, pair: Pair, image: np.ndarray, mask: np.ndarray) -> None:
    try:
        writer.add(pair.name, image, mask)
    except UserError as error:
        raise UserError(f"{pair.mask}: {error}") from error


def main(arguments: Sequence[str] | None = None, prog: str = "python -m tce_core.data.convert") -> int:
    """Run the command.

    Args:
        arguments: the command line; None reads `sys.argv`.
        prog: the name of the program in usage and error texts.

    Returns:
        The exit status: 0; or after one printed line 2 for bad input and 75 for a full disk.
    """
    options = _parser(prog).parse_args(arguments)
    console = Console()
    try:
        if options.kind == "streets":
            dataset = make_streets(options.out, seed=options.seed)
        else:
            columns = TextColumn("{task.description:>5}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            with Progress(*columns, console=console) if console.is_terminal else nullcontext() as progress:
                dataset = convert(options.kind, options.source, options.out, progress)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # such as a full disk or a folder without write permission
        print(f"error: {error}", file=sys.stderr)
        return exit_code_of(error)
    for split in filter(None, (dataset.train, dataset.val, dataset.test)):
        print(f"{split.name}: {len(split)} images, {split.num_classes} classes, {split.path}")
    return 0


class _Parser(argparse.ArgumentParser):
    """Reports what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"error: {message}; see {self.prog} --help\n")


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=prog, description="Convert a data set into a folder of Arrow files.")
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, about in ABOUT.items():
        command = kinds.add_parser(kind, help=about, description=about)
        if kind in LAYOUTS:
            command.add_argument("source", type=Path, metavar="SOURCE", help="folder of the raw data set")
        else:
            command.add_argument("--seed", type=int, default=0, help="equal seeds draw equal images (default: 0)")
        command.add_argument("out", type=Path, metavar="OUT", help="folder to create for the Arrow files")
    return parser


if __name__ == "__main__":
    sys.exit(main())
