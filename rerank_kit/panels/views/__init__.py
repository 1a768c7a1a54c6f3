"""How the panels look: ipywidgets."""
