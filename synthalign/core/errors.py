"""The one exception for what a user can get wrong."""


class UserError(Exception):
    """A setting, file or row is not usable; the message names it, its value and the next step."""
