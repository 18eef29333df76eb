"""How each kind of panel draws: the options that Grafana's own plugins take, by their documented names."""

from collections.abc import Mapping
from typing import Literal, assert_never

Kind = Literal["timeseries", "stat", "table", "state-timeline", "bargauge"]
Json = Mapping[str, object]


def field_defaults(kind: Kind, *, is_stacked: bool, as_shares: bool, as_bars: bool) -> Json:
    """How the kind draws a field where no override says otherwise."""
    match kind:
        case "timeseries":
            stacking = "percent" if as_shares else "normal" if is_stacked else "none"
            custom: Json = {
                "drawStyle": "bars" if as_bars else "line",
                "fillOpacity": 60 if is_stacked or as_shares or as_bars else 8,
                "lineInterpolation": "linear",
                "lineWidth": 0 if is_stacked or as_shares else 1,
                "pointSize": 4,
                "showPoints": "auto",
                "spanNulls": False,
                "stacking": {"group": "A", "mode": stacking},
            }
            return {"color": {"mode": "palette-classic"}, "custom": custom}
        case "stat" | "bargauge":
            return {"color": {"mode": "thresholds"}}
        case "table":
            return {
                "color": {"mode": "thresholds"},
                "custom": {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False},
            }
        case "state-timeline":
            return {"color": {"mode": "palette-classic"}, "custom": {"fillOpacity": 70, "lineWidth": 0}}
    assert_never(kind)


def options_of(kind: Kind) -> Json:
    """The kind's options as a whole."""
    legend: Json = {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True}
    newest: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match kind:
        case "timeseries":
            return {
                "legend": {**legend, "calcs": ["mean", "lastNotNull"], "displayMode": "table"},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        case "stat":
            return {
                "colorMode": "value",
                "graphMode": "none",
                "justifyMode": "auto",
                "orientation": "auto",
                "reduceOptions": newest,
                "textMode": "value_and_name",
            }
        case "table":
            footer: Json = {"countRows": False, "fields": "", "reducer": ["sum"], "show": False}
            return {"cellHeight": "sm", "footer": footer, "showHeader": True}
        case "state-timeline":
            return {
                "alignValue": "left",
                "legend": {**legend, "showLegend": False},
                "mergeValues": True,
                "rowHeight": 0.85,
                "showValue": "auto",
                "tooltip": {"mode": "single", "sort": "none"},
            }
        case "bargauge":
            return {
                "displayMode": "basic",
                "minVizHeight": 16,
                "minVizWidth": 8,
                "namePlacement": "auto",
                "orientation": "horizontal",
                "reduceOptions": newest,
                "showUnfilled": True,
                "valueMode": "color",
            }
    assert_never(kind)
