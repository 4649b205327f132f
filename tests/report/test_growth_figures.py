"""Figures of a growth study."""

import pandas as pd
import pytest

from layerscope.errors import InputError
from layerscope.report.figures import to_svg
from layerscope.report.growth_figures import axis_label, correlation_chart, growth_trends
from layerscope.tasks.growth import summarise_growth
from layerscope.tasks.growth_conditions import Conditions, GrowthRow


def study(n_samples):
    rows = tuple(GrowthRow("", f"S{k}", {"T_C": 700.0 + k}) for k in range(n_samples))
    images = [
        (f"S{k}_{i}", 0.1 * k + 0.01 * (i % 2), 5.0 - i) for k in range(n_samples) for i in range(3)
    ]
    table = pd.DataFrame(images, columns=["image", "coverage", "density_per_um2"])
    return summarise_growth(table, Conditions(rows, ("T_C",)))


def test_every_quantity_has_a_panel_with_its_unit():
    figure = growth_trends(study(8), "T_C")
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes]
    assert labels == [("T (°C)", "coverage"), ("T (°C)", "density (1/µm²)")]
    # Every image is drawn and every sample.
    assert len(figure.axes[0].lines[0].get_xdata()) == 24
    assert "rank correlation 1.00" in figure.axes[0].get_title(loc="left")


def test_the_same_study_gives_the_same_bytes():
    assert to_svg(growth_trends(study(8), "T_C")) == to_svg(growth_trends(study(8), "T_C"))


def test_few_samples_say_why_there_is_no_trend():
    figure = growth_trends(study(3), "T_C")
    assert figure.axes[0].get_title(loc="left") == "3 samples, fewer than 5"
    with pytest.raises(InputError, match="five samples"):
        correlation_chart(study(3))


def test_the_chart_has_a_row_per_pair():
    figure = correlation_chart(study(8))
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["coverage · T"]  # density is the same in all samples


def test_an_unknown_condition_is_refused():
    with pytest.raises(InputError, match="no condition 'p'"):
        growth_trends(study(8), "p")


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("temperature_C", "temperature (°C)"),
        ("edge_density_um_per_um2", "edge density (µm/µm²)"),
        ("mean_area_um2", "mean area (µm²)"),
        ("coverage", "coverage"),
        ("alignment_60", "alignment 60"),
    ],
)
def test_axis_labels(column, text):
    assert axis_label(column) == text
