"""The report in a real browser, as a person opens it: from disk, without a network."""

import contextlib
import csv
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from made_study import made_study

from hybridtune.report.page import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 120_000  # milliseconds; a busy machine is no failure
WIDTHS = (1280, 390)
NASTY = "</script><script>window.hacked=1</script>"

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH; `make browser` installs it"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def report_file(finished_study, tmp_path_factory):
    folder = shutil.copytree(finished_study, tmp_path_factory.mktemp("browser") / "study")
    return Path(write_report(folder))


class Seen:
    """A page of the browser, and what it asked for and complained of."""

    def __init__(self, browser, url, width=1280, **options):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)
        self.page.goto(url)

    def draw_all(self):
        """Scrolls to every chart and waits until it is drawn; returns how many there are."""
        plots = [plot for plot in self.page.query_selector_all(".plot") if plot.is_visible()]  # no trial's page is open
        for plot in plots:
            plot.scroll_into_view_if_needed()
            self.page.wait_for_function("plot => plot.dataset.drawn && plot.querySelector('svg.main-svg')", arg=plot)
        return len(plots)


@contextlib.contextmanager
def opened(browser, file, **options):
    seen = Seen(browser, file.as_uri(), **options)
    try:
        yield seen
    finally:
        seen.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_chart_draws_within_the_page_and_nothing_leaves_it(browser, report_file, width, scheme):
    with opened(browser, report_file, width=width, color_scheme=scheme) as seen:
        assert seen.draw_all() >= 8
        assert seen.complaints == []
        assert seen.requests == [report_file.as_uri()]
        sizes = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        scroll, client = seen.page.evaluate(sizes)
        assert scroll <= client
        wide = """() => [...document.querySelectorAll('.plot[data-drawn]')].filter(plot => {
            const drawing = plot.querySelector('svg.main-svg').getBoundingClientRect();
            return drawing.width > plot.clientWidth + 1 || drawing.height > plot.clientHeight + 1;
        }).map(plot => plot.id)"""
        assert seen.page.evaluate(wide) == []


def test_paper_has_every_chart_though_none_was_looked_at(browser, report_file, tmp_path):
    with opened(browser, report_file, color_scheme="dark") as seen:
        seen.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        drawn = """[...document.querySelectorAll('article:not(.trial *) > .plot')]
            .map(plot => plot.querySelectorAll('svg.main-svg').length)"""
        assert min(seen.page.evaluate(drawn)) >= 1
        assert seen.page.locator(".trial svg.main-svg").count() == 0  # nor is a trial's page printed that is not open
        seen.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        seen.page.pdf(path=tmp_path / "report.pdf")
        assert seen.complaints == []
        assert seen.draw_all() >= 8  # on the screen they are drawn as before
    assert (tmp_path / "report.pdf").stat().st_size > 100_000


def saved(page, button):
    """What the browser writes when a button is pressed."""
    with page.expect_download() as download:
        button.click()
    return download.value.suggested_filename, Path(download.value.path()).read_text(encoding="utf-8")


def test_a_table_is_taken_away_as_csv_and_a_chart_as_svg(browser, report_file):
    with opened(browser, report_file, accept_downloads=True) as seen:
        name, text = saved(seen.page, seen.page.locator("#trials .caption .save").first)
        rows = list(csv.DictReader(text.splitlines()))
        assert name.endswith(".csv")
        assert [float(row["multi/AP"]) for row in rows if row["multi/AP"]] == pytest.approx(
            numbers(column(seen.page, "multi/AP")), abs=6e-5
        )
        name, text = saved(seen.page, seen.page.locator("article h3 .save").first)
        assert name.endswith(".svg")
        assert text.startswith("<svg")
        assert seen.complaints == []
        assert seen.requests[:1] == [report_file.as_uri()]
        assert all(request.startswith(("blob:", "file:")) for request in seen.requests)


def column(page, name):
    """A column of the trials' table, top to bottom."""
    script = """name => {
        const table = document.querySelector('#trials table');
        const at = [...table.tHead.rows[0].cells].findIndex(head => head.textContent === name);
        return [...table.tBodies[0].rows].map(row => row.cells[at].textContent);
    }"""
    return page.evaluate(script, name)


def numbers(texts):
    return [float(text) for text in texts if text != "–"]


