"""The queries of a bundle's dashboards, as the demo asks them, too."""

from demo.panels import PanelQuery, panel_queries

__all__ = ["PanelQuery", "panel_queries"]
