"""The tables of the reports room, as data files."""
