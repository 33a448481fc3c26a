"""Measure what a checkpoint reaches, with every definition beside its number."""
