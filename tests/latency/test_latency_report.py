"""Reports agree with the results files, in all formats, and state only what is valid."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
from latency_files import SERVER, absent, make_case, make_results, mixers, phone, profiled, run, sweep, table_e
from rich.console import Console

from evim_deploy.artifact.metadata import SCHEMA_VERSION
from evim_deploy.cli.report import report, show
from evim_deploy.common.errors import BadInput, NotInstalled
from latency.decision import SMALLEST_EFFECT, Verdict
from latency.judgement import CONTROL_SUFFIX, compare_with_baseline, judge
from latency.paper import paper_milliseconds, table_3, table_3_row, table_e_row
from latency.report import formatting
from latency.report.build import build
from latency.report.view import Forest, LatencyReport, Lines, Table
from latency.report.writing import render, write_report
from latency.results import Check, Memory, Reading, Results, to_json

HOSTILE = ["<script>alert(1)</script>", "a|b\n# c", "$\\frac{1}{0}$", '" onload="x', "</style><b>", "]]><!--"]


class Page(HTMLParser):
    """The tags, ids, links and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.append((name, value or ""))
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href"):
                self.links.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def files() -> list[Results]:
    return [run(), phone()]


@pytest.fixture(scope="module")
def page(files: list[Results]) -> str:
    return render(files, ".html")


def every_table(report: LatencyReport) -> list[Table]:
    return [table for section in report.sections for table in section.tables] + [report.figures]


def rows_of(table: Table) -> list[dict[str, object]]:
    return [{c.key: cell.value for c, cell in zip(table.columns, row.cells, strict=True)} for row in table.rows]


def first_table(results: Results) -> Table:
    return build([results]).sections[0].tables[0]


def test_figures_equal_the_judgement(files: list[Results]) -> None:
    found = {row["id"]: row for row in rows_of(build(files[:1]).figures)}
    judged, compared = judge(files[0]), compare_with_baseline(files[0])
    assert len(found) == len(judged)
    for case in files[0].cases:
        if case.id in judged and (summary := judged[case.id].summary):
            row = found[case.id]
            assert row["time_ms"] == pytest.approx(1e3 * summary.median / case.batch)
            assert row["samples"] == summary.count
            comparison = compared.get(case.id)
            if comparison and comparison.interval and case.subject.kind != "mixer":
                interval = comparison.interval
                assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == pytest.approx(
                    (interval.estimate, interval.low, interval.high)
                )
                assert row["verdict"] == comparison.verdict


def test_under_the_protocol_paper_a_time_is_the_mean(files: list[Results]) -> None:
    """The published scripts divide the batch by the mean."""
    paper = files[0].model_copy(update={"protocol": files[0].protocol.model_copy(update={"name": "paper"})})
    found = {row["id"]: row for row in rows_of(build([paper]).figures)}
    first = paper.cases[0]
    assert found[first.id]["time_ms"] == pytest.approx(1e3 * sum(first.samples) / len(first.samples) / first.batch)


def test_under_the_protocol_modelbench_extremes_do_not_count(files: list[Results]) -> None:
    """Apple's ModelBench reports the mean of the rounds' means without their 10 lowest and highest samples."""
    protocol = files[1].protocol.model_copy(update={"name": "modelbench"})
    found = {row["id"]: row for row in rows_of(build([files[1].model_copy(update={"protocol": protocol})]).figures)}
    first = files[1].cases[0]
    means = [sum(sorted(each.samples_s)[10:-10]) / (len(each.samples_s) - 20) for each in first.rounds]
    assert found[first.id]["time_ms"] == pytest.approx(1e3 * sum(means) / len(means))


