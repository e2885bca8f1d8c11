"""All charts of the report, in its order."""

from hybridtune.report import language_charts, mix_charts, search_charts, time_charts
from hybridtune.report import mix_charts as ratio_map
from hybridtune.report import search_charts as front_chart
from hybridtune.report.chart import Chart
from hybridtune.report.record import StudyRecord


def all_charts(record: StudyRecord) -> list[tuple[str, list[Chart]]]:
    """Titles of sections, and the charts of each."""
    mix = [mix_charts.ratio_curve, ratio_map.ratio_temperature, mix_charts.realised_ratio]
    search = [
        front_chart.front,
        search_charts.history,
        search_charts.importances,
        search_charts.parallel,
        time_charts.intermediate,
        time_charts.learning_curves,
        time_charts.timeline,
    ]
    languages = [
        language_charts.pair_map,
        language_charts.gain_map,
        language_charts.bias_map,
        language_charts.low_resource,
    ]
    sections = {"The mix": mix, "The search": search, "Languages": languages}
    return [(title, [draw(record) for draw in charts]) for title, charts in sections.items()]
