"""Make, calibrate, judge and describe the checkpoint that ships with the project."""
