import json
import zlib
from pathlib import Path

import pytest
import translation_pools as pools

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import DataSet
from hybridtune.data.readers.sources import parse_groups
from hybridtune.errors import InputError
from hybridtune.translate.agreement import parse_thresholds
from hybridtune.translate.checks import Checks
from hybridtune.translate.run import TranslateOptions, translate
from hybridtune.translate.wanted import parse_wanted

ANSWERS = {
    "sw": "Daraja la mji huo lilifunguliwa na meya mpya wa jiji hilo, namba",
    "ha": "Sabon magajin garin ya buɗe gadar garin a ranar Litinin, lamba",
}


def answer(text, target):
    """A sentence of the language, of like length, with a number that stands for the text."""
    return f"{ANSWERS[target]} {zlib.crc32(text.encode())}"


class Said(StudyCallback):
    def __init__(self):
        self.lines, self.phases = [], []

    def on_message(self, text):
        self.lines.append(text)

    def on_phase_progress(self, phase, done, total):
        self.phases.append((phase, done, total))


@pytest.fixture
def run(folders, tmp_path, groups_file):
    """Translates rows by an engine that is no model; returns (report, groups, what it was asked, what was said)."""

    def call(rows, engine=answer, *, to="sw,ha", side="both", model="OPUS-MT", name="out.jsonl", **options):
        calls, said = [], Said()
        given = TranslateOptions(
            model=str(folders[model]),
            wanted=parse_wanted(side, to, "en", None),
            out=str(tmp_path / name),
            engine="transformers",
            cache=tmp_path / "cache",
            **options,
        )
        data = [DataSet(path=str(groups_file(rows)))]
        report = translate(data, given, said, pools.of(engine, calls))
        return report, list(parse_groups(str(tmp_path / name))), calls, said

    return call


def rows(count=3):
    return [
        {
            "group_id": f"g{n}",
            "document_id": f"d{n}",
            "queries": {"en": f"Who opened the bridge number {n}?"},
            "passages": {"en": f"The bridge number {n} was opened by the mayor of the town."},
        }
        for n in range(count)
    ]


def test_groups_of_one_language_become_parallel(run):
    report, groups, calls, said = run(rows())
    assert [group.group_id for group in groups] == ["g0", "g1", "g2"]
    for n, group in enumerate(groups):
        assert group.document_id == f"d{n}"
        assert group.queries == {
            "en": f"Who opened the bridge number {n}?",
            "sw": answer(group.queries["en"], "sw"),
            "ha": answer(group.queries["en"], "ha"),
        }
        assert set(group.passages) == {"en", "sw", "ha"}
    assert len(calls) == 12
    assert report["added"] == {"queries": 6, "passages": 6}
    assert (report["texts"], report["distinct"], report["translated"], report["from_cache"]) == (12, 12, 12, 0)
    assert ("translating", 12, 12) in said.phases
    assert said.phases[-1] == ("checking", 12, 12)


