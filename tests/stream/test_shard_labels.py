"""The class of an image in a shard is found, or the error says where it was expected."""

import re
from pathlib import Path

import pytest
from shards import EXPECTED, IMAGES, LABELS, members, png, read, write_parquet, write_tar

from mgclip.errors import DamagedShard, InputError
from mgclip.images import UnreadableImage
from mgclip.stream.parquet_shards import row_image
from mgclip.stream.shard_images import PLACES
from mgclip.stream.shards import TAR, Shard


def test_the_images_of_a_tar_file_have_the_classes_of_the_members_of_their_name(tmp_path):
    for name in map("a{}".format, TAR):
        assert read(Shard(str(write_tar(tmp_path / name, members(IMAGES, LABELS))))) == EXPECTED
    image, _ = next(iter(Shard(str(tmp_path / "a.tar"))))
    assert image.name == f"{tmp_path / 'a.tar'}: 0.png"


@pytest.mark.parametrize(
    ("about", "label"),
    [
        ([("json", {"class_name": "owl", "id": 3})], ""),
        ([("json", {"label": "owl"})], ""),
        ([("json", {"cls": "owl"})], ""),
        ([("json", {"label": "bird", "species": "owl"})], "species"),
        ([("txt", "owl\n")], ""),
        ([("txt", "a photo of a bird"), ("cls", "owl")], ""),
        ([("kind", "owl"), ("cls", "bird")], "kind"),
    ],
)
def test_the_class_is_in_a_member_or_a_key_of_json(tmp_path, about, label):
    shard = write_tar(tmp_path / "a.tar", [("x/7.png", png(IMAGES[0])), *((f"x/7.{end}", content) for end, content in about)])
    assert read(Shard(str(shard), label)) == [("owl", 0)]


def test_class_numbers_need_a_list_of_names(tmp_path):
    shard = Shard(str(write_tar(tmp_path / "a.tar", members(IMAGES, ["0", "1", "0", "2"]))))
    with pytest.raises(
        InputError, match=r"0\.png in .*a\.tar has the class number 0, and there is no list of names: put classes"
    ):
        read(shard)
    other = tmp_path / "listed"
    other.mkdir()
    (other / "classes.txt").write_text("cat\ndog\nowl\n")
    assert read(Shard(str(write_tar(other / "a.tar", members(IMAGES, ["0", "1", "0", "2"]))))) == EXPECTED
    with pytest.raises(InputError, match=r"has the class number 3, which is not among the 3 of classes\.txt"):
        read(Shard(str(write_tar(other / "b.tar", members(IMAGES[:1], ["3"])))))


@pytest.mark.parametrize("value", [{"name": "owl"}, ["owl"], 1.5, True])
def test_a_class_that_is_neither_a_text_nor_a_whole_number_is_refused(tmp_path, value):
    shard = write_tar(tmp_path / "a.tar", [("7.png", png(IMAGES[0])), ("7.json", {"label": value})])
    with pytest.raises(InputError, match=r"The class of the image 7\.png in .*a\.tar is .*: expected a text or a whole number"):
        read(Shard(str(shard)))


def test_a_negative_class_number_is_no_name(tmp_path):
    shard = write_tar(tmp_path / "a.tar", members(IMAGES[:1], ["-1"]))
    (tmp_path / "classes.txt").write_text("cat\ndog\nowl\n")
    with pytest.raises(InputError, match=r"has the class number -1, which is not among the 3"):
        read(Shard(str(shard)))


def test_an_empty_line_in_the_list_of_names_does_not_shift_the_numbers(tmp_path):
    shard = Shard(str(write_tar(tmp_path / "a.tar", members(IMAGES[:1], ["0"]))))
    (tmp_path / "classes.txt").write_text("cat\n\nowl\n")
    with pytest.raises(InputError, match=r"Line 2 of classes\.txt next to the shards is empty"):
        read(shard)
    (tmp_path / "classes.txt").write_text("\ufeffcat\r\nowl\r\n\r\n", encoding="utf-8")  # as editors on Windows write it
    assert read(shard) == [("cat", 0)]