def test_all_formats_say_the_same(files: list[Results], page: str) -> None:
    report = build(files)
    shown = " ".join(" ".join(Page(page).words).split())
    markdown = render(files, ".md")
    unescaped = re.sub(r"\\(.)", r"\1", markdown)
    for table in every_table(report)[:-1]:
        for row in table.rows:
            for cell in row.cells:
                assert cell.text in shown
                assert cell.text in unescaped
    for answer in report.answers:
        for sentence in answer.sentences:
            assert sentence in shown
            assert sentence in unescaped
    written = list(csv.DictReader(io.StringIO(render(files, ".csv"))))
    for row, values in zip(written, rows_of(report.figures), strict=True):
        assert {key: row[key] for key in values} == {k: "" if v is None else str(v) for k, v in values.items()}


def test_every_number_links_to_its_samples(files: list[Results], page: str) -> None:
    report, found = build(files), Page(page)
    anchors = {samples.anchor for samples in report.samples}
    own = {"time_ms", "p90_ms", "images_per_s", "ratio", "times_paper"}
    traced = 0
    for table in every_table(report):
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                if column.key in own and cell.value is not None and cell.text != "1":
                    assert cell.target in anchors
                    traced += 1
    assert traced > 100
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    by_id = {case.id: case for case in files[0].cases}
    for samples in report.samples:
        if (name := samples.source.split("'")[1]) in by_id and "virtual machine" in samples.source:
            shown = [sample for round_ in samples.rounds for sample in round_]
            assert shown == pytest.approx([1e3 * sample for sample in by_id.pop(name).samples])
    assert not [left for left in by_id.values() if left.samples]
    written = next(csv.DictReader(io.StringIO(render(files, ".csv"))))
    assert [float(s) for s in written["samples_ms"].replace(";", "").split()] == pytest.approx(
        [1e3 * sample for sample in files[0].cases[0].samples], rel=1e-5
    )


def test_controls_and_calibration_workloads_have_samples(files: list[Results]) -> None:
    titles = [samples.title for samples in build(files).samples]
    assert [title.partition(":")[0] for title in titles[-2:]] == ["control", "calibration workload"]


def test_the_page_needs_nothing_else(page: str) -> None:
    found = Page(page)
    assert all(link.startswith("#") for link in found.links)
    assert not {"script", "link", "iframe", "img", "object", "image"} & set(found.tags)
    assert not re.search(r"https?:|//\w|@import|url\((?!#)", page)
    assert "default-src 'none'" in page
    assert len(found.ids) == len(set(found.ids))
    assert "nan" not in re.findall(r"[a-z]+", " ".join(found.words).casefold())


def test_pictures_take_their_colours_from_the_page(page: str) -> None:
    style, _, body = page.partition("</style>")
    assert not re.search(r"#00f[a-f0-9]{3}\b|(?:fill|stroke): #(?!none)\w{6}", body)
    assert set(re.findall(r"var\((--[\w-]+)\)", body)) <= set(re.findall(r"(--[\w-]+):", style))


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_every_colour_can_be_read(page: str, theme: int) -> None:
    """WCAG's AA: 4.5 to 1 for text, on the page and on the tint behind the paper's figures."""
    colours = dict(re.findall(r"(--[\w-]+): (#\w{6})", page.split(":root")[1 + theme]))
    text = [name for name in colours if name not in ("--paper", "--rule", "--tint", "--warn-paper", "--warn-ink")]
    assert len(text) == 15
    assert min(contrast(colours[name], colours["--paper"]) for name in text) >= 4.5
    assert min(contrast(colours[name], colours["--tint"]) for name in ("--ink", "--faint")) >= 4.5
    assert contrast(colours["--warn-ink"], colours["--warn-paper"]) >= 4.5


def test_the_same_files_give_the_same_bytes() -> None:
    first, second = (render([make_results(table_e()[:3])], ".html") for _ in range(2))
    assert first == second