def test_flat_pairs_become_groups_of_translations(folders, tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text("question,answer\nWho opened the bridge?,The mayor of the town.\nWhen was it?,On a Monday.\n")
    options = TranslateOptions(
        model=str(folders["OPUS-MT"]),
        wanted=parse_wanted("both", "sw", None, None),
        out=str(tmp_path / "out.jsonl"),
        engine="transformers",
        cache=tmp_path / "cache",
    )
    translate([DataSet(path=str(table), language="en")], options, Said(), pools.of(answer))
    groups = list(parse_groups(str(tmp_path / "out.jsonl")))
    assert [set(group.queries) for group in groups] == [{"en", "sw"}] * 2
    assert groups[1].passages == {"en": "On a Monday.", "sw": answer("On a Monday.", "sw")}


def test_every_row_and_the_report_say_what_translated_it(run, tmp_path):
    report, groups, *_ = run(rows(1))
    assert groups[0].translated == {"queries": {"sw": "en", "ha": "en"}, "passages": {"sw": "en", "ha": "en"}}
    assert groups[0].translation == {"engine": "transformers", "model": "opus-mt", "licence": "cc-by-4.0"}
    assert json.loads((tmp_path / "out.jsonl.report.json").read_text()) == report
    assert report["settings"]["compute_type"] == "float32"
    assert (report["engine"], report["family"]) == ("transformers", "OPUS-MT")
    assert str(tmp_path) not in json.dumps({**report, "file": ""})


def test_nllb_s_licence_goes_to_screen_report_and_rows(run):
    report, groups, _, said = run(rows(1), model="NLLB-200")
    assert groups[0].translation["licence"] == "cc-by-nc-4.0"
    assert "not for commercial use" in report["notice"]
    assert any("CC-BY-NC" in line for line in said.lines)


def test_texts_that_are_there_are_never_replaced(run):
    given = rows(1)
    given[0]["queries"]["sw"] = "Nani alifungua daraja?"
    _, groups, calls, _ = run(given, to="sw")
    assert groups[0].queries["sw"] == "Nani alifungua daraja?"
    assert groups[0].translated == {"passages": {"sw": "en"}}
    assert [direction for direction, _ in calls] == ["en-sw"]


def test_a_group_that_lacks_nothing_or_has_no_source_stays_as_it_is(run):
    given = [*rows(1), {"group_id": "fr", "queries": {"fr": "Qui ?"}, "passages": {"fr": "Le maire."}}]
    report, groups, _, said = run(given, to="sw")
    assert groups[1].queries == {"fr": "Qui ?"}
    assert groups[1].translation == {}
    assert report["left_alone"] == {"queries: none in en": 1, "passages: none in en": 1}
    assert any("left alone: 1 queries: none in en" in line for line in said.lines)


def test_equal_texts_are_translated_once_and_a_rerun_translates_nothing(run, tmp_path):
    given = rows(4)
    for row in given:
        row["passages"] = {"en": "One passage that all of the groups have."}
    report, _, calls, _ = run(given, to="sw")
    assert len(calls) == len(set(calls)) == 5
    assert report["added"] == {"queries": 4, "passages": 4}
    first = (tmp_path / "out.jsonl").read_bytes()
    report, _, calls, _ = run(given, to="sw")
    assert calls == []
    assert (report["translated"], report["from_cache"]) == (0, 5)
    assert (tmp_path / "out.jsonl").read_bytes() == first


def test_more_languages_translate_only_what_is_new(run):
    run(rows(), to="sw")
    _, _, calls, _ = run(rows(5), to="sw,ha")
    assert len(calls) == 2 * 2 + 5 * 2  # two more groups into Swahili, all into Hausa


def test_what_is_refused_is_left_out_and_counted_never_its_group(run):
    def spoilt(text, target):
        return "" if "number 1?" in text else answer(text, target)

    report, groups, *_ = run(rows(), spoilt, to="sw")
    assert [sorted(group.queries) for group in groups] == [["en", "sw"], ["en"], ["en", "sw"]]
    assert groups[1].translated == {"passages": {"sw": "en"}}
    assert report["dropped"] == {"empty": 1}
    assert report["dropped_by_direction"] == {"en-sw": {"empty": 1}}
    assert report["examples"] == {
        "empty": [{"direction": "en-sw", "source": "Who opened the bridge number 1?", "translation": ""}]
    }


def test_a_translation_in_another_language_is_refused(run):
    report, groups, *_ = run(rows(1), lambda text, target: answer(text, "sw"), to="ha", side="queries")
    assert report["dropped"] == {"wrong language": 1}
    assert set(groups[0].queries) == {"en"}
    assert report["language_not_checked"] == []


def test_a_translation_that_is_a_hard_negative_of_its_group_is_left_out(run):
    given = rows(2)
    given[0]["negatives"] = {"sw": [answer(given[0]["passages"]["en"], "sw")]}
    report, groups, *_ = run(given, to="sw")
    assert sorted(groups[0].passages) == ["en"]
    assert sorted(groups[1].passages) == ["en", "sw"]
    assert report["dropped"] == {"is a hard negative of its group": 1}


def test_translations_of_two_models_name_both(run, tmp_path):
    run(rows(1), to="sw")
    first = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    _, groups, *_ = run(first, to="ha", model="M2M-100", name="second.jsonl")
    assert groups[0].translation == {
        "engine": "transformers",
        "model": "opus-mt; m2m-100",
        "licence": "cc-by-4.0; mit",
    }
    assert groups[0].translated["queries"] == {"sw": "en", "ha": "en"}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_each_native_form_is_written(run, tmp_path, suffix):
    _, groups, *_ = run(rows(2), name=f"out{suffix}")
    assert groups[1].translated["passages"] == {"sw": "en", "ha": "en"}
    assert (tmp_path / f"out{suffix}.report.json").is_file()


def test_translating_back_measures_and_a_threshold_refuses(run):
    sources = {answer(text, "sw"): text for text in (row["queries"]["en"] for row in rows())}

    def there_and_back(text, target):
        if target == "sw":
            return answer(text, target)
        back = sources[text]
        return back if "2?" not in back else "Nothing of the kind, at all"

    report, groups, calls, _ = run(rows(), there_and_back, to="sw", side="queries", agreement="back", model="M2M-100")
    assert sum(direction == "sw-en" for direction, _ in calls) == 3
    assert (report["translated"], report["from_cache"]) == (3, 0)  # those back are no texts of the groups
    assert report["agreement"]["en-sw"]["texts"] == 3
    assert report["agreement"]["en-sw"]["75%"] == 100.0
    assert all("sw" in group.queries for group in groups)  # measured alone
    thresholds = parse_thresholds("0,en-sw=60")
    report, groups, calls, _ = run(
        rows(), there_and_back, to="sw", side="queries", agreement="back", thresholds=thresholds, model="M2M-100"
    )
    assert calls == []  # both ways are cached
    assert ["sw" in group.queries for group in groups] == [True, True, False]
    assert report["dropped"] == {"back below 60": 1}


def test_similarity_by_an_encoder_measures_and_refuses(run, tiny):
    _, encoder, _ = tiny
    report, _, *_ = run(rows(), to="sw", agreement="similarity", encoder=encoder)
    found = report["agreement"]["en-sw"]
    assert found["texts"] == 6
    assert -1 <= found["5%"] <= found["75%"] <= 1
    report, groups, *_ = run(
        rows(), to="sw", agreement="similarity", encoder=encoder, thresholds=parse_thresholds("1.1")
    )
    assert report["dropped"] == {"similarity below 1.1": 6}
    assert all(set(group.queries) == {"en"} for group in groups)


def test_an_estimate_translates_a_sample_and_keeps_nothing(run, taught, groups_file, tmp_path):
    options = TranslateOptions(
        model=str(taught),
        wanted=parse_wanted("both", "sw", "en", None),
        out=str(tmp_path / "out.jsonl"),
        engine="transformers",
        cache=tmp_path / "cache",
        estimate=True,
    )
    found = translate([DataSet(path=str(groups_file(rows(20))))], options, Said())
    assert (found["texts"], found["distinct"], found["left"]) == (40, 40, 40)
    assert found["by_direction"] == {"en-sw": 40}
    assert found["tokens"] > 40
    assert found["seconds"] >= 0  # in tenths of a second, which a fast machine rounds to none
    assert found["cache_bytes"] > found["file_bytes"] > 0
    assert 0 < found["measured"]["texts"] <= 40
    assert not (tmp_path / "out.jsonl").exists()
    assert translate([DataSet(path=str(groups_file(rows(20))))], options, Said())["from_cache"] == 0


def test_real_translations_are_checked_and_written(taught, groups_file, tmp_path):
    calls = []
    options = TranslateOptions(
        model=str(taught),
        wanted=parse_wanted("both", "sw,ha", "en", None),
        out=str(tmp_path / "out.jsonl"),
        max_tokens=48,
        cache=tmp_path / "cache",
        checks=Checks(ratio=100.0, repeats=50),
    )
    data = [DataSet(path=str(groups_file(rows(8))))]
    report = translate(data, options, Said(), pools.here(calls))
    assert report["engine"] == "ctranslate2"
    assert report["settings"]["compute_type"] == "int8"
    assert report["translated"] == len(calls) == len(set(calls)) == 32
    assert sum(report["added"].values()) + sum(report["dropped"].values()) == 32
    assert sum(report["added"].values()) > 16


def test_data_with_nothing_to_translate_is_refused(run, tmp_path):
    given = [{"group_id": "1", "queries": {"fr": "Qui ?"}, "passages": {"fr": "Le maire."}}]
    with pytest.raises(InputError, match=r"nothing to translate: no group lacks sw .*1 queries: none in en"):
        run(given, to="sw")
    assert not list(tmp_path.glob("out*"))
    assert not (tmp_path / "cache").exists()


def test_a_source_language_that_the_model_lacks_is_refused_before_anything_is_written(folders, groups_file, tmp_path):
    options = TranslateOptions(
        model=str(folders["OPUS-MT"]),
        wanted=parse_wanted("both", "sw", None, None),
        out=str(tmp_path / "out.jsonl"),
        cache=tmp_path / "cache",
    )
    data = groups_file([{"group_id": "1", "queries": {"fr": "Qui ?"}, "passages": {"fr": "Le maire."}}])
    with pytest.raises(InputError, match="does not translate from fr; it has en"):
        translate([DataSet(path=str(data))], options, Said(), pools.here())
    assert not Path(tmp_path / "cache").exists()


def test_translating_back_needs_a_model_of_both_directions(run, tmp_path):
    with pytest.raises(InputError, match="does not translate to en; it has ha, sw"):
        run(rows(), to="sw", agreement="back")
    assert not (tmp_path / "cache").exists()


def test_thresholds_need_a_check_and_similarity_an_encoder(run):
    with pytest.raises(InputError, match="--threshold is of --check back or --check similarity"):
        run(rows(), thresholds=parse_thresholds("30"))
    with pytest.raises(InputError, match="--check similarity needs --encoder"):
        run(rows(), agreement="similarity")
    with pytest.raises(InputError, match="--threshold a=b: 'b' is no number"):
        parse_thresholds("a=b")
