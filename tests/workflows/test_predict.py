"""Predictions of many files: their order, their scores, unknown images and unreadable files."""

import copy

import numpy as np
import pytest
from PIL import Image

from mgclip import MGCLIP, Settings
from mgclip.errors import InputError
from mgclip.workflows.predict import predict_files

QUICK = Settings(epochs=1, adapter_batch_size=8, head_batch_size=8)


@pytest.fixture
def model(tiny_clip, icons):
    model = MGCLIP.from_pretrained(tiny_clip, settings=QUICK.model_copy(update={"encode_batch_size": 5}))
    picked = np.isin(icons["y_train"], [0, 1, 2])
    names = [str(icons["class_names"][c]) for c in range(3)]
    model.learn(icons["x_train"][picked], [names[c] for c in icons["y_train"][picked]], names)
    return model


@pytest.fixture
def pictures(icons, tmp_path):
    files = []
    for number, image in enumerate(icons["x_test"][:13]):
        files.append(tmp_path / f"{number:02}.png")
        Image.fromarray(image).save(files[-1])
    return files


def test_answers_are_those_of_predict_in_the_order_of_the_files(model, pictures):
    expected = model.predict(pictures)
    answers = list(predict_files(model, iter(pictures), top=2))
    assert [answer.file for answer in answers] == pictures
    assert [answer.name for answer in answers] == expected.names
    for answer, sure, best in zip(answers, expected.top_confidence, expected.top(2), strict=True):
        assert answer.confidence == pytest.approx(float(sure), abs=1e-5)
        assert [each.name for each in answer.best] == [name for name, _ in best]


def test_below_the_threshold_the_answer_is_unknown(model, pictures):
    answers = list(predict_files(model, pictures))
    assert [answer.likeness for answer in answers] == pytest.approx(model.predict(pictures).head_scores.max(1).tolist(), abs=1e-5)
    middle = sorted(answer.likeness for answer in answers)[6]
    strict = list(predict_files(model, pictures, threshold=middle))
    assert [answer.name is None for answer in strict] == [answer.likeness < middle for answer in answers]
    assert any(answer.name is None for answer in strict)
    words = ["a zebra", "a lion", "an icon", "a photo", "a drawing"]
    for answer in predict_files(model, pictures, threshold=1.0, candidates=words):
        assert answer.name is None or answer.name in words  # the threshold does not apply to candidates


def test_without_a_threshold_no_image_is_unknown_even_if_its_likeness_is_negative(model, pictures):
    opposite = copy.copy(model)
    opposite.head = -model.head
    answers = list(predict_files(opposite, pictures, threshold=0.0))
    assert min(answer.likeness for answer in answers) < 0
    assert not any(answer.name is None for answer in answers)


@pytest.mark.parametrize("threshold", [float("nan"), -0.1, 1.1])
def test_a_threshold_that_is_not_between_0_and_1_is_refused(model, pictures, threshold):
    with pytest.raises(InputError, match=r"The threshold for unknown images is a number from 0 to 1; found "):
        predict_files(model, pictures, threshold=threshold)


def test_unreadable_files_stop_or_are_reported_and_skipped(model, pictures):
    pictures[3].write_bytes(b"no image")
    pictures[12].unlink()
    reported = []
    answers = list(predict_files(model, pictures, on_bad=lambda file, reason: reported.append((file, reason))))
    assert [answer.file for answer in answers] == [p for p in pictures if p not in (pictures[3], pictures[12])]
    assert [file for file, _ in reported] == [pictures[3], pictures[12]]
    assert [reason for _, reason in reported] == [
        "not an image in a supported format",
        f"There is no image file {pictures[12]}",
    ]
    with pytest.raises(InputError, match="cannot be read"):
        list(predict_files(model, pictures))


def test_candidates_are_recognised_by_their_text(model, pictures):
    plain, more = model.predict(pictures), model.predict(pictures, candidates=["a zebra", "a lion"])
    assert more.classes == (*plain.classes, "a zebra", "a lion")
    assert more.image.shape == plain.image.shape
    assert more.text.sum(1) == pytest.approx(np.ones(len(pictures)), abs=1e-5)
    assert more.labels.tolist() == more.confidence.argmax(1).tolist()
    assert more.order(5).tolist() == np.argsort(-more.confidence, axis=1, kind="stable")[:, :5].tolist()
    learned = len(plain.classes)
    share = more.text_probabilities[:, :learned].sum(1, keepdims=True)
    assert more.confidence[:, :learned] == pytest.approx(share * plain.confidence, abs=1e-5)
    assert more.confidence[:, learned:] == pytest.approx(more.text_probabilities[:, learned:], abs=1e-6)
    assert more.confidence.sum(1) == pytest.approx(np.ones(len(pictures)), abs=1e-4)
    with pytest.raises(InputError, match="is a learned class"):
        model.predict(pictures, candidates=[plain.classes[0]])
    with pytest.raises(InputError, match="empty or named twice"):
        model.predict(pictures, candidates=["a", "a"])


def test_confidence_is_the_published_mixture_sharpened(model, pictures):
    found = model.predict(pictures)
    power = found.probabilities.astype(np.float64) ** float(model.backbone.logit_scale)
    assert found.confidence == pytest.approx(power / power.sum(1, keepdims=True), rel=1e-3, abs=1e-6)
    assert found.labels.tolist() == found.confidence.argmax(1).tolist() == found.probabilities.argmax(1).tolist()


def test_a_list_that_arrives_line_by_line_is_answered_line_by_line(model, pictures):
    from threading import Event

    answered = Event()

    def lines():
        yield pictures[0]
        assert answered.wait(30), "the first answer waited for the second line"
        yield pictures[1]

    answers = predict_files(model, lines(), batch=1)
    assert next(answers).file == pictures[0]
    answered.set()
    assert [answer.file for answer in answers] == [pictures[1]]
