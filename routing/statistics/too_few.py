"""The error of a number that wants more samples than there are."""


class TooFew(ValueError):
    """There are fewer samples than the number wants, however they are looked at."""
