"""The widget floor: the only one that knows ipywidgets, anywidget and bqplot."""
