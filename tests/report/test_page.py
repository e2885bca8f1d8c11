import base64
import hashlib
import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest
from chart_records import contrast
from click.testing import CliRunner
from made_study import LANGUAGES, made_study
from markupsafe import escape

from hybridtune.cli.main import cli
from hybridtune.report import sentences as words
from hybridtune.report.page import write_report
from hybridtune.report.record import read_record
from hybridtune.report.render import environment
from hybridtune.report.scripts import script_json
from hybridtune.report.text import Cell, Table, format_value
from hybridtune.storage.events import Event, append_event
from hybridtune.storage.files import remove
from hybridtune.storage.study_folder import FORMAT

NASTY = "</script><script>window.hacked=1</script>"
TEXTS = [NASTY, "<img src=x onerror=window.hacked=1>", "<!--", "\u2028a\u2029", "'\"&amp;", "a\x00b"]
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """What a page holds: its elements with their attributes, and the text of each kind of element."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.texts = [], [], {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def of(self, attribute):
        return [values[attribute] for _, values in self.elements if attribute in values]


def rows_of(folder):
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text("utf-8").splitlines()]


def unfinished(folder, rows):
    """Makes a folder that of a study that has these trials and has not ended."""
    (folder / "result.json").unlink(missing_ok=True)
    (folder / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return read_record(folder)


def written(folder):
    return Path(write_report(folder)).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(finished_study):
    return written(finished_study)


def test_the_same_folder_gives_the_same_bytes(finished_study, text, tmp_path):
    assert written(finished_study) == text


def test_the_outline_is_in_order_and_every_reference_has_its_end(text):
    page = Page(text)
    assert page.open == []
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = page.of("id")
    assert len(set(ids)) == len(ids)
    named = [name for value in page.of("aria-labelledby") + page.of("aria-describedby") for name in value.split()]
    assert set(named) <= set(ids)
    assert {link.removeprefix("#") for link in page.of("href")} <= set(ids)
    assert ("html", {"lang": "en"}) in page.elements
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in page.elements}
    order = ["Result", "Trials", "Requested and realised", "Training counts", "Repeat it", "Go on"]
    assert [title for title in page.texts["h2"] if title in order] == order


def test_tables_scroll_in_regions_of_their_own_that_the_keyboard_reaches(text):
    page = Page(text)
    regions = [attributes for tag, attributes in page.elements if attributes.get("role") == "region"]
    assert len(regions) == sum(tag == "table" for tag, _ in page.elements)
    assert all(region["tabindex"] == "0" and region["aria-labelledby"] for region in regions)


def test_nothing_leaves_the_page(text):
    page = Page(text)
    policy = next(values["content"] for tag, values in page.elements if values.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert not page.of("src")
    assert all(link.startswith("#") for link in page.of("href"))
    assert not any(tag in ("link", "iframe", "object", "base", "form") for tag, _ in page.elements)


@pytest.mark.parametrize("drawn", [True, False])
def test_the_page_runs_its_own_scripts_by_their_hashes_and_no_other(finished_study, text, tmp_path, drawn):
    if not drawn:  # before the first trial nothing is drawn, and the library stays out
        folder = shutil.copytree(finished_study, tmp_path / "study")
        for name in ("optuna.db", "trials"):
            remove(str(folder / name))
        unfinished(folder, [])
        text = written(folder)
    page = Page(text)
    policy = next(values["content"] for tag, values in page.elements if values.get("http-equiv"))
    (sources,) = (part.split()[1:] for part in policy.split("; ") if part.startswith("script-src "))
    data, *scripts = page.texts["script"]
    assert len(scripts) == (2 if drawn else 1)
    assert scripts[-1].startswith('"use strict";')
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert sources == [f"'sha256-{one}'" for one in hashes]
    assert "\r" not in "".join(scripts)  # a browser hashes what it has read, with other line ends
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert not any(link.startswith("javascript:") for link in page.of("href"))
    assert json.loads(data) is not None  # no script: it has a type of its own


def test_user_text_is_text(tmp_path):
    folder = made_study(
        tmp_path / "a<b>&'c", languages=("de", NASTY, TEXTS[1]), extra={"lora_targets": TEXTS, NASTY: NASTY}
    )
    command = " ".join(["hybridtune", "run", *TEXTS])
    (folder / "environment.json").write_text(
        json.dumps({"format": FORMAT, "command": command, "packages": {NASTY: NASTY}}), "utf-8"
    )
    page = Page(written(folder))
    assert not any(tag == "img" for tag, _ in page.elements)
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "figures"}, {}, {}]  # figures, the library, the page's own
    figures = page.texts["script"][0]
    assert json.loads(figures)
    assert not set("<>&\u2028\u2029") & set(figures)
    shown = "".join(page.texts["code"])
    assert NASTY in shown
    assert "<!--" in shown
    assert NASTY in "".join(page.texts["td"]) + "".join(page.texts["th"])


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("hybridtune run --set a=postgresql://me:s3cret/@host/db b:c@d", "a=postgresql://me:***@host/db b:c@d"),
        (
            "hybridtune run --set 'a=mysql://host/db?password=s3cret' --set b=mysql://me:${PASS}@host/db",
            "b=mysql://me:${PASS}@host/db",
        ),
    ],
)
def test_a_password_is_not_passed_on_and_a_variable_is(study_copy, command, shown):
    (study_copy / "environment.json").write_text(json.dumps({"command": command}), "utf-8")
    text = written(study_copy)
    assert "s3cret" not in text
    assert shown in text


def test_the_papers_table_has_every_figure_with_its_interval_and_its_count(finished_study, text):
    rows = rows_of(finished_study)
    start = text.index("The paper&#39;s comparison")
    table = text[start : text.index("</table>", start)]
    for row in rows[:3]:
        start = table.index(f">{row['arm']}")
        line = table[start : table.index("</tr>", start)]
        for name in ("mono/AP", "cross/AP", "multi/AP", "balanced/AP"):
            value = row["metrics"][name]
            low, high = re.search(rf"{value:.4f}<small>([\d.]+) to ([\d.]+)</small>", line).groups()
            assert float(low) <= value <= float(high)
    queries = 12 * len(LANGUAGES)
    assert f"Queries: {queries} mono, {queries} cross, {queries} multi; pool of {20 * len(LANGUAGES)} passages" in text
    assert "intervals over 12 topics" in text


def test_several_objectives_show_the_front(three_goals):
    page = Page(written(three_goals))
    front = json.loads((three_goals / "result.json").read_text("utf-8"))["front"]
    assert any("On the Pareto front of mono/AP, multi/AP and multi/rank_distance" in text for text in page.texts["p"])
    assert sum(", front" in text or ", best" in text for text in page.texts["th"]) >= len(front)


def test_a_study_that_was_cut_off_says_so_and_shows_what_it_has(study_copy):
    (study_copy / "result.json").unlink()
    text = written(study_copy)
    assert "has not ended, and no trial of it runs now" in text
    assert "scored on the test benchmark when the study ends" in text
    assert f"hybridtune run {study_copy}/study.yaml --out {study_copy}" in text
    assert "hybridtune evaluate" not in text
    assert "trial 5" in text


def test_a_study_before_its_first_trial_has_a_report(study_copy):
    for name in ("trials.jsonl", "result.json", "optuna.db"):
        (study_copy / name).unlink()
    text = written(study_copy)
    assert "No trial has come to its last step yet." in text
    assert "No trial yet." in text
    assert "optuna.db): its charts are missing" in text


def test_a_study_that_runs_says_how_its_arms_stand(study_copy):
    rows = rows_of(study_copy)
    rows[1]["metrics"]["balanced/AP"] = 0.99
    line = words.headline(unfinished(study_copy, rows))
    assert line.startswith("So far the best is half-half 1. On balanced/AP, by arm: tuned ")
    assert "half-half 0.9900 (half-half 1)" in line
    assert "tuned" not in words.headline(unfinished(study_copy, rows[:3]))


def test_what_is_missing_is_shown_as_missing_with_the_reason(study_copy, finished_study):
    shutil.rmtree(study_copy / "trials" / "0001" / "fit")
    rows = (study_copy / "trials.jsonl").read_text("utf-8").replace(str(finished_study), "/nowhere")
    (study_copy / "trials.jsonl").write_text(rows, "utf-8")
    text = written(study_copy)
    assert "No interval for half-half 1: its per-query values are gone with its checkpoint." in text
    assert "half-half 1: the scores of its best checkpoint are gone" in text


def test_the_headline_of_the_study_is_the_reports(study_copy):
    result = json.loads((study_copy / "result.json").read_text("utf-8"))
    line = "tuned is 0.002 above half-half with the file's values: +0.001 +- 0.003 from the mix"
    (study_copy / "result.json").write_text(json.dumps(result | {"headline": line}), "utf-8")
    assert f'<p class="headline">T{escape(line[1:]).replace("+-", "±")}.</p>' in written(study_copy)


def test_the_noise_check_is_shown(study_copy):
    one = {"first": 0.63, "by_seed": {"1": 0.62, "2": 0.6}, "mean": 0.61, "spread": 0.0141, "n": 2}
    other = {"first": 0.5, "by_seed": {"1": 0.5}, "mean": 0.5, "spread": None, "n": 1}
    apart = {
        **{"difference": 0.11, "low": 0.05, "high": 0.17, "standard_error": 0.02, "p_units": 0.001},
        **{"p_holm": 0.001, "units": 12, "p_seeds": None, "verdict": "better"},
    }
    repeats = {
        **{"n": 2, "seeds": [1, 2], "metrics": ["balanced/AP"], "other_values": {"balanced/AP": apart}},
        **{"unit": "document", "unit_note": ""},
        "contestants": {
            "tuned": {"trial": "0005", "values": {}, "failed": [], "metrics": {"balanced/AP": one}},
            "half-half": {"trial": "0001", "values": {}, "failed": ["half-half-s2"], "metrics": {"balanced/AP": other}},
        },
        "against": {"half-half": {"balanced/AP": apart}},
        "against_centred": {},
    }
    (study_copy / "repeats.json").write_text(json.dumps(repeats), "utf-8")
    text = written(study_copy)
    assert "0.6100<small>± 0.0141, n 2</small><small>first 0.6300</small>" in text
    assert "0.5000<small>n 1</small><small>first 0.5000</small>" in text
    assert "+0.1100<small>+0.0500 to +0.1700</small><small>better</small>" in text
    assert "Failed: half-half-s2." in text
    assert "see the noise check" in text
    assert "tuned against half-half" in text
    assert "tuned&#39;s other values against the file&#39;s" in text


def test_what_happened_to_a_study_is_shown_unless_it_went_through_in_one_run(study_copy):
    append_event(study_copy, Event(0.0, "began", "the study began"))
    append_event(study_copy, Event(60.0, "ended", "the run came to its end"))
    assert "What happened to the study" not in written(study_copy)
    append_event(study_copy, Event(90.0, "workers lost", "trial 3: a worker died at step 47", "0003", 47, 7))
    text = written(study_copy)
    assert "What happened to the study" in text
    assert "1970-01-01 00:01:30 UTC" in text
    assert "trial 3: a worker died at step 47" in text
    assert "1 run, 7 steps trained again" in text


def test_the_command_says_where_the_page_is(study_copy):
    done = CliRunner().invoke(cli, ["report", str(study_copy), "--json"])
    assert json.loads(done.stdout) == {"study": str(study_copy), "report": str(study_copy / "report.html")}
    assert done.stderr == ""  # the answer has it
    assert (study_copy / "report.html").stat().st_size > 1_000_000


def test_figures_have_the_digits_that_count():
    values = [None, float("nan"), 0.123456, 12.3456, 123.456, 12345.6, 7, 12345, "x", True, 0.0, 1e-5]
    shown = ["–", "–", "0.1235", "12.35", "123.5", "12,346", "7", "12,345", "x", "True", "0", "1e-05"]
    assert [format_value(value) for value in values] == shown


def test_cells_sort_by_their_values_and_missing_ones_have_none():
    table = Table("t", ["a", "b"], [[Cell("trial 10", 10), 0.25], ["x<", None]], sortable=True)
    html = str(environment("hybridtune.report").get_template("table.html.j2").module.show(table))
    assert 'data-value="10">trial 10' in html
    assert 'data-value="0.25">0.25' in html
    assert 'data-text="x&lt;">x&lt;' in html
    assert '<td class="number">–</td>' in html


@pytest.mark.parametrize("text", TEXTS)
def test_escaped_text_reads_back(text):
    template = environment("hybridtune.report").from_string('<p title="{{ text }}">{{ text }}</p>')
    page = Page(template.render(text=text))
    assert page.texts["p"] == [text.replace("\x00", "\ufffd")]
    assert page.of("title") == page.texts["p"]
    assert json.loads(script_json(json.dumps({text: text}, ensure_ascii=False))) == {text: text}


def colours(block):
    return {name: bytes.fromhex(colour) for name, colour in re.findall(r"--([\w-]+): #(\w{6})", block)}


def test_text_stands_out_from_its_ground_in_light_and_dark():
    css = (resources.files("hybridtune.report") / "static" / "report.css").read_text("utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    for scheme in (colours(light), colours(dark)):
        for ground in ("ground", "panel", "tint"):
            for text in ("ink", "soft", "accent"):
                assert contrast(scheme[text], scheme[ground]) >= 4.5
        assert contrast(scheme["warm"], scheme["warm-tint"]) >= 4.5
