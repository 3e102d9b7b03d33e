"""Settings of the whole process are those of the caller, before and after this package changes them."""

import logging
import pickle
import shutil
import warnings
from threading import Barrier, Thread

import huggingface_hub.utils as hub
import pytest
import torch
from datasets.utils import logging as of_datasets
from layouts import make_parquet
from transformers.utils import logging as of_transformers

from mgclip import MGCLIP
from mgclip.clip.adapters import attach_adapters
from mgclip.clip.load import load_backbone
from mgclip.stream import metadata
from mgclip.stream.datasets import load_dataset
from mgclip.while_inside import NO_WARNINGS, QUIET_DATASETS, QUIET_TRANSFORMERS, SILENT_DATASETS


def state():
    """What a program may have set about messages and progress bars."""
    libraries = [(each.get_verbosity(), each.is_progress_bar_enabled()) for each in (of_transformers, of_datasets)]
    return [*libraries, hub.are_progress_bars_disabled()]


@pytest.fixture(params=["as imported", "verbose", "quiet", "without the bars of downloads"])
def set_by_the_caller(request):
    """Each state that a program may have set."""
    before, bars = [each.get_verbosity() for each in (of_transformers, of_datasets)], state()[-1]
    for each in (of_transformers, of_datasets):
        if request.param in ("verbose", "quiet"):
            each.set_verbosity(logging.INFO if request.param == "verbose" else logging.CRITICAL)
        if request.param == "quiet":
            each.disable_progress_bar()
    if request.param.startswith("without"):
        hub.disable_progress_bars()
    yield state()
    for each, verbosity in zip((of_transformers, of_datasets), before, strict=True):
        each.set_verbosity(verbosity)
        each.enable_progress_bar()
    if bars:
        hub.disable_progress_bars()


def test_loading_a_clip_keeps_what_a_program_has_set(set_by_the_caller, tiny_clip, tmp_path):
    shutil.copytree(tiny_clip, tmp_path / "clip")
    drawn = torch.get_rng_state()
    MGCLIP.from_pretrained(tmp_path / "clip")
    assert state() == set_by_the_caller
    assert torch.equal(torch.get_rng_state(), drawn), "a program that draws random numbers gets others"


def test_reading_a_data_set_keeps_what_a_program_has_set(set_by_the_caller, tmp_path):
    names = metadata.class_names("oxford_pet_classes.tsv")
    for part in ("train", "test"):
        make_parquet(tmp_path / "data", part, "image", "label", names, list(range(37)))
    assert len(load_dataset("oxford-pets", path=str(tmp_path)).class_names) == 37
    assert state() == set_by_the_caller


def test_what_a_program_has_set_is_back_when_the_last_thread_leaves():
    before, both_inside, first_outside = state(), Barrier(2), Barrier(2)
    inside = []

    def second():
        with QUIET_TRANSFORMERS:
            both_inside.wait()
            first_outside.wait()
            inside.append(of_transformers.get_verbosity())

    thread = Thread(target=second)
    with QUIET_TRANSFORMERS, SILENT_DATASETS:
        thread.start()
        both_inside.wait()
        assert (of_transformers.get_verbosity(), of_datasets.get_verbosity()) == (logging.ERROR, logging.CRITICAL)
    first_outside.wait()
    thread.join()
    assert (inside, state()) == ([logging.ERROR], before)


@pytest.mark.parametrize(("first", "second"), [(SILENT_DATASETS, QUIET_DATASETS), (QUIET_DATASETS, SILENT_DATASETS)])
def test_what_a_program_has_set_is_back_if_the_outer_context_ends_first(first, second):
    """Such as that of a shard of which a program stops reading while it loads a data set."""
    before = state()
    first.__enter__()
    with second:
        first.__exit__()
    assert state() == before


def test_a_program_still_gets_warnings_after_two_threads_have_loaded_models(tiny_clip, monkeypatch):
    """The first thread that begins is the first one that ends."""
    import peft

    one_inside, both_inside, first_outside = Barrier(2), Barrier(2), Barrier(2)
    backbones, attach = [load_backbone(tiny_clip) for _ in range(2)], peft.get_peft_model

    def slow(model, config):
        if model is backbones[0].model:
            one_inside.wait(60)
            both_inside.wait(60)
        else:
            both_inside.wait(60)
            first_outside.wait(60)
        return attach(model, config)

    def load(number):
        if number:
            one_inside.wait(60)
        attach_adapters(backbones[number], rank=2, alpha=2, seed=0)
        if not number:
            first_outside.wait(60)

    monkeypatch.setattr(peft, "get_peft_model", slow)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [Thread(target=load, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        warnings.warn("of the program", stacklevel=1)
    assert "of the program" in [str(each.message) for each in caught]


def test_a_copy_of_a_context_can_be_entered_while_a_thread_is_inside():
    with NO_WARNINGS:
        copied = pickle.loads(pickle.dumps(NO_WARNINGS))
        with copied:
            pass
