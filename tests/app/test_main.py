"""The command ``mgclip`` itself: its help, its exit codes, and old names of options."""

import resource
import subprocess
import sys

import forked
import pytest
from typer.main import get_command

from mgclip import __version__
from mgclip.__main__ import main as started
from mgclip.app import main as command
from mgclip.app.main import app
from mgclip.app.options import OLD_NAMES


def test_help_is_instant():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, "-X", "importtime", "-m", "mgclip", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert {"run", "reproduce", "learn", "predict", "gap", "data", "bench", "conform", "recipes"} <= set(done.stdout.split())
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 0.5, "seconds of processor time, which a busy machine does not change"
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "transformers", "peft", "datasets", "matplotlib", "numpy", "rich"}


def commands(group=None, path=()):
    """Every command: its words, and its options and arguments."""
    group = group or get_command(app)
    for name, inner in group.commands.items():
        if hasattr(inner, "commands"):
            yield from commands(inner, (*path, name))
        else:
            yield (*path, name), inner.params


@pytest.mark.parametrize(("words", "parameters"), commands())
def test_every_option_of_every_command_is_explained(mgclip, words, parameters):
    code, out, _ = mgclip(*words, "--help")
    shown = " ".join(out.split())
    assert code == 0
    for parameter in parameters:
        assert parameter.help, f"{words}: {parameter.name} has no help"
        assert " ".join(parameter.help.split()) in shown


def test_the_list_of_commands_has_complete_sentences(mgclip):
    for words, sentence in (
        ((), "Go back to the previous version, or with --to to any version, forwards too."),
        (("data",), "Show the stream of a recipe: the classes and images of each task."),
    ):
        listed = mgclip(*words, "--help")[1].partition("Commands:")[2]
        assert "..." not in listed
        assert sentence in " ".join(listed.split())


def test_the_help_shows_the_new_names_of_options_only(mgclip):
    words = mgclip("predict", "--help")[1].split()
    assert not set(OLD_NAMES) & set(words)
    assert set(OLD_NAMES.values()) <= set(words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "icon100"], "There is no recipe icon100: did you mean icons100?"),
        (
            ["run", "icons100", "methods=mg-clip-replay", "adapter_loss=align"],
            "leave mg-clip-replay out of methods",
        ),
        (
            ["gap", "iconclip", "icons100", "balanced=true"],
            "In the settings: balanced fine-tuning needs a memory: set memory",
        ),
        (["run", "icons100", "epoch=1"], "there is no key epoch: did you mean epochs"),
        (["run", "icons100", "cifar100"], "A run has one recipe; found icons100 and cifar100: give one of them."),
        (["run", "--out", "a", "--resume", "b"], "not both"),
        (["run", "folder"], "The data set folder needs data_path"),
        (["run", "icons100", "clip=nowhere"], "There is no CLIP at nowhere"),
        (["learn", "none", "--model", "shop"], "There is no folder none."),
        (["predict", "none", "a.png"], "There is no image file a.png."),
        (["conform", "none"], "There is no folder none."),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_2(mgclip, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    code, out, err = mgclip(*words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_unexpected_errors_are_one_line_and_exit_1(mgclip, monkeypatch, tmp_path):
    def fail(folder):
        raise RuntimeError("out of\nluck")

    monkeypatch.setattr("mgclip.experiment.conformance.conform", fail)
    code, _, err = mgclip("conform", tmp_path)
    assert code == 1
    assert err == "mgclip: unexpected RuntimeError: out of luck (run `mgclip --debug ...` for the traceback)\n"
    monkeypatch.setattr(sys, "argv", ["mgclip", "--debug", "conform", str(tmp_path)])
    with pytest.raises(RuntimeError, match="out of"):
        command.main()


def test_ctrl_c_ends_the_command_quietly_even_while_it_is_imported(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "main", interrupted)
    with pytest.raises(SystemExit) as end:
        started()
    assert end.value.code == 130


TERMINATED = """
import os, signal, sys
from mgclip.app.main import main
from mgclip.export import new_folder

new_folder.give_usual_permissions = lambda folder: os.kill(os.getpid(), signal.SIGTERM)
sys.argv[0] = "mgclip"
main()
"""


def test_a_command_that_is_terminated_leaves_no_partial_folder(shop, tmp_path):
    done = forked.program(TERMINATED, "export", shop / "m", "--to", tmp_path / "clip")
    assert (done.returncode, done.stderr) == (130, "")
    assert list(tmp_path.iterdir()) == []


def test_version(mgclip):
    assert mgclip("--version")[1] == f"mgclip {__version__}\n"


def test_a_recipe_file_may_have_an_equals_sign_in_its_path(mgclip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=0.1.yaml").write_text("extends: icons100\nclip: nowhere\n")
    code, _, err = mgclip("run", "lr=0.1.yaml")
    assert (code, "There is no CLIP at nowhere" in err) == (2, True)


def test_a_setting_may_be_longer_than_a_file_name(mgclip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    order = "class_order=[" + ",".join(map(str, range(100))) + "]"
    code, _, err = mgclip("run", "icons100", order, "clip=nowhere")
    assert (code, "There is no CLIP at nowhere" in err) == (2, True)
    code, _, err = mgclip("run", "icons100", order, order)
    assert (code, "The setting class_order is given more than once" in err) == (2, True)


def test_a_command_in_a_folder_that_was_removed_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert (
        capsys.readouterr().err
        == "mgclip: The current folder no longer exists: change to another one and run the command again.\n"
    )
