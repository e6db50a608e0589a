"""What tests are given: real servers, people who are signed in, and a browser that complains."""

pytest_plugins = [
    "tests.fixtures.servers",
    "tests.fixtures.people",
    "tests.fixtures.browser",
    "tests.fixtures.runtime",
    "tests.fixtures.listeners",
    "tests.fixtures.emptying",
    "tests.backups.recovering",
    "tests.backups.beside",
]
