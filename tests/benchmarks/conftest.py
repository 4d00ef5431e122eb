"""What all benchmarks share."""

from collections.abc import Iterator

import pytest

from tests.benchmarks.report import Report


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    """Where findings go; saved once all benchmarks have run."""
    found = Report()
    yield found
    found.save()