def test_other_members_are_ignored_and_an_image_without_a_class_is_named(tmp_path):
    extra = [("readme.md", "hello"), ("9.png", png(IMAGES[0])), (".hidden.png", b"")]
    with pytest.raises(
        InputError, match=r"9\.png in .*a\.tar has no class: expected its name in 9\.cls or 9\.txt, or in 9\.json"
    ):
        read(Shard(str(write_tar(tmp_path / "a.tar", [*members(IMAGES, LABELS), *extra]))))
    with pytest.raises(InputError, match=r"a\.tar has no image"):
        read(Shard(str(write_tar(tmp_path / "a.tar", [("readme.md", "hello")]))))
    twice = [("1.png", png(IMAGES[0])), ("1.depth.png", png(IMAGES[0])), ("1.cls", "cat")]
    with pytest.raises(InputError, match=r"1\.png and 1\.depth\.png in .* are two images with the same name"):
        read(Shard(str(write_tar(tmp_path / "a.tar", twice))))


@pytest.mark.parametrize(
    ("others", "label", "why"),
    [
        (
            [],
            "",
            r"found only the image \(.*\): add the class, unpack the shard if 'cats' is the class, or name another member or key",
        ),
        ([("2.kind", "cat")], "", r"found cats/2\.kind: add the class, or name another member or key with --label"),
        ([("2.json", {"kind": "cat", "id": 1})], "", r"found cats/2\.json \(keys kind, id\): add the class, or name"),
        ([("2.cls", "cat")], "kind", r"the member 2\.kind, or the key 'kind' in 2\.json; found cats/2\.cls: add"),
    ],
)
def test_where_a_class_was_expected_and_what_there_is_instead(tmp_path, others, label, why):
    content = [("cats/2.png", png(IMAGES[0])), *((f"cats/{name}", about) for name, about in others)]
    with pytest.raises(InputError, match=rf"The image cats/2\.png in .*a\.tar has no class: expected .*{why}"):
        read(Shard(str(write_tar(tmp_path / "a.tar", content)), label))


@pytest.mark.parametrize(
    ("end", "content", "why"),
    [
        ("cls", b"caf\xe9", r"has no class \('utf-8' codec can't decode .*\): write its name in UTF-8, or choose another"),
        ("txt", b"\xff\xfec\0", r"has no class \('utf-8' codec can't decode"),
        ("kind", b"\xff", r"has no class \('utf-8' codec can't decode"),
        ("json", b'{"label": ', r"is not JSON \(Expecting value: line 1 .*\): replace it, or choose another member"),
        ("json", b'{"label": "caf\xe9"}', r"is not JSON \('utf-8' codec can't decode"),
        ("json", b"[" * 100_000, r"is not JSON \("),
    ],
)
def test_a_member_with_the_class_that_cannot_be_decoded_is_named(tmp_path, end, content, why):
    shard = write_tar(tmp_path / "a.tar", [*members(IMAGES, LABELS), ("x/7.png", png(IMAGES[0])), (f"x/7.{end}", content)])
    if end == "kind":
        write_tar(shard, [("x/7.png", png(IMAGES[0])), (f"x/7.{end}", content)])
    with pytest.raises(InputError, match=rf"The member x/7\.{end} of the shard .*a\.tar {why}") as error:
        read(Shard(str(shard), "kind" if end == "kind" else ""))
    assert not isinstance(error.value, DamagedShard)


def test_other_members_need_not_be_decoded(tmp_path):
    content = [("7.png", png(IMAGES[0])), ("7.cls", "\ufeffowl\r\n"), ("7.txt", b"\xff"), ("7.json", b"{")]
    assert read(Shard(str(write_tar(tmp_path / "a.tar", content)))) == [("owl", 0)]


def test_folders_may_have_full_stops_in_their_names(tmp_path):
    content = [("v1.0/a.b/7.png", png(IMAGES[0])), ("v1.0/a.b/7.cls", "owl")]
    assert read(Shard(str(write_tar(tmp_path / "a.tar", content)))) == [("owl", 0)]


