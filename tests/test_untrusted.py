"""JSON, YAML and pickles from other sources are read as plain values or refused."""

import pickle

import pytest

from mgclip.untrusted import RestrictedUnpickler, parse_yaml, read_json


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[NaN]", "NaN and Infinity are not allowed"),
        ("[-Infinity]", "not allowed"),
        ("[" * 99_999, "nested too deeply"),
    ],
)
def test_json_that_is_not_plain_is_refused(tmp_path, content, message):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a 1\nb: *a", r"aliases \(\*name\) are not allowed"),
        ("[" * 9_999, "nested too deeply"),
        ("a: !!python/name:os.system", "tag"),
        ("a: 1\nb: 2\na: 3", "^line 3 has the key a again: leave one out$"),
    ],
)
def test_yaml_that_is_not_plain_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_yaml(text)


def test_a_pickle_reads_as_plain_values_only():
    assert RestrictedUnpickler(pickle.dumps({"a": [1, "b"]})).load() == {"a": [1, "b"]}
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print is not allowed in this file"):
        RestrictedUnpickler(pickle.dumps(print)).load()
    with pytest.raises(KeyError):  # claims 2 GB that it does not contain
        RestrictedUnpickler(b"\x80\x05" + pickle.BYTEARRAY8 + (1 << 31).to_bytes(8, "little")).load()
