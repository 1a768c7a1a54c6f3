"""Trains, measures and describes the small model that the free notebooks use."""
