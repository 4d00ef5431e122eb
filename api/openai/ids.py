"""Ids as OpenAI writes them: ours with a word before them that says of what."""

FILE = "file-"
BATCH = "batch_"


def plain_id(prefix: str, text: str) -> str:
    """Our own id; what has no such prefix is one already."""
    return text.removeprefix(prefix)
