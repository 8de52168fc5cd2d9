"""The one error that is the user's to mend."""


class InputError(ValueError):
    """A user's mistake, said in one line that names the value, the bound and the remedy."""