def test_a_press_on_a_heading_sorts_and_another_turns_the_order_round(browser, report_file):
    with opened(browser, report_file) as seen:
        head = seen.page.locator("#trials th", has=seen.page.get_by_role("button", name="multi/AP"))
        before = column(seen.page, "multi/AP")
        assert head.get_attribute("aria-sort") is None
        head.get_by_role("button").click()
        down = column(seen.page, "multi/AP")
        assert head.get_attribute("aria-sort") == "descending"
        assert numbers(down) == sorted(numbers(before), reverse=True) != numbers(before)
        assert down[-1] == "–"  # the trial that failed has no score
        head.get_by_role("button").click()
        up = column(seen.page, "multi/AP")
        assert head.get_attribute("aria-sort") == "ascending"
        assert numbers(up) == sorted(numbers(before))
        assert up[-1] == "–"


def test_the_keyboard_alone_sorts_and_the_focus_shows(browser, report_file):
    with opened(browser, report_file) as seen:
        page = seen.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        button = page.locator("#trials").get_by_role("button", name="status")
        button.focus()
        page.keyboard.press("Enter")
        assert column(page, "status") == sorted(column(page, "status"))
        assert page.locator("#trials th[aria-sort]").all_text_contents() == ["status"]
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "balanced/AP"
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Space")
        assert page.locator("#trials th[aria-sort]").all_text_contents() == ["balanced/AP"]


def test_a_heading_is_heard_by_its_name_and_its_arrow_is_seen(browser, report_file):
    with opened(browser, report_file) as seen:
        assert seen.page.locator("#trials").get_by_role("button", name="status", exact=True).count() == 1
        arrow = "getComputedStyle(document.querySelector('#trials th button'), '::after').color"
        note = "getComputedStyle(document.querySelector('.note')).color"
        assert seen.page.evaluate(arrow) == seen.page.evaluate(note)


def shown_trials(page):
    return page.locator("#trials tbody tr:visible th").all_text_contents()


def test_the_table_of_trials_is_filtered_by_arm_state_name_and_objective(browser, report_file):
    with opened(browser, report_file, accept_downloads=True) as seen:
        page, filters = seen.page, seen.page.get_by_role("group", name="Filter the trials")
        every = shown_trials(page)
        filters.get_by_label("arm").select_option("tuned")
        assert shown_trials(page) == [name for name in every if name.startswith("trial")]
        filters.get_by_label("status").select_option("done")
        assert len(shown_trials(page)) == 2
        assert filters.get_by_role("status").inner_text() == f"2 of {len(every)} shown"
        filters.get_by_label("arm").select_option("all")
        filters.get_by_label("status").select_option("all")
        filters.get_by_label("name has").press_sequentially("ONLY")
        assert [name.split()[0] for name in shown_trials(page)] == ["mono-only", "cross-only"]
        _, text = saved(page, page.locator("#trials .caption .save").first)
        assert len(text.splitlines()) == 1 + 2
        filters.get_by_label("name has").fill("")
        scores = numbers(column(page, "balanced/AP"))
        least = sorted(scores)[2]
        filters.get_by_label("balanced/AP at least").fill(str(least))
        assert len(shown_trials(page)) == sum(score >= least for score in scores)
        assert seen.complaints == []


def test_a_trial_has_a_page_of_its_own_and_a_way_back(browser, report_file):
    with opened(browser, report_file) as seen:
        page = seen.page
        assert page.locator(".trial:visible").count() == 0
        page.locator("#trials tbody a").nth(3).press("Enter")
        assert page.url.endswith("#trial-0003")
        page.wait_for_selector("#trial-0003-curves svg.main-svg")
        assert page.locator("main > section:visible").evaluate_all("all => all.map(one => one.id)") == ["trial-0003"]
        page.get_by_role("link", name="All trials").click()
        assert page.locator("#trials table").first.is_visible()
        assert page.locator(".trial:visible").count() == 0
        assert seen.complaints == []
        assert seen.requests == [report_file.as_uri()]


def test_a_trial_has_its_page_without_scripts(browser, report_file):
    with opened(browser, report_file, java_script_enabled=False) as seen:
        seen.page.locator("#trials tbody a").nth(3).click()
        assert seen.page.locator("#trial-0003 table").first.is_visible()
        assert not seen.page.locator("#trials").is_visible()


