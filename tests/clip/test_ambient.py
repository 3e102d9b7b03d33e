"""The public calls give the same results in whatever modes the calling program has set."""

import asyncio
import contextlib
import multiprocessing
import threading
from operator import attrgetter

import numpy as np
import pytest
import torch
from forked import CAN_FORK
from icon_tasks import task

from mgclip import MGCLIP
from mgclip.clip.adapters import adapter_state
from mgclip.clip.ambient import ordinary_modes


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextlib.contextmanager
def matmul_precision(precision):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


MODES = {
    "ordinary": contextlib.nullcontext,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "meta": lambda: torch.device("meta"),
    "cpu": lambda: torch.device("cpu"),
    "with device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "deterministic": deterministic,
    "TF32": lambda: matmul_precision("high"),
    "bfloat16 products": lambda: matmul_precision("medium"),
    "errors": lambda: np.errstate(all="raise"),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
}


def modes():
    return (
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype(), torch.empty(0).device,
        torch.is_autocast_enabled("cpu"), torch.are_deterministic_algorithms_enabled(), np.geterr(),
        torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32,
    )  # fmt: skip


def work(tiny_clip, quick, icons, folder):
    """Make every public call once; returns the results for an exact comparison."""
    model = MGCLIP.from_pretrained(tiny_clip, settings=quick.model_copy(update={"memory": 12, "balanced": True}))
    model.learn(*task(icons, [0, 1]))
    model.forget(model.class_names[0])
    model.learn(*task(icons, [2, 3]))
    model.save_pretrained(folder)
    model = MGCLIP.from_pretrained(folder)
    model.relabel(model.class_names[0], "another")
    model.learn(*task(icons, [4]))
    images = list(icons["x_test"][:9])
    found = model.predict(images, candidates=["a submarine"])
    features = model.encoder.images(model.encoder.pixels(images))
    assert model.classify(features).names == model.predict(images).names
    logits, mixed = model.text_logits(features, model.class_texts), model.probabilities(features)
    return [
        part.tobytes() for part in (
            found.probabilities, found.confidence, logits.numpy(), mixed.numpy(), model.head.numpy(),
            *(weight.numpy() for weight in adapter_state(model.backbone).values()),
        )
    ]  # fmt: skip


@pytest.fixture(scope="module")
def expected(tiny_clip, icons, tmp_path_factory):
    from mgclip import Settings

    quick = Settings(epochs=1, adapter_batch_size=16, head_batch_size=16, head_epochs=2, adapter_lr=2e-3)
    return work(tiny_clip, quick, icons, tmp_path_factory.mktemp("ordinary") / "shop")


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_of_the_caller_changes_no_result_and_is_kept(tiny_clip, quick, icons, tmp_path, expected, mode):
    with MODES[mode]():
        before = modes()
        found = work(tiny_clip, quick, icons, tmp_path / "shop")
        assert modes() == before
    assert found == expected


@pytest.mark.parametrize("mode", ["inference_mode", "float64", "meta"])
def test_a_model_made_in_a_mode_learns_outside_it(tiny_clip, quick, icons, mode):
    with MODES[mode]():
        model = MGCLIP.from_pretrained(tiny_clip, settings=quick)
    ordinary = MGCLIP.from_pretrained(tiny_clip, settings=quick)
    for each in (model, ordinary):
        each.learn(*task(icons, [0, 1]))
    assert torch.equal(model.head, ordinary.head)
    with MODES[mode]():
        model.predict(icons["x_test"][:2])
    for each in (model, ordinary):
        each.learn(*task(icons, [2, 3]))
    assert torch.equal(model.head, ordinary.head)


def test_modes_are_restored_after_an_error(tiny_clip, quick, icons):
    model = MGCLIP.from_pretrained(tiny_clip, settings=quick)
    with torch.inference_mode(), default_dtype(torch.float64):
        before = modes()
        with pytest.raises(Exception, match="has learned no class"):
            model.predict(icons["x_test"][:1])
        assert modes() == before


def test_calls_work_in_another_thread_and_in_an_event_loop(tiny_clip, quick, icons, tmp_path, expected):
    found = []

    async def called():
        return work(tiny_clip, quick, icons, tmp_path / "loop"), await asyncio.to_thread(
            work, tiny_clip, quick, icons, tmp_path / "worker"
        )

    for work_there in (
        lambda: found.append(work(tiny_clip, quick, icons, tmp_path / "thread")),
        lambda: found.extend(asyncio.run(called())),  # not in this thread, in which a browser of other tests may have a loop
    ):
        thread = threading.Thread(target=work_there)
        thread.start()
        thread.join()
    assert found == [expected] * 3


def test_two_threads_share_one_default_dtype(tiny_clip, quick, icons):
    model = MGCLIP.from_pretrained(tiny_clip, settings=quick)
    model.learn(*task(icons, [0, 1]))
    images = list(icons["x_test"][:4])
    ordinary, found = model.predict(images).probabilities, []
    with default_dtype(torch.float64):
        threads = [threading.Thread(target=lambda: found.extend(model.predict(images) for _ in range(5))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert torch.get_default_dtype() == torch.float64
    assert len(found) == 20
    assert all(np.array_equal(each.probabilities, ordinary) for each in found)


ALLOWED = {
    "nothing": {},
    "high": {"matmul": "high"},
    "medium": {"matmul": "medium"},
    "allow_tf32": {"cuda.matmul.allow_tf32": True},
    "matrix products": {"cuda.matmul.fp32_precision": "tf32"},
    "everything": {"fp32_precision": "tf32"},
    "cudnn": {"cudnn.fp32_precision": "tf32"},
    "no convolution": {"cudnn.conv.fp32_precision": "ieee"},
    "no cudnn": {"cudnn.allow_tf32": False},
    "the CPU": {"mkldnn.matmul.fp32_precision": "bf16", "mkldnn.conv.fp32_precision": "bf16"},
}
NEWER = ("cuda.matmul", "cudnn.conv", "mkldnn.matmul", "mkldnn.conv")


def precisions():
    """Whether products may be rounded, as the older and the newer settings say."""

    def read(get):
        try:
            return get()
        except RuntimeError:
            return "mixed"  # the program has used both ways

    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    older = (torch.get_float32_matmul_precision, lambda: cuda.matmul.allow_tf32, lambda: cudnn.allow_tf32)
    defaults = torch.backends.fp32_precision, torch.backends.cudnn.fp32_precision
    return [read(get) for get in older], [attrgetter(name)(torch.backends).fp32_precision for name in NEWER], defaults


def check_precisions(allowed):
    for path, value in allowed.items():
        place, _, name = path.rpartition(".")
        if path == "matmul":
            torch.set_float32_matmul_precision(value)
        else:
            setattr(attrgetter(place)(torch.backends) if place else torch.backends, name, value)
    before = precisions()
    with ordinary_modes():
        inside = precisions()
        with ordinary_modes():
            assert precisions() == inside
        assert precisions() == inside
    assert precisions() == before
    assert inside[0] == ["highest", False, False]
    assert set(inside[1]) <= {"ieee", "none"}


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="PyTorch 2.9 added these settings")
@pytest.mark.skipif(not CAN_FORK, reason="Each case needs a process that is forked")
@pytest.mark.parametrize("allowed", ALLOWED)
def test_products_are_not_rounded_whatever_the_caller_allows(allowed):
    """In a process of its own, because a mixture of both ways cannot be undone completely."""
    child = multiprocessing.get_context("fork").Process(target=check_precisions, args=(ALLOWED[allowed],))
    child.start()
    child.join()
    assert child.exitcode == 0
