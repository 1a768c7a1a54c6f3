"""What the panels know and do, without a widget."""
