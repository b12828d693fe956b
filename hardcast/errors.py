"""The one exception that means "the user can mend this": one line on stderr, exit code 2."""


class HardcastError(Exception):
    """A mistake in what the user gave (file, option, text).

    The message is one line: it names the file or option, says what was expected and found, and
    what to try next. Anything else that escapes a verb is a bug of ours and keeps its traceback.
    """