def test_names_are_escaped() -> None:
    changed = [make_case(name, 0.03 + 0.001 * place, group="g") for place, name in enumerate(["M4", *HOSTILE])]
    swept = [make_case(HOSTILE[2], side=side, setting=None) for side in (64, 128, 192)]
    results = make_results([*changed, *swept], incomplete_because=HOSTILE[0], complete=False)
    found = Page(render([results], ".html"))
    assert "script" not in found.tags
    assert "b" not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    shown = "".join(found.words)
    for name in (HOSTILE[0], HOSTILE[2], HOSTILE[3], HOSTILE[4]):
        assert shown.count(name) > 3
    markdown = render([results], ".md")
    assert "<script" not in markdown
    assert "\n# c" not in markdown
    assert r"a\|b \# c" in markdown


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"])
def test_a_name_is_never_a_formula_in_a_spreadsheet(name: str) -> None:
    row = next(csv.DictReader(io.StringIO(render([make_results([make_case(name)])], ".csv"))))
    assert row["model"] == f"'{name}"


def test_an_incomplete_run_says_so_first() -> None:
    results = make_results(table_e(), complete=False, incomplete_because="the budget ended")
    for suffix in (".html", ".md"):
        text = render([results], suffix)
        assert text.index("Incomplete: the budget ended") < text.index("takes 36")
    row = next(csv.DictReader(io.StringIO(render([results], ".csv"))))
    assert row["complete"] == "no"
    assert not [warning for warning in build([make_results(table_e())]).warnings if "Incomplete" in warning]


def test_an_undecided_ratio_is_neither_faster_nor_slower() -> None:
    results = make_results([make_case(), make_case("SHViT-S4", 0.03605)])
    (comparison,) = compare_with_baseline(results).values()
    assert comparison.interval is not None
    assert comparison.interval.estimate < 1
    assert comparison.verdict == Verdict.UNDECIDED
    _, row = rows_of(first_table(results))
    assert row["verdict"] == Verdict.UNDECIDED
    (answer,) = build([results]).answers
    assert any(sentence.startswith("Decides nothing: SHViT-S4") for sentence in answer.sentences)
    assert Verdict.FASTER not in " ".join(answer.sentences).casefold()


def noisy() -> Results:
    """A run with stolen CPU time, whose cases differ clearly."""
    stolen = [Reading(at_s=100.0, phase="during", steal_share=0.2)]
    return make_results([*table_e(), *sweep(), *mixers()], readings=stolen)


@pytest.mark.parametrize("baseline", [None, "SHViT-S4"])
def test_suspect_figures_announce_nothing(baseline: str | None) -> None:
    """No view has a verdict, a time beside the paper's, or a growth of the time."""
    view = build([noisy()], baseline)
    verdicts = [row.get("verdict") for table in every_table(view) for row in rows_of(table)]
    assert set(verdicts) <= {None, "baseline", Verdict.UNDECIDED}
    assert Verdict.UNDECIDED in verdicts
    assert {row["undecided_because"] for row in rows_of(view.figures)} == {None, "both figures are suspect"}
    forests = [plot for section in view.sections for plot in section.plots if isinstance(plot, Forest)]
    assert {row[-1] for plot in forests for row in plot.rows} == {Verdict.UNDECIDED}
    sentences = " ".join(sentence for answer in view.answers for sentence in answer.sentences)
    assert "Suspect: EfficientViM-M4 takes 36" in sentences or baseline
    assert "20% of the processor's time was stolen by others." in sentences
    assert "Decides nothing, because both figures are suspect: " in sentences
    for word in ("Faster", "Slower", "the paper's", "The time grows"):
        assert word not in sentences
    for suffix in (".html", ".md", ".csv"):
        assert not re.search(r"[▲▼]|faster|slower", render([noisy()], suffix, baseline), re.IGNORECASE)


def test_a_suspect_figure_among_valid_ones_says_why_in_its_sentence() -> None:
    unchecked = Check(status="not checked", against="no converter")
    members = [make_case(), make_case("SHViT-S4", 0.02, check=unchecked), make_case("FastViT-T12", 0.09)]
    (answer,) = build([make_results(members)]).answers
    assert answer.sentences[1].startswith("Slower: FastViT-T12 2.")
    assert answer.sentences[2].startswith("Decides nothing, because its own figure is suspect: SHViT-S4 0.5")
    assert answer.sentences[2].endswith("(its answers were not checked: no converter).")


