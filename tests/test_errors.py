"""Messages are one line, and nothing in them acts on a terminal."""

from mgclip.errors import InputError, MGCLIPError, MissingExtra, one_line


def test_an_error_is_one_line_without_control_characters():
    message = "a\nb\x1b[2J\u202egnp\u2028é 猫"
    assert one_line(message) == str(MGCLIPError(message)) == "a\\nb\\x1b[2J\\u202egnp\\u2028é 猫"


def test_a_missing_extra_names_the_command_that_installs_it():
    error = MissingExtra("onnx", "onnxruntime")
    assert isinstance(error, InputError)
    assert str(error).endswith("run  pip install 'mg-clip[onnx]'")
