"""One server and one browser for the session; one `Lab` a test, which fails on unexpected console errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect, sync_playwright

from tests.e2e.lab import RESULTS, Lab, launch
from tests.e2e.server import Server, serving

# Two of these suites on a slow machine share its cores; a test that passes does not wait for it.
expect.set_options(timeout=15_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    if outcome.when == "call":
        item.stash[FAILED] = outcome.failed
    return outcome


FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="session")
def chromium() -> Iterator[BrowserContext]:
    with sync_playwright() as playwright, launch(playwright) as chromium:
        yield chromium


@pytest.fixture
def lab(lab_server: Server, chromium: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Lab]:
    lab = Lab(lab_server, chromium)
    yield lab
    if request.node.stash.get(FAILED, True):
        name = re.sub(r"[^\w.-]+", "-", request.node.name)
        for index, notebook in enumerate(lab.opened):
            notebook.screenshot(RESULTS / f"{name}-{index}.png")
    errors = lab.close()
    assert not errors, "The browser's console shows errors:\n" + "\n".join(errors)