def test_a_noise_bound_is_drawn_for_each_ratio() -> None:
    """Each group in a plot has its own bound."""
    first, *others = sweep()
    rounds = [
        each.model_copy(update={"samples_s": [(0.8 if each.index % 2 else 1.25) * sample for sample in each.samples_s]})
        for each in first.rounds
    ]
    control = first.model_copy(update={"id": f"{first.id}{CONTROL_SUFFIX}", "role": "control", "rounds": rounds})
    results = make_results([first, control, *others])
    (plot,) = [plot for plot in build([results]).sections[0].plots if isinstance(plot, Forest)]
    bounds = [noise for *_, noise, _ in plot.rows]
    assert bounds[0] > bounds[1] == SMALLEST_EFFECT


def test_too_few_rounds_give_no_ratio() -> None:
    results = make_results([make_case(rounds=2), make_case("SHViT-S4", 0.02, rounds=2)])
    table = first_table(results)
    _, row = rows_of(table)
    assert row.get("ratio") is None
    assert row["verdict"] == Verdict.UNDECIDED
    assert any("too few rounds" in note for note in table.notes)


def test_an_invalid_figure_is_not_a_conclusion() -> None:
    wrong = Check(status="different", against="PyTorch", error=0.4, tolerance=1e-4)
    results = make_results([make_case(), make_case("SHViT-S4", 0.01, check=wrong)])
    (answer,) = build([results]).answers
    assert answer.sentences[-1] == "Invalid: SHViT-S4; its answers differ: PyTorch."
    assert not any("Faster" in sentence for sentence in answer.sentences)
    assert rows_of(first_table(results))[1]["status"] == "invalid"
    assert any("1 invalid" in warning for warning in build([results]).warnings)


def test_a_suspect_figure_says_why() -> None:
    unchecked = Check(status="not checked", against="no converter")
    table = first_table(make_results([make_case(check=unchecked)]))
    assert rows_of(table)[0]["status"] == "suspect"
    assert "its answers were not checked: no converter" in table.notes


def test_an_unavailable_case_has_advice_and_is_not_a_failure() -> None:
    report = build([make_results([make_case(), *absent()])])
    gpu = report.sections[1].tables[0]
    assert {row["status"] for row in rows_of(gpu)} == {"not run on this host"}
    assert any("run the same command on a machine with an NVIDIA GPU" in note for note in gpu.notes)
    assert report.answers[1].sentences[0].startswith("Not run on this host: there is no CUDA device")


def test_a_phone_s_file_stands_for_what_was_not_run() -> None:
    report = build([make_results([make_case(), *absent()]), phone()])
    (section,) = [section for section in report.sections if section.title.startswith("Core ML")]
    assert {row["status"] for row in rows_of(section.tables[0])} == {"valid"}


def test_two_machines_share_a_table_but_no_ratio() -> None:
    other = make_results(table_e(), created="2026-09-25T12:00:00Z")
    other = other.model_copy(update={"host": other.host.model_copy(update={"processor": "AMD EPYC 9B14"})})
    report = build([make_results(table_e()), other])
    rows = rows_of(report.sections[0].tables[0])
    assert {row["machine"] for row in rows} == {"Intel Xeon Platinum 8481C", "AMD EPYC 9B14"}
    assert [row["verdict"] for row in rows].count("baseline") == 2
    assert len(report.answers[0].sentences) == 2 * len(build([other]).answers[0].sentences)


def test_a_sweep_is_one_table_with_its_growth() -> None:
    (section, *_) = build([make_results(sweep())]).sections
    table, growth = section.tables
    assert [row["batch"] for row in rows_of(table)][4:6] == [4, 4]
    assert rows_of(table)[-1]["status"] == "out of memory"
    assert any("more than the 20.4 GiB" in note for note in table.notes)
    exponents = {row["model"]: row["exponent"] for row in rows_of(growth)}
    assert exponents == pytest.approx({"EfficientViM-M4": 1.0, "SHViT-S4": 1.17}, abs=0.02)
    assert rows_of(growth)[1]["largest"] == formatting.size(2048, 2048)


