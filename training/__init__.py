"""Teach MedGLIP from open volumes: data, words, losses, loop, evaluation, card."""
