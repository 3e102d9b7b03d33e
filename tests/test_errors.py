"""Messages are one line, and nothing in them acts on a terminal."""

import pickle

import pytest

from mgclip.errors import DamagedShard, InputError, MGCLIPError, MissingExtra, first_line, one_line


def test_an_error_is_one_line_without_control_characters():
    message = "a\nb\x1b[2J\u202egnp\u2028é 猫"
    assert one_line(message) == str(MGCLIPError(message)) == "a\\nb\\x1b[2J\\u202egnp\\u2028é 猫"


def test_a_missing_extra_names_the_command_that_installs_it():
    error = MissingExtra("onnx", "onnxruntime")
    assert isinstance(error, InputError)
    assert str(error).endswith("run `pip install 'mg-clip[onnx]'`.")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("", "KeyboardInterrupt"),
        (" \n", "KeyboardInterrupt"),
        ("\nNo access.\nSee: x", "No access"),
        ("a" * 999, "a" * 300),
    ],
)
def test_the_reason_inside_a_message_is_the_first_line_of_another_error(message, shown):
    assert first_line(KeyboardInterrupt(message)) == shown


@pytest.mark.parametrize("error", [MissingExtra("onnx", "onnxruntime"), DamagedShard("a.tar", "at all", "it is empty")])
def test_errors_of_other_processes_keep_their_sentence(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