def test_the_paper_s_figures_are_in_columns_of_their_own(files: list[Results]) -> None:
    tables = {section.anchor: section.tables for section in build(files).sections}
    cpu, iphone = tables["table-e"]
    own = {row["model"]: row for row in rows_of(cpu)}
    assert own["EfficientViM-M4"]["paper_ms"] == 32.1
    assert own["EfficientViM-M4"]["times_paper"] == pytest.approx(own["EfficientViM-M4"]["ours_ms"] / 32.1)
    assert own["EfficientMod-XS"]["status"] == "not timed"
    assert "AMD EPYC 7742" in cpu.caption
    assert "Intel Xeon" in cpu.caption
    assert len(rows_of(iphone)) == 7
    paper = {column.key for table in every_table(build(files)) for column in table.columns if column.paper}
    assert {"paper_ms", "paper_top1_percent", "paper_images_per_s", "paper_movement_share"} <= paper


def test_the_paper_has_no_figure_for_another_resolution() -> None:
    assert paper_milliseconds("EfficientViM-M4", "cpu", 256, 256) == 32.1
    assert paper_milliseconds("EfficientViM-M4", "cpu", 512, 512) is None
    assert paper_milliseconds("EfficientViM-M1", "cpu", 224, 224) is None
    assert paper_milliseconds("EfficientViM-M1", "gpu", 224, 224) == 0.048
    assert paper_milliseconds(None, "cpu", 256, 256) is None
    listed, compared = table_3_row("EfficientViM-M4"), table_e_row("EfficientViM-M4")
    assert listed is not None
    assert compared is not None
    assert (listed.epochs, listed.top1, compared.top1) == (300, 79.4, 79.6)
    assert len(table_3()) == 42


def test_peak_memory_on_a_gpu_stands_beside_table_7() -> None:
    """Only in the paper's setting: not on the CPU, and not for a batch that was halved."""
    memory = Memory(peak_bytes=1 << 30, before_bytes=0, of="accelerator")
    gpu = {"setting": "gpu", "device": "cuda", "batch": 256, "batch_asked": 256, "memory": memory}
    cases = [
        make_case("EfficientViM-M2", side=224, **gpu),
        make_case("SHViT-S2", side=224, **gpu | {"batch": 128}),
        make_case("EfficientViM-M4", side=256, **gpu),
        make_case("FastViT-T8", side=256, memory=memory),
    ]
    found = {row["model"]: row.get("paper_peak_bytes") for row in rows_of(build([make_results(cases)]).figures)}
    assert found == {"EfficientViM-M2": 969 << 20, "SHViT-S2": None, "EfficientViM-M4": None, "FastViT-T8": None}


def test_figure_3_has_both_shares() -> None:
    (section,) = [s for s in build([run()]).sections if s.anchor == "figure-3"]
    single, multi = rows_of(section.tables[0])
    assert (single["paper_movement_share"], multi["paper_movement_share"]) == (0.051, 0.252)
    assert single["movement_share"] == pytest.approx(1 / 24)
    assert multi["movement_share"] == pytest.approx(8 / 31)
    assert single["verdict"] == "baseline"


def test_outliers_are_marked_and_included(files: list[Results]) -> None:
    samples = build(files).samples[1]
    assert [place for place, _, flagged in samples.points if flagged] == [52]
    assert samples.count == 100
    assert "1 outlier, marked and included in every figure." in samples.facts


def test_a_long_run_is_summarised_by_its_rounds_and_stays_small() -> None:
    many = [make_case(f"EfficientViM-{i}", samples=400, group="g", batch=1) for i in range(8)]
    written = render([make_results(many)], ".html")
    assert len(written) < (3 << 20) * 8 / 40
    samples = build([make_results(many[:1])]).samples[0]
    assert samples.count == 8000
    assert "the results file has all samples" in samples.shown
    assert all(low <= middle <= high for low, middle, high in samples.rounds)
    assert len(samples.points) <= 700