def test_a_line_of_many_is_highlighted_by_name_and_let_go(browser, report_file):
    with opened(browser, report_file) as seen:
        seen.draw_all()
        select = seen.page.locator("#charts-the-search").get_by_label("highlight")
        faint = "document.getElementById('parallel').data.filter(line => line.opacity < 0.2).length"
        lines = seen.page.evaluate("document.getElementById('parallel').data.length")
        select.select_option(index=1)
        seen.page.wait_for_function(f"{faint} === {lines - 1}")
        select.select_option("none")
        seen.page.wait_for_function(f"{faint} === 0")
        assert seen.complaints == []


def test_dark_mode_changes_the_ground_and_the_charts_and_back(browser, report_file):
    with opened(browser, report_file, color_scheme="light") as seen:
        page = seen.page

        def colours():
            plot = page.locator(".plot").first
            plot.scroll_into_view_if_needed()
            page.wait_for_function("() => document.querySelector('.plot .ytick text')")
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            return ground, plot.locator(".ytick text").first.evaluate("tick => getComputedStyle(tick).fill")

        light = colours()
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(
            "before => getComputedStyle(document.querySelector('.plot .ytick text')).fill !== before", arg=light[1]
        )
        dark = colours()
        assert sum(levels(light[0])) > 3 * 200 > 3 * 60 > sum(levels(dark[0]))
        assert sum(levels(dark[1])) > 3 * 200 > 3 * 60 > sum(levels(light[1]))
        page.emulate_media(color_scheme="light")
        page.wait_for_function(
            "before => getComputedStyle(document.querySelector('.plot .ytick text')).fill !== before", arg=dark[1]
        )
        assert colours() == light
        assert seen.complaints == []


def levels(colour):
    return [float(part) for part in re.findall(r"[\d.]+", colour)[:3]]


def test_user_text_runs_nothing(browser, tmp_path):
    languages = ("de", NASTY, "<img src=x onerror=window.hacked=1>")
    extra = {"lora_targets": [NASTY, "<!--", "<b>bold</b>"]}
    file = Path(write_report(made_study(tmp_path / "<b>&", languages=languages, extra=extra)))
    with opened(browser, file) as seen:
        seen.draw_all()
        assert seen.page.evaluate("window.hacked === undefined")
        assert seen.complaints == []
        assert seen.requests == [file.as_uri()]
        assert NASTY in seen.page.locator("#counts table").inner_text()


def test_without_scripts_the_tables_are_there(browser, report_file):
    with opened(browser, report_file, java_script_enabled=False) as seen:
        assert seen.page.locator("#trials table").is_visible()
        assert not seen.page.locator(".plot").first.is_visible()
        details = seen.page.locator("article details").first
        details.locator("summary").click()
        assert details.locator("table").is_visible()


def test_a_study_that_runs_has_a_page_without_complaints(browser, tmp_path):
    folder = made_study(tmp_path / "study", finished=False)
    (folder / "optuna.db").unlink()
    (folder / "trials.jsonl").write_text("", encoding="utf-8")
    with opened(browser, Path(write_report(folder))) as seen:
        assert "has not ended" in seen.page.get_by_role("status").inner_text()
        assert seen.complaints == []


@contextlib.contextmanager
def dashboard(storage):
    """optuna-dashboard on a free port of this machine, for as long as the block runs; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = str(Path(sys.executable).with_name("optuna-dashboard"))
    command = [program, storage, "--host", "127.0.0.1", "--port", str(port), "--server", "wsgiref"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        for line in process.stderr:
            if "Listening" in line or "Hit Ctrl-C" in line:
                break
        else:
            pytest.fail("optuna-dashboard ended before it listened")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


def test_optuna_dashboard_lists_every_trial(browser, study_copy):
    pytest.importorskip("optuna_dashboard", reason="needs optuna-dashboard: pip install optuna-dashboard")
    with dashboard(f"sqlite:///{study_copy / 'optuna.db'}") as address:
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(address)
        page.get_by_text("made").first.click()
        page.wait_for_url("**/studies/1**")
        page.goto(f"{address}/dashboard/studies/1/trials")
        page.get_by_text("7 Trials").wait_for()
        states = ["Complete"] * 4 + ["Pruned", "Complete", "Fail"]
        shown = re.findall(r"Trial (\d+)\n(Complete|Pruned|Fail|Running|Waiting)\n", page.locator("body").inner_text())
        assert shown == [(str(number), state) for number, state in enumerate(states)]
        context.close()
