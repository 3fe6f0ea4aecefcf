"""The page of a report in a browser: it fits, follows dark mode, shows values at the pointer and hides algorithms."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import Chromium, find_chromium
from run_folders import make_run

from mipi_pl.cli import main

NAMES = [f"an_algorithm_with_a_name_{'x' * number}" for number in range(12)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A page that compares twelve algorithms with long names."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    folder = tmp_path_factory.mktemp("report")
    for number, name in enumerate(NAMES):
        make_run(folder / "runs", name, 0, (0.9, 0.6, 0.05 * number, 0.4))
    assert main(["report", str(folder / "runs"), "--output-dir", str(folder / "out")]) == 0
    with Chromium(program, tmp_path_factory.mktemp("chromium")) as found:
        found.open(next((folder / "out").glob("*/report.html")))
        yield found


@pytest.mark.parametrize("width", [1280, 800, 400])
def test_the_page_is_as_wide_as_the_window_and_only_tables_and_pictures_scroll(browser: Chromium, width: int) -> None:
    browser.resize(width, 800)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.complaints == []


def test_the_first_column_stays_while_a_table_scrolls(browser: Chromium) -> None:
    browser.resize(800, 800)
    wide = "[...document.querySelectorAll('.scroll')].find(e => e.scrollWidth > e.clientWidth)"
    left = f"{wide}.querySelector('tbody th').getBoundingClientRect().left"
    before = browser.run(left)
    browser.run(f"{wide}.scrollLeft = 200")
    assert browser.run(left) == before


def test_the_pointer_shows_the_value_of_the_nearest_point(browser: Chromium) -> None:
    browser.resize(1280, 800)
    browser.run("document.querySelector('figure').scrollIntoView({block: 'center'})")
    assert browser.run("document.querySelector('.tip').hidden") is True
    x, y = browser.run(
        "(() => { const b = document.querySelector('figure [data-tip]').getBoundingClientRect();"
        "return [b.left + b.width / 2 + 3, b.top + b.height / 2]; })()"
    )
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    browser.wait("!document.querySelector('.tip').hidden")
    name, value = browser.run("document.querySelector('.tip').textContent").split("\n")
    assert name in NAMES
    assert "steps: 0.00 [0.00, " in value
    assert set(browser.run("[...document.querySelectorAll('svg .picked')].map(e => e.dataset.series)")) == {name}
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    browser.wait("document.querySelector('.tip').hidden")


def test_a_switch_hides_an_algorithm_in_tables_and_pictures(browser: Chromium) -> None:
    shown = f"[...document.querySelectorAll('[data-series={NAMES[3]}]')].filter(e => e.getClientRects().length).length"
    assert browser.run(shown) > 10
    browser.click(f"input[value={NAMES[3]}]")
    browser.wait(f"{shown} === 0")
    browser.click(f"input[value={NAMES[3]}]")
    browser.wait(f"{shown} > 10")


def test_the_list_of_runs_can_be_searched(browser: Chromium) -> None:
    rows = "[...document.querySelectorAll('table.text tr')].filter(e => e.offsetHeight).length"
    browser.run("document.querySelector('input[type=search]').focus()")
    browser.send("Input.insertText", text=f"{NAMES[11]}__0 finished")
    browser.wait(f"{rows} === 2")


def test_the_page_has_a_dark_mode(browser: Chromium) -> None:
    colours = "(() => { const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]; })()"
    ink, paper = browser.run(colours)
    browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert browser.run(colours) != [ink, paper]
    patch = browser.run("getComputedStyle(document.querySelector('figure svg path')).fill")
    assert patch == browser.run(colours)[1], "the background of pictures is that of the page"
