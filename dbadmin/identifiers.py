"""Names that we make up for PostgreSQL, which keeps 63 bytes of each and cuts off the rest without a word."""

#: What a name may have, in bytes (NAMEDATALEN - 1).
LONGEST = 63


def fitting(name: str, ending: str = "") -> str:
    """The name with the ending behind it; the name is cut between signs, so that both fit."""
    return name.encode()[: LONGEST - len(ending.encode())].decode(errors="ignore") + ending
