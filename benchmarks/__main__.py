"""Run the benchmarks in their short forms, one after the other, and print all tables.

    python -m benchmarks [PART …]

All parts together take about 15 minutes on two cores. Leave the machine idle meanwhile. Without a GPU the part `gpu`
says so. The comparison of search methods takes hours and has its own page: `docs/search.md`.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
PARTS: dict[str, tuple[str, ...]] = {
    "data": (),
    "step": (),
    "losses": (),
    "evaluation": (),
    "diagnosis": (),
    "first_step": (),
    "slots": (),
    "growth": (),
    "proposals": (),
    "encoders": ("--quick",),
    "gpu": (),
}
"""The scripts, with the arguments of their short forms."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; the parts are {', '.join(PARTS)}")
    failed = []
    for part in options.parts or PARTS:
        print(f"\n## {part}\n", flush=True)
        started = time.perf_counter()
        if subprocess.run([sys.executable, str(FOLDER / f"{part}.py"), *PARTS[part]], check=False).returncode:
            failed.append(part)
        print(f"\n({part}: {time.perf_counter() - started:.0f} s)", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