@pytest.mark.parametrize("text", ["cat\ndog", "cat\r\n\r\ndog\r\n", "cat\u2028dog"])
@pytest.mark.parametrize("kind", ["cls", "txt", "json", "parquet", "label"])
def test_a_class_is_the_text_of_one_line(tmp_path, text, kind):
    def write(name):
        if kind == "parquet":
            return write_parquet(tmp_path / "a.parquet", IMAGES[:1], [name])
        if kind == "label":
            return write_parquet(tmp_path / "a.parquet", IMAGES[:1], [0], [name])
        return write_tar(
            tmp_path / "a.tar", [("7.png", png(IMAGES[0])), (f"7.{kind}", {"label": name} if kind == "json" else name)]
        )

    shard = Shard(str(write(text)))
    place = "row 0" if kind in ("parquet", "label") else rf"the member 7\.{kind}"
    with pytest.raises(
        InputError, match=rf"The class in {place} of the shard .*a\.\w+ has several lines \('cat.*dog'\): write one"
    ):
        read(shard)
    with pytest.raises(InputError, match=r"of the shard .* has several lines"):
        list(PLACES[Path(shard.name).suffix](shard.name, ""))
    assert read(Shard(str(write(" cat \n")))) == [("cat", 0)]


def test_a_parquet_file_has_texts_or_class_labels(tmp_path):
    assert read(Shard(str(write_parquet(tmp_path / "a.parquet", IMAGES, LABELS)))) == EXPECTED
    assert read(Shard(str(write_parquet(tmp_path / "b.parquet", IMAGES, [1, 2, 1, 0], ["owl", "cat", "dog"])))) == EXPECTED
    named = write_parquet(tmp_path / "c.parquet", IMAGES, [0, 0, 0, 0], ["animal"], species=LABELS)
    assert read(Shard(str(named))) == [("animal", value) for _, value in EXPECTED]
    assert read(Shard(str(named), "species")) == EXPECTED
    with pytest.raises(InputError, match=r"c\.parquet has no column 'kind'; it has image, label, species"):
        read(Shard(str(named), "kind"))


def test_a_column_called_name_is_not_the_class_if_there_are_class_labels(tmp_path):
    files = [f"{number}.png" for number in range(len(IMAGES))]
    both = write_parquet(tmp_path / "a.parquet", IMAGES, [1, 2, 1, 0], ["owl", "cat", "dog"], name=files)
    assert read(Shard(str(both))) == EXPECTED
    named = write_parquet(tmp_path / "b.parquet", IMAGES, [0, 0, 0, 0], ["animal"], class_name=LABELS)
    assert read(Shard(str(named))) == EXPECTED


