"""What pg_restore says is told as what it means and what to do; what is not known is told as it is."""

import pytest

from backups.restore_errors import classify

QUERY = "pg_restore: error: could not execute query: ERROR:  "


@pytest.mark.parametrize(
    ("line", "says", "next_step"),
    [
        (
            f'{QUERY}role "ann" does not exist',
            'A role is missing: role "ann" does not exist',
            "Create it and restore again.",
        ),
        (
            f'{QUERY}permission denied to create event trigger "e"',
            'A right is missing: permission denied to create event trigger "e"',
            "Grant it, or let dbadmin operate as a superuser, and restore again.",
        ),
        (
            f'{QUERY}security label provider "guard" is not loaded',
            'A provider of security labels is missing: security label provider "guard" is not loaded',
            "Load its module there (shared_preload_libraries) and restore again.",
        ),
        (
            'pg_restore: error: could not extend file "base/1/2": No space left on device',
            'The disk of the server is full: could not extend file "base/1/2": No space left on device',
            "Free space there and restore again.",
        ),
        (
            'pg_restore: error: COPY failed for table "t": ERROR:  invalid input value for enum mood: "odd"',
            'pg_restore failed: COPY failed for table "t": ERROR:  invalid input value for enum mood: "odd"',
            "",
        ),
        (
            "pg_restore: error: could not read from input file: end of file",
            "The archive is damaged: could not read from input file: end of file",
            "Take another backup and restore again.",
        ),
    ],
)
def test_an_error_is_told_as_what_it_means_and_what_to_do(line: str, says: str, next_step: str) -> None:
    error = classify(line)
    assert error
    assert (str(error), error.next, error.harmless) == (says, next_step, False)


def test_a_setting_of_a_newer_program_is_no_error_and_other_lines_are_none() -> None:
    newer = classify(f'{QUERY}unrecognized configuration parameter "transaction_timeout"')
    assert newer
    assert newer.harmless
    assert classify("pg_restore: creating TABLE public.t") is None
    assert classify("Command was: CREATE TABLE public.t ();") is None
