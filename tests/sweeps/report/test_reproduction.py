"""`sweeps.report.reproduction`: the command of a report makes the same plan."""

import shlex
from dataclasses import replace

import pytest

from sweeps.report.reproduction import command_again, write_space
from sweeps.run import options_of, parser
from sweeps.storage.folder import SweepFolder
from sweeps.strategy.planning import plan_of
from tce_core.data.dataset import open_dataset
from tce_core.data.streets.dataset import make_streets


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "a b"
    make_streets(folder, train=3, val=2, test=2, size=(32, 48))
    return open_dataset(folder)


def plan_from(words, data):
    return plan_of(options_of(vars(parser().parse_args(words))), data)


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--space tce --set space.t.high=3 trial.crop=[32,48] --epochs 7 --trunk 0.3 --seed 3 --sampler tpe",
        "--objective miou --miou-allowance 0.2 --no-halving --patience 9 --max-epochs 900 --max-hours 1.5",
        "--objective iou:road --floor miou=-0.02 road=0.1 others=-0.3 --rungs 2 3 --keep 0.5",
        "--workers-per-trial 2 --gpus-per-worker 0.5 --cpus-per-worker 3 --confirm 0 --trials 4",
        "--warm-start FIRST",
    ],
)
def test_the_command_makes_the_same_plan(data, tmp_path, flags):
    first = tmp_path / "first.yaml"
    first.write_text("[{loss: class_tilt, t: 1, lr: 0.05}]")
    words = [str(first) if one == "FIRST" else one for one in flags.split()]
    folder = SweepFolder("one", tmp_path / "runs")
    folder.path.mkdir(parents=True)
    plan = plan_from(["--dataset", str(data.path), "--name", "one", *words], data)
    write_space(plan, folder)
    program, command, *again = shlex.split(command_again(plan, folder.path))
    assert (program, command) == ("tilted-sweeps", "run")
    assert replace(plan_from(again, data), name="one", space_file=plan.space_file) == plan
