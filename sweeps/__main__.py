"""The console entry point: `tilted-sweeps COMMAND …`, also as `python -m sweeps COMMAND …`.

Each command is a module with `main(arguments, prog)`. It is imported only when it is asked for.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from sweeps.cli import DONE, run_command
from tce_core.errors import BAD_INPUT

PROGRAM = "tilted-sweeps"
COMMANDS = {
    "run": ("sweeps.run", "search for a training that neglects no class"),
    "train": ("sweeps.train", "train an exported configuration at full length"),
    "compare": ("sweeps.commands.compare", "compare methods over several seeds, on the test split"),
    "adjust": ("sweeps.commands.adjust", "adjust a trained model's logits by the class shares, without training"),
    "diagnose": ("sweeps.commands.diagnose", "say why a class is hopeless, before anything is trained"),
    "predict": ("sweeps.commands.predict", "predict masks of photographs with a trained model, or write it as ONNX"),
    "export": ("sweeps.commands.export", "write the recommended configuration, or the whole front, to files"),
    "list": ("sweeps.commands.listing", "show the sweeps of a storage"),
    "track": ("sweeps.commands.tracking", "write a sweep into MLflow later"),
    "convert": ("tce_core.data.convert", "convert a data set into Arrow files"),
}


def usage() -> str:
    lines = [f"usage: {PROGRAM} COMMAND …", "", "commands:"]
    lines += [f"  {name:<9}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join([*lines, "", f"`{PROGRAM} COMMAND --help` explains a command."])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command of `COMMANDS` and return its exit code."""
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command in ("-h", "--help"):
        print(usage())
        return DONE
    if command not in COMMANDS:
        print(f"error: unknown command '{command}'; the commands are {', '.join(COMMANDS)}", file=sys.stderr)
        return BAD_INPUT
    module = import_module(COMMANDS[command][0])
    return run_command(lambda given: int(module.main(given, f"{PROGRAM} {command}")), rest)


if __name__ == "__main__":
    sys.exit(main())
