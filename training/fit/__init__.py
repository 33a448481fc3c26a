"""Fit a network to a stream of batches, on one core or on many devices."""