def test_untrained_weights_are_labelled() -> None:
    trained = make_case("SHViT-S4", 0.03, subject={"weights": "timm/shvit_s4.in1k"})
    report = build([make_results([make_case(), trained])])
    assert report.warnings == (
        "Untrained weights: EfficientViM-M4. Suitable for latency; their predictions are meaningless.",
    )
    marked = [bool(row.cells[0].notes) for row in report.sections[0].tables[0].rows]
    assert marked == [True, False]


def test_another_baseline() -> None:
    rows = rows_of(build([make_results(table_e())], "SHViT-S4").sections[0].tables[0])
    assert [row["model"] for row in rows if row["verdict"] == "baseline"] == ["SHViT-S4"]
    with pytest.raises(BadInput, match="There is no 'M9'"):
        build([make_results(table_e())], "M9")


def test_a_breakdown_of_classes_that_nobody_knows() -> None:
    (section,) = [
        s for s in build([make_results([profiled("M4", (1, 2, 3, 4, 5))])]).sections if s.anchor == "breakdown"
    ]
    (row,) = rows_of(section.tables[0])
    assert sum(value for key, value in row.items() if key.startswith("share_")) == pytest.approx(1)


def test_a_file_of_nothing_but_zeros_is_still_a_report() -> None:
    zero = make_case().model_copy(
        update={"rounds": [r.model_copy(update={"samples_s": [0.0]}) for r in make_case().rounds]}
    )
    written = render([make_results([zero])], ".html")
    assert "inf" not in re.findall(r"\b\w+\b", "".join(Page(written).words))


def test_the_document_is_json() -> None:
    text = json.dumps(build([run()]).to_dict(), allow_nan=False)
    assert json.loads(text)["answers"][0]["sentences"]


def test_a_file_of_nothing_is_a_report_too() -> None:
    for suffix in (".html", ".md", ".csv"):
        assert render([make_results([])], suffix)


def test_engines_of_one_group_are_distinguished() -> None:
    group = table_e()[0].group
    more = [make_case(engine="onnxruntime", mode=None, setting=None, group=group, seconds=0.030, seed=3)]
    section, *_ = build([make_results([*table_e(), *more])]).sections
    rows = rows_of(section.tables[0])
    assert [row["engine"] for row in rows] == ["torch"] * 5 + ["onnxruntime"]
    (plot,) = section.plots
    assert isinstance(plot, Forest)
    assert plot.rows[-1][0] == "EfficientViM-M4 onnxruntime"
    assert rows[-1].get("paper_ms") is None


def test_all_threads_stand_at_the_number_of_cores() -> None:
    counts: list[int | None] = [1, 2, None]
    swept = [make_case(setting=None, threads=count, seconds=0.03 / (count or 2)) for count in counts]
    section, *_ = build([make_results(swept)]).sections
    (plot,) = section.plots
    assert isinstance(plot, Lines)
    assert plot.curves[0].xs == (1, 2, SERVER.cores)
    assert len(section.tables[0].rows) == 3
    assert "<svg" in render([make_results(swept)], ".html")


def command(*args: str | Path) -> None:
    """Run the command in this process, like the program."""
    app = typer.Typer()
    app.command()(report)
    app([*map(str, args)], standalone_mode=False)


