"""Words of sentences that depend on numbers."""


def count(number: int, one: str, many: str = "") -> str:
    """A number and its noun: ``1 task``, ``3 tasks``, ``2 classes``. ``many`` is the plural if it is irregular."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
