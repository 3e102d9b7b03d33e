"""Images that changed while a run was stopped: what is read again is compared with what was read before."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from runs import read, run, stop_after

from mgclip.errors import InputError
from mgclip.experiment import open_run
from mgclip.experiment.recipe import Recipe
from mgclip.experiment.runner import run as run_opened


@pytest.fixture
def folder(icons, tmp_path):
    """A data set of four classes, each with 4 training images and 2 test images, as files of one size."""
    for part, each, kept in (("train", 12, 4), ("test", 4, 2)):
        for c in range(4):
            (tmp_path / "data" / part / f"class {c}").mkdir(parents=True)
            for i in range(kept):
                Image.fromarray(icons[f"x_{part}"][each * c + i]).save(tmp_path / "data" / part / f"class {c}" / f"{i}.bmp")
    return tmp_path / "data"


@pytest.fixture
def recipe(tiny_clip, folder):
    return Recipe(
        name="files",
        clip=str(tiny_clip),
        data="folder",
        data_path=str(folder),
        class_order="dataset",
        classes_per_task=2,
        methods=["mg-clip"],
        epochs=2,
        adapter_batch_size=4,
        head_batch_size=4,
    )


def replace(file):
    """Replace an image by another one whose file has the same size and the same modification time."""
    about, content = file.stat(), bytearray(file.read_bytes())
    content[-300:] = bytes(255 - value for value in content[-300:])
    file.unlink()
    file.write_bytes(content)
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (about.st_size, about.st_mtime_ns)


def test_a_replaced_test_image_of_an_earlier_task_is_noticed(recipe, folder, tmp_path):
    stop_after(1, recipe, tmp_path / "run")
    replace(folder / "test" / "class 1" / "1.bmp")
    with pytest.raises(
        InputError, match=r"The data has changed since .*run was started \(.*test/class 1/1\.bmp has other content"
    ):
        run(recipe, tmp_path / "run", resume=True)


@pytest.mark.parametrize("method", ["mg-clip", "simplecil", "mg-clip-analytic"])
def test_a_replaced_training_image_of_the_interrupted_task_is_noticed(recipe, folder, tmp_path, monkeypatch, method):
    recipe = recipe.model_copy(update={"methods": [method]})

    def killed(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mgclip.experiment.runner.evaluate", killed)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path / "run")
    replace(folder / "train" / "class 0" / "2.bmp")
    with pytest.raises(InputError, match=r"train/class 0/2\.bmp has other content\): restore it, or start a new run"):
        run(recipe, tmp_path / "run", resume=True)


def test_an_image_that_is_not_read_again_does_not_matter(recipe, folder, tmp_path):
    run(recipe, tmp_path / "complete")
    stop_after(1, recipe, tmp_path / "run")
    replace(folder / "train" / "class 0" / "2.bmp")
    run(recipe, tmp_path / "run", resume=True)
    assert read(tmp_path / "run", "mg-clip") == read(tmp_path / "complete", "mg-clip")


def test_methods_share_what_is_known_of_images(recipe, folder, tmp_path):
    """The second method reads the images in one task or in several, and has not been started before the image is replaced."""
    recipe = recipe.model_copy(update={"methods": ["simplecil", "joint"]})
    stop_after(2, recipe, tmp_path / "run", method="simplecil")
    before = (tmp_path / "run" / "digests-0.bin").read_bytes()
    assert len(before) == 8 * 24
    assert 0 not in np.frombuffer(before, dtype="<u8")
    replace(folder / "train" / "class 3" / "0.bmp")
    with pytest.raises(InputError, match=r"train/class 3/0\.bmp has other content"):
        run(recipe, tmp_path / "run", resume=True)


def test_a_replaced_image_of_a_retention_set_is_noticed(recipe, folder, tmp_path):
    recipe = recipe.model_copy(update={"retention": {"folder": str(folder / "test")}})
    stop_after(1, recipe, tmp_path / "run")
    run(recipe, tmp_path / "run", resume=True)
    (tmp_path / "run" / "mg-clip" / "summary.json").unlink()
    replace(folder / "test" / "class 3" / "0.bmp")
    with pytest.raises(InputError, match=r"test/class 3/0\.bmp has other content"):
        run(recipe, tmp_path / "run", resume=True)


def test_a_retention_set_may_move(recipe, folder, tmp_path):
    shutil.copytree(folder / "test", tmp_path / "before")
    recipe = recipe.model_copy(update={"retention": {"folder": str(tmp_path / "before")}})
    stop_after(1, recipe, tmp_path / "run")
    (tmp_path / "before").rename(tmp_path / "after")
    moved = recipe.model_copy(update={"retention": {"folder": str(tmp_path / "after")}})
    assert run(moved, tmp_path / "run", resume=True)["mg-clip"]["retention"]["folder"]


def test_another_number_of_retention_images_is_noticed(recipe, folder, tmp_path):
    shown = tmp_path / "shown"
    (shown / "star").mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(shown / "star" / f"{i}.png")
    recipe = recipe.model_copy(update={"retention": {"folder": str(shown)}})
    stop_after(1, recipe, tmp_path / "run")
    (shown / "star" / "2.png").unlink()
    with pytest.raises(InputError, match=r"The data has changed since .* \(27 images then, 26 now\)"):
        run(recipe, tmp_path / "run", resume=True)


def test_a_replaced_image_is_noticed_with_kept_features(recipe, folder, tmp_path):
    recipe = recipe.model_copy(update={"methods": ["simplecil"]})

    def opened(resume):
        return open_run.open_run(recipe, tmp_path / "run", resume=resume, keep_features=tmp_path / "features")

    for attempt in (False, True):
        run_opened(opened(resume=attempt))
        (tmp_path / "run" / "simplecil" / "summary.json").unlink()
    replace(folder / "test" / "class 2" / "1.bmp")
    with pytest.raises(InputError, match=r"test/class 2/1\.bmp has other content"):
        run_opened(opened(resume=True))


@pytest.mark.parametrize("kind", [np.asarray, Image.fromarray])
def test_other_pixels_of_a_made_data_set_are_noticed(recipe, tmp_path, monkeypatch, kind):
    """The fingerprint compares some of the images only; here not this one."""
    recipe, real = recipe.model_copy(update={"methods": ["zero-shot"]}), open_run.load_dataset

    def made(change=0):
        def load(*args, **options):
            data = real(*args, **options)
            images = [kind(np.asarray(Image.open(file)) ^ np.uint8(change * (n == 1))) for n, file in enumerate(data.test.images)]
            return dataclasses.replace(data, test=dataclasses.replace(data.test, images=images))

        return load

    monkeypatch.setattr("mgclip.stream.fingerprint.PIXELS_CHECKED", 1)
    monkeypatch.setattr(open_run, "load_dataset", made())
    stop_after(1, recipe, tmp_path / "run")
    monkeypatch.setattr(open_run, "load_dataset", made(change=1))
    with pytest.raises(InputError, match=r"image 1 of test has other content"):
        run(recipe, tmp_path / "run", resume=True)


def test_a_run_of_an_earlier_version_resumes(recipe, folder, tmp_path):
    stop_after(1, recipe, tmp_path / "run")
    (tmp_path / "run" / "digests-0.bin").unlink()
    replace(folder / "test" / "class 1" / "1.bmp")
    run(recipe, tmp_path / "run", resume=True)


def test_digests_of_all_processes_are_compared(recipe, folder, tmp_path):
    stop_after(1, recipe, tmp_path / "run")
    (tmp_path / "run" / "digests-0.bin").rename(tmp_path / "run" / "digests-1.bin")
    replace(folder / "test" / "class 1" / "1.bmp")
    with pytest.raises(InputError, match="has other content"):
        run(recipe, tmp_path / "run", resume=True)


def test_digests_are_not_written_through_a_link(recipe, tmp_path):
    stop_after(1, recipe, tmp_path / "run")
    mine = tmp_path / "mine"
    (tmp_path / "run" / "digests-0.bin").rename(mine)
    (tmp_path / "run" / "digests-0.bin").symlink_to(mine)
    content = mine.read_bytes()
    run(recipe, tmp_path / "run", resume=True)
    assert mine.read_bytes() == content
    assert not (tmp_path / "run" / "digests-0.bin").is_symlink()


def test_a_damaged_image_may_be_repaired(recipe, folder, tmp_path):
    """An image that could not be read was not learned, so its repair is not a change."""
    image = folder / "train" / "class 2" / "1.bmp"
    content = image.read_bytes()
    image.write_bytes(bytes(len(content)))
    with pytest.raises(InputError, match=r"class 2/1\.bmp cannot be read"):
        run(recipe, tmp_path / "run")
    image.write_bytes(content)
    run(recipe, tmp_path / "run", resume=True)
