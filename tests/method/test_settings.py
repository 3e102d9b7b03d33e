"""What settings may be."""

import pickle

import pytest

from mgclip import Settings
from mgclip.errors import InputError
from mgclip.experiment.recipe import Recipe


@pytest.mark.parametrize("prompt", ["no place", "{} and {}", "{0}", "{", "a {}}"])
def test_a_prompt_has_one_place_for_the_class(prompt):
    with pytest.raises(InputError, match=r"^In the settings: prompt must contain \{\} once, .*; found .*\."):
        Settings(prompt=prompt)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Settings(epoch=0), "there is no key epoch: did you mean epochs?"),
        (lambda: Settings(rank=0, vision_weight="x"), "rank must be at least 1; found 0; vision_weight must be a number; found 'x'."),
        (lambda: Settings(balanced=True), "balanced fine-tuning needs a memory: set memory, 2000 in the published code."),
        (lambda: Settings.model_validate({"epoch": 0}), "there is no key epoch: did you mean epochs?"),
        (lambda: Settings().changed({"micro_batch_size": 0}), "micro_batch_size must be at least 1; found 0."),
        (lambda: Settings(features=0), "features must be at least 1; found 0."),
        (lambda: Settings(features=2.5), "features must be a whole number; found 2.5."),
        (lambda: Settings(seed=2**63), "seed must be at most 9223372036854775807; found 9223372036854775808."),
        (lambda: Recipe(name="mine", seed=2**64), "seed must be at most 9223372036854775807; found 18446744073709551616."),
        (lambda: Settings(gamma=0), "gamma must be more than 0; found 0."),
        (lambda: Settings(gamma=float("nan")), "gamma must be a finite number; found nan."),
        (lambda: Settings(gamma=float("inf")), "gamma must be a finite number; found inf."),
        (lambda: Settings(compensation="analytic"), "compensation analytic and fusion calibrated belong together"),
        (lambda: Settings(fusion="calibrated"), "compensation analytic and fusion calibrated belong together"),
        (lambda: Settings(compensation="analytic", fusion="calibrated", adapt="never", memory=5), "a solved head keeps no old images"),
        (lambda: Recipe(name="x", rapf_beat=1), "there is no key rapf_beat: did you mean rapf_beta?"),
        (lambda: Recipe(name="mine", clas_order=3), "there is no key clas_order: did you mean class_order?"),
        (lambda: Recipe(), "name is missing."),
    ],
)  # fmt: skip
def test_wrong_settings_are_one_sentence(make, sentence):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value).startswith(f"In the settings: {sentence}")
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


def test_settings_are_copied_and_pickled_unchanged():
    settings = Settings(epochs=2)
    assert settings == settings.model_copy() == pickle.loads(pickle.dumps(settings)) == Settings(**settings.model_dump())
    assert "rank" in Settings.__signature__.parameters


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        (["a {}", "b"], r"prompt must contain \{\} once"),
        (["a {}", "a {}"], "prompt must be one text, or a list of different ones"),
        ([], "prompt must be one text, or a list of different ones"),
        (["a {}", 3], "prompt"),
        (3, "prompt must be text or a list"),
    ],
)
def test_a_list_of_prompts_has_different_ones_with_one_place_each(prompt, sentence):
    with pytest.raises(InputError, match=sentence):
        Settings(prompt=prompt)


def test_a_prompt_is_one_text_or_several():
    assert Settings().templates == ["a good photo of a {}."]
    assert Settings(prompt=["a {}", "an icon of a {}"]).templates == ["a {}", "an icon of a {}"]