def test_the_command_prints_tables(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mine, theirs = tmp_path / "run.json", tmp_path / "phone.json"
    mine.write_text(to_json(make_results([*table_e(), *absent()])), "utf-8")
    theirs.write_text(to_json(phone()), "utf-8")
    command(mine, "--import", theirs, "--quiet")
    told, progress = capfd.readouterr()
    assert progress == ""
    for expected in ("takes 36.2 ms an image on Intel Xeon", "decides nothing", "iPhone 16", "not run on this host"):
        assert expected in told
    command(mine, "--json", "--quiet")
    document = json.loads(capfd.readouterr().out)
    assert document["schema_version"] == SCHEMA_VERSION
    assert document["figures"]["rows"]


@pytest.mark.parametrize("width", [80, 400])
def test_a_terminal_cuts_nothing(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is too wide is split into parts, each with the names."""
    printed = io.StringIO()
    monkeypatch.setattr("evim_deploy.cli.report.out", lambda: Console(file=printed, width=width))
    view = build([make_results(table_e())])
    show(view)
    lines = printed.getvalue().splitlines()
    assert "\N{HORIZONTAL ELLIPSIS}" not in printed.getvalue()
    for row in view.sections[0].tables[0].rows:
        parts = [line for line in lines if line.startswith(f"{row.cells[0].text} a  ")]
        for place, column in enumerate(view.sections[0].tables[0].columns):
            if column.key in ("time_ms", "ratio", "verdict", "status"):
                assert any(row.cells[place].text in part for part in parts)
    table = [line for line in lines if line.startswith("SHViT-S4 a  ")]
    assert max(map(len, table)) <= width
    assert (len(table) == 3) is (width == 400)  # figures, cold start and memory


def test_the_command_writes_a_file_once(tmp_path: Path) -> None:
    mine, written = tmp_path / "run.json", tmp_path / "report.csv"
    mine.write_text(to_json(make_results(table_e())), "utf-8")
    command(mine, "-o", written)
    before = written.read_bytes()
    with pytest.raises(BadInput, match="exists already"):
        command(mine, "-o", written)
    assert written.read_bytes() == before
    command(mine, "-o", written, "--overwrite")


def test_a_file_is_written_whole_and_nothing_is_overwritten(tmp_path: Path) -> None:
    results = [make_results([make_case()])]
    path = tmp_path / "report.md"
    assert write_report(results, path) == path
    assert path.read_text("utf-8") == render(results, ".md")
    with pytest.raises(BadInput, match="exists already"):
        write_report(results, path)
    write_report(results, path, overwrite=True)
    with pytest.raises(BadInput, match=r"not written as \.pdf"):
        write_report(results, tmp_path / "report.pdf")
    assert [found.name for found in tmp_path.iterdir()] == ["report.md"]


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_missing_package_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(NotInstalled) as told:
        render([make_results([make_case()])], ".html")
    assert told.value.remedy == 'pip install "evim-deploy[bench]"'


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.12249, "0.122"), (35.14, "35.1"), (20731, "20,700"), (9.999, "10.0"), (0, "0"), (1e-5, "0.0000100")],
)
def test_three_digits(value: float, said: str) -> None:
    assert formatting.number(value) == said


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_no_number_is_a_dash(value: float | None) -> None:
    assert formatting.number(value) == formatting.UNKNOWN


def test_an_invalid_baseline_gives_way_to_the_next() -> None:
    wrong = Check(status="different", against="PyTorch", error=0.4, tolerance=1e-4)
    results = make_results([make_case(check=wrong), make_case("SHViT-S4", 0.03), make_case("FastViT-T12", 0.09)])
    (answer,) = build([results]).answers
    assert answer.sentences[0].startswith("SHViT-S4 takes 30")
    assert answer.sentences[1].startswith("Slower: FastViT-T12 3.")
    assert answer.sentences[2:] == ("Invalid: EfficientViM-M4; its answers differ: PyTorch.",)


def test_each_engine_has_its_own_baseline_of_a_name() -> None:
    group = table_e()[0].group
    more = [
        make_case(name, s, engine="openvino", setting=None, group=group)
        for name, s in (("SHViT-S4", 0.02), ("M4", 0.03))
    ]
    (answer, *_) = build([make_results([*table_e(), *more])], "SHViT-S4").answers
    assert [sentence.partition(" takes")[0] for sentence in answer.sentences if " takes" in sentence] == [
        "SHViT-S4 torch",
        "SHViT-S4 openvino",
    ]


def test_many_are_named_to_a_limit() -> None:
    results = make_results(
        [make_case(), *(make_case(f"Peer {i}", 0.02 + i * 1e-4, group=make_case().group) for i in range(12))]
    )
    (answer,) = build([results]).answers
    assert answer.sentences[1].startswith("Faster: Peer 0 ")
    assert answer.sentences[1].endswith("and 4 more.")
