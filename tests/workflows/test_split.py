"""Holding images out of training."""

from hypothesis import given
from hypothesis import strategies as st

from mgclip.workflows.split import hold_out


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 40), max_size=6),
    st.floats(0, 0.9),
    st.integers(0, 9),
)
def test_each_image_is_held_out_or_kept_exactly_once(sizes, share, seed):
    from pathlib import Path

    every = {name: [Path(f"{name}-{i}") for i in range(count)] for name, count in sizes.items()}
    kept, held = hold_out(every, share=share, seed=seed)
    for name, files in every.items():
        out = held.get(name, [])
        assert sorted([*kept[name], *out]) == sorted(files)
        assert kept[name] or not files
        assert len(out) == (max(1, round(share * len(files))) if share and len(files) >= 5 else 0)
    assert hold_out(every, share=share, seed=seed) == (kept, held)