def test_a_column_called_name_is_not_the_class_if_the_classes_are_numbers_without_names(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    stored = [{"bytes": png(image), "path": None} for image in IMAGES]
    pq.write_table(pa.table([stored, [0, 1, 0, 2], LABELS], names=["image", "label", "name"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"The column 'label' of the shard .*a\.parquet has no class names, and .* 'name' may"):
        read(Shard(str(tmp_path / "a.parquet")))
    assert read(Shard(str(tmp_path / "a.parquet"), "name")) == EXPECTED


def test_columns_of_lists_and_structures_are_no_classes_and_no_images(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    stored = [{"bytes": png(image), "path": None} for image in IMAGES[:1]]
    pq.write_table(pa.table({"image": stored, "label": [["cat"]], "tags": [{"a": "cat"}]}), tmp_path / "a.parquet")
    for label in ("label", "tags"):
        with pytest.raises(
            InputError, match=rf"The column '{label}' of the shard .*a\.parquet has no class names: expected texts"
        ):
            read(Shard(str(tmp_path / "a.parquet"), label))
    pq.write_table(pa.table({"image": [["a"]], "label": ["cat"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"must have one column of images; found 0 among .*: give it the type Image"):
        read(Shard(str(tmp_path / "b.parquet")))
    pq.write_table(pa.table({"image": stored, "mask": stored, "label": ["cat"]}), tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"found 2 among the columns image, mask: remove the others"):
        read(Shard(str(tmp_path / "c.parquet")))


@pytest.mark.parametrize(
    "stored",
    [
        [None],
        [{"bytes": None}],
        [{"bytes": None, "path": None}],
        [{"bytes": b"", "path": ""}],
        [{"bytes": b""}],
    ],
)
def test_a_row_without_an_image_is_named(tmp_path, stored):
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = {"bytes": png(IMAGES[0])} if isinstance(stored[0], dict) else png(IMAGES[0])
    pq.write_table(pa.table({"image": [first, *stored], "label": ["cat", "dog"]}), tmp_path / "a.parquet")
    with pytest.raises(
        InputError, match=r"Row 1 of the shard .*a\.parquet has no image in its columns: complete it or remove it"
    ):
        read(Shard(str(tmp_path / "a.parquet")))
    with pytest.raises(InputError, match=r"Row 1 of row group 0 of the shard .*a\.parquet has no image in its columns"):
        row_image(str(tmp_path / "a.parquet"), 0, 1)


def test_an_image_file_that_a_parquet_file_names_and_that_is_missing_is_an_unreadable_image(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    missing = tmp_path / "absent.png"
    stored = pa.array([{"bytes": None, "path": str(missing)}])
    pq.write_table(pa.table({"image": stored, "label": ["cat"]}), tmp_path / "a.parquet")
    with pytest.raises(
        UnreadableImage, match=rf"a\.parquet: row 0 cannot be read \(there is no file {re.escape(str(missing))}\)"
    ):
        read(Shard(str(tmp_path / "a.parquet")))


def test_a_parquet_file_without_the_columns_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    stored = [{"bytes": png(image), "path": None} for image in IMAGES]
    pq.write_table(pa.table({"image": stored, "label": [0, 1, 0, 2]}), tmp_path / "numbers.parquet")
    with pytest.raises(InputError, match=r"numbers\.parquet has no column of class names among image, label: expected texts"):
        read(Shard(str(tmp_path / "numbers.parquet")))
    pq.write_table(pa.table({"label": LABELS}), tmp_path / "none.parquet")
    with pytest.raises(InputError, match="must have one column of images; found 0 among the columns label"):
        read(Shard(str(tmp_path / "none.parquet")))
    pq.write_table(pa.table({"image": stored, "label": ["cat", None, "cat", "owl"]}), tmp_path / "hole.parquet")
    with pytest.raises(InputError, match=r"Row 1 of the shard .*hole\.parquet has no class"):
        read(Shard(str(tmp_path / "hole.parquet")))


def test_empty_bytes_are_an_unreadable_image_even_if_there_is_a_file_of_its_name(tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "0.png").write_bytes(png(IMAGES[0]))  # the image of something else
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"image": [{"bytes": b"", "path": "0.png"}], "label": ["cat"]}), tmp_path / "a.parquet")
    with pytest.raises(UnreadableImage, match="row 0"):
        read(Shard(str(tmp_path / "a.parquet")))


def test_a_column_of_another_type_does_not_matter_here_or_elsewhere(tmp_path):
    import fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = pa.array([[("a", 1)]] * len(IMAGES), pa.map_(pa.string(), pa.int64()))
    images = [{"bytes": png(image)} for image in IMAGES]
    pq.write_table(pa.table({"image": images, "label": LABELS, "about": about}), tmp_path / "a.parquet")
    fsspec.filesystem("memory").pipe("/types/a.parquet", (tmp_path / "a.parquet").read_bytes())
    assert read(Shard(str(tmp_path / "a.parquet"))) == EXPECTED == read(Shard("memory://types/a.parquet"))


def test_a_list_that_names_a_class_twice_is_refused(tmp_path):
    shard = Shard(str(write_tar(tmp_path / "a.tar", members(IMAGES[:1], ["0"]))))
    (tmp_path / "classes.txt").write_text("crane\nheron\n crane \n")
    with pytest.raises(InputError, match=r"Lines 1 and 3 of classes\.txt next to the shards both name the class 'crane'"):
        read(shard)


def test_a_class_that_cannot_be_stored_is_named_with_its_member(tmp_path):
    shard = write_tar(tmp_path / "a.tar", [("0.png", png(IMAGES[0])), ("0.json", b'{"label": "\\ud800x"}')])
    with pytest.raises(InputError, match=r"The class in the member 0\.json of the shard .*a\.tar is not valid UTF-8"):
        read(Shard(str(shard)))


def test_a_class_number_of_thousands_of_digits_is_a_wrong_number(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\n")
    shard = Shard(str(write_tar(tmp_path / "a.tar", members(IMAGES[:1], ["1" * 5000]))))
    with pytest.raises(InputError, match=r"has the class number 1{80}, which is not among the 1 of classes\.txt"):
        read(shard)


def test_a_folder_with_colons_in_its_name_has_its_own_list(tmp_path):
    folder = tmp_path / "a::b"
    folder.mkdir()
    (folder / "classes.txt").write_text("cat\n")
    assert read(Shard(str(write_tar(folder / "a.tar", members(IMAGES[:1], ["0"]))))) == [("cat", 0)]
