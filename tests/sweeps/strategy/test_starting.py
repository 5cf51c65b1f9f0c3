"""`--from WEIGHTS`: the plan that it makes, the model as it is as the reference, weights that change or are gone."""

import hashlib
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import safetensors.torch

from sweeps import run, sweep
from sweeps.execution.preflight import dry_run, preflight
from sweeps.execution.tune import StudySearcher
from sweeps.reporting.summary import summary, verdict
from sweeps.storage.record import Record
from sweeps.strategy.planning import plan_of
from sweeps.strategy.search import Search
from sweeps.strategy.starting import AS_IT_IS, start_text
from tce_core.checkpoint import export_weights
from tce_core.config import TrialConfig
from tce_core.data.streets.dataset import make_streets
from tce_core.errors import UserError
from tce_core.model import build_model
from tce_core.run import Run
from tests.sweeps.reporting.screen import NAMES, Screen
from tests.sweeps.searching import EPOCHS, SPACE, train

SMALL = {"encoder": "tu-mobilenetv3_small_050", "decoder_channels": 16, "crop": (32, 48)}
OTHERS = ("weighted_ce", "ce_dice", "class-uniform")
"""The baselines of the space `tce` behind the first."""
MODEL = TrialConfig(**SMALL, atrous_rates=(3, 6, 9))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_streets(tmp_path_factory.mktemp("data") / "tiny", 0, 16, 8, 8, (48, 64))


@pytest.fixture(scope="module")
def weights(data, tmp_path_factory):
    """Weights of a model of all classes of the data but `pole`, and of `snow`."""
    names = [name for name in data.class_names if name != "pole"] + ["snow"]
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    metadata = {"config": MODEL.model_dump_json(), "classes": json.dumps(names)}
    export_weights(build_model(MODEL, len(names)).state_dict(), path, metadata)
    return path


@pytest.fixture
def plan(data, weights):
    """Make the plan of a command line that starts from the weights, or from another file."""

    def make(*arguments, start=weights):
        command = ["--dataset", str(data.path), "--from", str(start), *arguments]
        return plan_of(run.options_of(vars(run.parser().parse_args(command))), data)

    return make


def refusal(call, *arguments, **changes):
    with pytest.raises(UserError) as caught:
        call(*arguments, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The plan


def test_the_space_takes_the_weights_and_their_architecture(plan, weights, data, monkeypatch):
    monkeypatch.chdir(weights.parent)
    made = plan(start=weights.name)
    trial = made.space["trial"]
    assert trial["start"] == str(weights)  # absolute: workers run elsewhere
    config = TrialConfig(**trial)
    assert (config.encoder, config.decoder_channels, config.atrous_rates) == (
        MODEL.encoder,
        MODEL.decoder_channels,
        MODEL.atrous_rates,
    )
    assert made.start_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert type(made).from_json(json.loads(json.dumps(vars(made), default=vars))) == made
    preflight(made, data)
    assert plan("--set", "trial.decoder_channels=32").space["trial"]["decoder_channels"] == 32


def test_the_model_as_it_is_comes_first_and_is_one_evaluation(plan):
    baselines = plan().space["baselines"]
    assert list(baselines)[:2] == [AS_IT_IS, "mcce"]
    assert (baselines[AS_IT_IS]["train"], baselines[AS_IT_IS]["epochs"]) == ("nothing", 1)
    assert plan("--trunk", "0.5").space["baselines"][AS_IT_IS]["trunk"] == 0
    assert plan("--confirm", "3").confirmation_runs == 2  # of the winner alone, before the race goes on


def test_what_starts_from_what_is_said_in_words(data, plan, begin, weights):
    search = begin(space=plan("--set", "trial.train=decoder").space, classes=data.class_names)
    wanted = f"{weights} (9 classes by name; new: pole; dropped: snow), trains the decoder only"
    assert start_text(search.space, data.class_names) == wanted
    assert start_text(begin().space, NAMES) is None


def test_the_limit_of_epochs_counts_the_evaluation_as_one(plan):
    few = ("--epochs", "3", "--confirm", "1", "--set", *(f"baselines.{name}=null" for name in OTHERS))
    assert plan(*few, "--max-epochs", "10").max_epochs == 10  # 1 + 3 (mcce) + 3 (winner) + 3 (search)
    assert "need 10;" in refusal(plan, *few, "--max-epochs", "9")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["trial.decoder_channels=32"], "decoder_channels 16, not 32; give --set trial.decoder_channels=16"),
        (["trial.encoder_weights=imagenet"], "start and encoder_weights: the start holds an encoder"),
        (["space.start={choices: [gone.pt]}"], "start: no file or folder gone.pt"),
    ],
)
def test_settings_that_do_not_fit_the_weights_are_refused_before_the_first_trial(plan, data, changes, said):
    assert said in refusal(lambda: preflight(plan("--set", *changes), data))


def test_the_step_of_a_dry_run_is_one_of_the_configuration(plan, data, monkeypatch):
    """Behind the trunk, where the tilt begins at 0; what is frozen is in evaluation mode."""
    seen, step = [], Run.step

    def observed(run, number):
        loss = step(run, number)
        seen.append((number, run.loss.t > 0, run.model.encoder.training, run.model.segmentation_head.training))
        return loss

    monkeypatch.setattr(Run, "step", observed)
    tilted = "baselines.mcce={loss: class_tilt, tilt_warmup: 0.5}"
    dry_run(
        plan("--trunk", "0.5", "--epochs", "4", "--set", "trial.train=head", "trial.crop=[32,48]", tilted), data, 1, 1
    )
    assert seen == [(2 * 2, True, False, True)]


