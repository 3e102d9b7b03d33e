"""Joint training: adapters and head on all classes at once, the upper bound of learning them one after another."""

from mgclip.method.baselines.method import Method

METHOD = Method(
    about="MG-CLIP with all classes in one task: the upper bound",
    source="joint training",
    joint=True,
)