def test_a_file_that_is_no_model_and_a_baseline_with_its_own_epochs_are_refused(plan, tmp_path):
    assert "no such file" in refusal(plan, start=tmp_path / "gone.pt")
    (tmp_path / "text.pt").write_text("hello")
    assert "not weights that can be read safely" in refusal(plan, start=tmp_path / "text.pt")
    own = ("--set", "baselines.mcce.epochs=1")
    assert "baselines.mcce.epochs: all trials use the same epochs" in refusal(plan, *own)


# The search


@pytest.fixture
def fine_tuning(begin, weights):
    """A search whose space starts from the weights."""
    from sweeps.strategy.starting import EVALUATED

    baselines = {AS_IT_IS: EVALUATED, "mcce": {"loss": "mcce"}}
    trial = {**SPACE["trial"], **MODEL.model_dump(include=set(SMALL), mode="json"), "start": str(weights)}
    return begin(space={**SPACE, "trial": trial, "baselines": baselines}, trials=1, confirm=2, rungs=(2,))


def test_the_model_as_it_is_is_the_reference_and_only_the_winner_is_confirmed(fine_tuning):
    search = fine_tuning
    assert search.epochs_expected == 1 + 4 * EPOCHS
    as_it_is = train(search, search.next(), (0.5, 0.1))
    assert (as_it_is.label, as_it_is.trained, as_it_is.complete) == (AS_IT_IS, 1, True)
    assert search.outcome.reference() == as_it_is
    train(search, search.next(), (0.45, 0.15))  # mcce loses too much mIoU
    winner = train(search, search.next(), (0.495, 0.4))
    confirmation = [train(search, search.next(), (0.494, worst)) for worst in (0.39, 0.41)]
    assert [trial.repeats for trial in confirmation] == [winner.number] * 2
    assert search.next() is None
    assert search.finished
    assert search.outcome.choose().trial.number == winner.number
    said = verdict(search.outcome.choose(), search.outcome)  # (0.39 + 0.41) / 2 - 0.1
    assert f"Compared with {AS_IT_IS} (mean over 2 fresh seeds): worst-class IoU +0.300, mIoU -0.006" in said
    screen = Screen()
    summary(search.outcome, NAMES, screen.console)
    assert any(f"0 {AS_IT_IS} 0 0.500 0.100" in line and line.endswith(" – baseline") for line in screen.lines)


def test_a_model_that_nothing_improves_is_recommended_as_it_is(fine_tuning):
    search = fine_tuning
    train(search, search.next(), {0.0: (0.5, 0.1), 0.5: (0.5, 0.3)})  # adjusted
    while (trial := search.next()) is not None:
        train(search, trial, (0.5, 0.2))
    assert search.finished
    assert [trial.role for trial in search.record.trials()] == ["baseline", "baseline", "search"]
    choice = search.outcome.choose()
    assert (choice.trial.label, choice.point.tau, choice.is_baseline) == (AS_IT_IS, 0.5, True)
    assert f"Compared with {AS_IT_IS} (the same weights): worst-class IoU +0.200" in verdict(choice, search.outcome)


# Weights that change or are gone


@pytest.fixture
def begun(plan, storage, weights, tmp_path):
    """A function that resumes a sweep of its own copy of the weights, and the copy."""
    copy = shutil.copy(weights, tmp_path / "copy.safetensors")
    Record.create(storage, replace(plan(start=copy), name="mine"))
    options = sweep.ResumeOptions(name="mine", storage=storage, runs=tmp_path / "runs")
    return lambda: sweep._prepare(options), copy


def test_a_sweep_resumes_with_the_weights_that_it_began_with(begun):
    resume, copy = begun
    resume()
    state = safetensors.torch.load_file(copy)
    state["segmentation_head.0.bias"] += 1
    safetensors.torch.save_file(state, copy)
    line = refusal(resume)
    assert line.startswith(f"{copy}: the weights have changed since sweep 'mine' began")
    copy.unlink()
    line = refusal(resume)
    assert line == f"{copy}: sweep 'mine' starts from these weights, and they are gone; put them back"


def test_a_trial_does_not_begin_with_weights_that_changed_while_the_sweep_runs(begun, storage):
    _, copy = begun
    groups = SimpleNamespace(free=[None], take=lambda order: SimpleNamespace(mailbox=order.trial))
    searcher = StudySearcher(Search(Record.load(storage, "mine")), groups)
    assert searcher.suggest("first")["mailbox"] == 0
    with open(copy, "ab") as file:
        file.write(b"more")
    assert searcher.suggest("second") == StudySearcher.FINISHED
    assert str(searcher.failure).startswith(f"{copy}: the weights have changed since sweep 'mine' began")
    assert list(searcher.numbers) == ["first"]


def test_the_start_is_no_option_of_a_resumed_sweep(weights):
    given = vars(run.parser().parse_args(["--resume", "mine", "--from", str(weights)]))
    assert refusal(run.options_of, given).startswith("--from: a resumed sweep continues as its record says")


def test_a_search_of_the_record_goes_on(begun, storage):
    search = Search(Record.load(storage, "mine"))
    assert search.next().label == AS_IT_IS
